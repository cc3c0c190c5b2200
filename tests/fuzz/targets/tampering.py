"""Edits of a graph behind its back: afterwards calls give the right result or a clean exception, and never crash."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair, signed_propagate

from ..inputs.graphs import Spec
from ..inputs.valid_calls import NODES, edges, features
from ..oracle.checks import Problem

Edit = Callable[[Tensor], object]


def _huge(t: Tensor) -> Tensor:
    return torch.full_like(t, 10**6 if not t.is_floating_point() else 3.0)


# In-place changes of an array; what torch itself refuses changes nothing.
EDITS: dict[str, Edit] = {
    "fill": lambda t: t.copy_(_huge(t)),
    "one entry": lambda t: t.view(-1)[:1].fill_(10**6 if not t.is_floating_point() else 3.0),
    "negative": lambda t: t.fill_(-1),
    "1e9": lambda t: t.fill_(10**9),
    "zero": lambda t: t.zero_(),
    "nan": lambda t: t.fill_(float("nan")),
    "data": lambda t: t.data.fill_(10**6),
    "detach": lambda t: t.detach().fill_(10**6),
    "numpy": lambda t: np.copyto(t.detach().numpy(), 10**6, casting="unsafe"),
    "shorter": lambda t: t.resize_(max(t.numel() - 1, 0)),
    "no entry": lambda t: t.resize_(0),
    "longer": lambda t: t.resize_(10 * t.numel() + 1),
    "other data": lambda t: setattr(t, "data", t.new_zeros(1)),
    "other type": lambda t: setattr(t, "data", torch.zeros(t.shape, dtype=torch.int8)),
    "set": lambda t: t.set_(t.new_zeros(2)),
    "storage": lambda t: t.untyped_storage().resize_(0),
    "swap": lambda t: torch.utils.swap_tensors(t, t.new_zeros(1)),
    "transpose": lambda t: t.t_(),
    "strides": lambda t: t.as_strided_(t.shape, [10**6] * t.dim()),
    "requires grad": lambda t: t.requires_grad_(),
    "reverse": lambda t: t.copy_(t.flip(0)),
}
# Writes that no version counter sees.
UNCOUNTED = ("data", "numpy", "other data", "other type")
REPLACEMENTS: dict[str, Callable[[Any], Any]] = {
    "None": lambda v: None,
    "huge": lambda v: _huge(v) if isinstance(v, Tensor) else 10**6,
    "short": lambda v: v[:1] if isinstance(v, Tensor) else 1,
    "list": lambda v: [1, 2],
    "negative": lambda v: -v if isinstance(v, (Tensor, int)) else v,
    "delete": lambda v: "delete",
    "half": lambda v: CSR.from_edge_index(torch.tensor([[0], [0]]), num_nodes=1),
    "own transpose": lambda v: v.T if hasattr(v, "T") else v,
}
ARRAYS = ("rowptr", "col", "weight", "row_scale", "col_scale")
SUBJECTS: dict[str, tuple[str, ...]] = {
    "inputs": (
        "rowptr",
        "col",
        "weight",
        "row_scale",
        "col_scale",
        "group",
        "block",
        "x0",
        "edge_index",
        "edge_weight",
    ),
    "pos": (*ARRAYS, "pattern", "num_rows", "num_cols", "num_edges", "T"),
    "block": ("group", "block", "segments", "num_groups", "num_nodes"),
    "similarity": ("x0", "scale", "sign", "temperature", "num_nodes", "transposed"),
    "graph": ("pos", "neg", "num_rows", "num_cols", "device", "weightless", "T"),
}
WAYS = ("as it is", "pickle", "copy", "torch.save", "with_weights", "to", "transpose")


def inputs() -> dict[str, Tensor]:
    """The arrays that a caller builds graphs from."""
    plain = CSR.from_edge_index(edges(), num_nodes=NODES)
    generator = torch.Generator().manual_seed(1)
    return {
        "rowptr": plain.rowptr.clone(),
        "col": plain.col.clone(),
        "weight": torch.rand(12, generator=generator) + 0.5,
        "row_scale": torch.rand(NODES, generator=generator) + 0.5,
        "col_scale": torch.rand(NODES, generator=generator) + 0.5,
        "group": torch.arange(NODES) % 3,
        "block": torch.rand(3, 3, generator=generator),
        "x0": features(NODES, 2),
        "edge_index": edges(),
        "edge_weight": torch.rand(12, generator=generator) - 0.5,
    }


def build(given: dict[str, Tensor], kind: int) -> SignedGraph:
    csr = CSR(*(given[name] for name in ARRAYS))
    if kind == 0:
        return SignedGraph(csr, CSR.from_edge_index(given["edge_index"], given["edge_weight"].abs(), NODES))
    if kind == 1:
        return SignedGraph(csr, ClassBlock(given["group"], given["block"]))
    if kind == 2:
        return SignedGraph(csr, Similarity(given["x0"]))
    return SignedGraph.from_edge_weight(given["edge_index"], given["edge_weight"], NODES)


def results(graph: SignedGraph, backend: str) -> list[Tensor]:
    """What a user gets of a graph: values, gradients, several steps, both halves, the transpose."""
    x = features().requires_grad_()
    one = signed_propagate(x, graph, beta=0.5, lam=0.5, backend=backend)
    many = signed_propagate(x, graph, beta=0.25, lam=0.5, num_steps=3, layer_norm=True, backend=backend)
    (gradient,) = torch.autograd.grad(one.sum() + many.square().sum(), x)
    pair = signed_pair(x, graph.T, backend=backend)
    return [one.detach(), many.detach(), gradient, *(p.detach() for p in pair)]


@cache
def untouched(kind: int, backend: str) -> list[Tensor]:
    """The results of a graph that nobody edits."""
    return results(build(inputs(), kind), backend)


def carried(graph: SignedGraph, way: str) -> SignedGraph:
    """The graph after a trip that should not change it."""
    if way == "pickle":
        return pickle.loads(pickle.dumps(graph))  # type: ignore[no-any-return]
    if way == "copy":
        return copy.deepcopy(graph)
    if way == "torch.save":
        file = io.BytesIO()
        torch.save(graph, file)
        file.seek(0)
        return torch.load(file, weights_only=False)  # type: ignore[no-any-return]
    if way == "to":
        return graph.to("cpu")
    if way == "transpose":
        return graph.T.T
    return graph.with_weights(None, None)


def edit(call: Spec, graph: SignedGraph, given: dict[str, Tensor]) -> None:
    """Make the edit; what raises here has changed nothing."""
    subject, name, how = call["function"], call["argument"], call["how"]
    owner: Any = {"pos": graph.pos, "block": graph.neg, "similarity": graph.neg, "graph": graph}.get(subject)
    value = given[name] if subject == "inputs" else getattr(owner, name)
    if how in EDITS:
        if isinstance(value, Tensor):
            EDITS[how](value)
        return
    if subject == "inputs":
        return
    new = REPLACEMENTS[how.removeprefix("replace by ")](value)
    if isinstance(new, str):
        delattr(owner, name)
    else:
        setattr(owner, name, new)


def check(call: Spec) -> Problem | None:
    """The results of a graph that was edited are those before, those of its arrays now, or a clean exception."""
    from .bad_arguments import judge

    given = inputs()
    graph = build(given, call["kind"])
    before = untouched(call["kind"], call["backend"])
    if call["used"]:
        results(graph, call["backend"])
    what = f"{call['argument']} of {call['function']} edited by {call['how']}"
    with contextlib.suppress(Exception):
        edit(call, graph, given)
    try:
        if call["way"] != "as it is":
            graph = carried(graph, call["way"])
        after = results(graph, call["backend"])
    except Exception as error:
        return judge(error, f"a call after {what}")
    if call["how"] in UNCOUNTED and call["argument"] in ("weight", "edge_weight", "x0"):
        # Documented: such writes to what a graph shares with its caller are not followed.
        return None
    if _same(before, after) or _same(_shown(graph, call["backend"]), after):
        return None
    return Problem("wrong value", f"after {what}", f"kind {call['kind']}, {call['way']}, used {call['used']}")


def _shown(graph: SignedGraph, backend: str) -> list[Tensor] | None:
    """The results of a new graph built from the arrays that the public attributes show."""
    halves: list[Any] = []
    for half in (graph.pos, graph.neg):
        try:
            if isinstance(half, CSR):
                arrays = [getattr(half, name) for name in ARRAYS]
                rowptr, col, weight, *scales = (None if a is None else a.detach().clone() for a in arrays)
                # Weights that are not finite now are refused by the constructor, not by a graph that has them.
                halves.append(CSR(rowptr, col, None, *scales)._with_weight(weight))  # type: ignore[arg-type]
            elif isinstance(half, ClassBlock):
                halves.append(ClassBlock(half.group.clone(), half.block.clone()))
            else:
                x0 = None if half is None else half.x0.detach().clone()
                shown = None if half is None else Similarity(torch.zeros_like(x0), half.sign, half.temperature)
                halves.append(None if shown is None else shown._with_weight(x0))
        except Exception:
            return None
    return results(SignedGraph(*halves), backend)


def _same(a: list[Tensor] | None, b: list[Tensor]) -> bool:
    return a is not None and all(torch.allclose(s, t, 1e-4, 1e-5, equal_nan=True) for s, t in zip(a, b, strict=True))
