"""Fuzz target "layers": PyG's layers and ours, with the same parameters, give the same results and derivatives.

The truth is PyG's layer in float64; ours may err four times as much as PyG's own in the type of the call.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch_geometric.nn as pyg
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch_geometric import EdgeIndex
from torch_geometric_signed_directed.nn import signed as pygsd

import sbp_kernels.nn as ours
from sbp_kernels.nn import signed_directed

from ..inputs.choices import Reader, table
from ..inputs.graphs import Spec
from ..inputs.tensors import DTYPES
from ..oracle.checks import Problem
from ..oracle.formula_modes import FORMULA_MODES
from ..oracle.modes import LEAF_MODES, MODES
from ..oracle.world import draw_edges
from . import layer_errors, sbp_layers

BYTES, BATCH = 32, 12
SHRINKS = False
Mark = Callable[[int], None]
WIDTH = 6
# By name of the layer: options of its constructor, and how many features it takes before the adjacency.
OPTIONS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "GCNConv": ([{}, {"improved": True, "bias": False}, {"add_self_loops": False}, {"normalize": False}], 1),
    "SGConv": ([{}, {"K": 3, "add_self_loops": False}, {"K": 2, "bias": False}], 1),
    "LGConv": ([{}, {"normalize": False}], 1),
    "APPNP": ([{"K": 4, "alpha": 0.1}, {"K": 2, "alpha": 0.0, "normalize": False}, {"K": 1, "alpha": 1.0}], 1),
    "GCN2Conv": ([{"alpha": 0.2}, {"alpha": 0.2, "theta": 0.5, "layer": 3, "shared_weights": False}], 2),
    "FAConv": ([{}, {"eps": 0.0, "add_self_loops": False}, {"eps": 0.3, "normalize": False}], 2),
    "SignedConv": ([{"first_aggr": True}, {"first_aggr": True, "bias": False}, {"first_aggr": False}], 1),
    "SGCNConv": ([{"first_aggr": True}, {"first_aggr": False}, {"first_aggr": True, "norm_emb": True}], 1),
    "SNEAConv": ([{"first_aggr": True}, {"first_aggr": False}], 1),
    "PairNorm": ([{}, {"scale": 2.0}, {"scale_individually": True}], 1),
    "MeanSubtractionNorm": ([{}], 1),
}
SIGNED = ("SignedConv", "SGCNConv", "SNEAConv")
NORMS = ("PairNorm", "MeanSubtractionNorm")
WEIGHTED = ("GCNConv", "SGConv", "LGConv", "APPNP", "GCN2Conv")
KIND = table(("layer", 150), ("sbp", 50), ("bad layer", 56))
MODE = table(("value", 110), ("reverse", 80), ("double", 20), ("jvp", 16), ("grad", 16), ("dual", 14))
FORMS = table(("edge_index", 170), ("int32", 22), ("EdgeIndex", 22), ("coo", 21), ("csr", 21))


def decode(data: bytes) -> Spec:
    r = Reader(data)
    kind = r.pick(KIND)
    if kind == "sbp":
        return sbp_layers.decode(r)
    name = r.one_of(tuple(OPTIONS))
    spec: Spec = {"op": kind, "function": name, "options": r.one_of(OPTIONS[name][0]), "cached": r.chance(15)}
    spec["lazy"], spec["mode"], spec["form"] = r.chance(10), r.pick(MODE), r.pick(FORMS)
    spec["dtype"] = r.one_of(("float32", "float64"))
    spec["rows"] = r.between(2, 24)
    spec["edges"], spec["pattern"] = r.between(0, 60), r.one_of(("random", "duplicates", "hub", "chain", "symmetric"))
    spec["seed"], spec["weighted"], spec["calls"] = r.seed(), r.chance(50), 2 if r.chance(30) else 1
    if spec["mode"] not in ("value", "reverse") and spec["form"] != "int32":
        # torch.func and second derivatives know no sparse matrices.
        spec["form"] = "edge_index"
    if name == "FAConv" and not spec["options"].get("normalize", True):
        # PyG wants the weights then.
        spec["form"], spec["weighted"] = "edge_index", True
    return layer_errors.decode(r, spec) if kind == "bad layer" else spec


def strategy(device: str) -> st.SearchStrategy[Spec]:
    call = st.binary(min_size=BYTES, max_size=BYTES).map(decode)
    return st.lists(call, min_size=BATCH, max_size=BATCH).map(lambda calls: {"target": "layers", "calls": calls})


def run(case: Spec, mark: Mark, device: str = "cpu") -> list[tuple[int, Problem]]:
    torch.set_num_threads(1)
    check = {"layer": check_layer, "sbp": sbp_layers.check, "bad layer": layer_errors.check}
    problems = []
    for index, call in enumerate(case["calls"]):
        mark(index)
        try:
            problem = check[call["op"]](call)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            title = f"{type(error).__name__} at {'/'.join(where.filename.split('/')[-2:])}:{where.lineno}"
            problem = Problem("exception", f"{title} in {call['function']} {call.get('mode', '')}", str(error))
        if problem is not None:
            problems.append((index, problem))
    return problems


def classes(name: str) -> tuple[type, type]:
    """(PyG's or PyGSD's class, ours)."""
    if hasattr(ours, name):
        return getattr(pyg, name), getattr(ours, name)
    return getattr(pygsd, name), getattr(signed_directed, name)


def arguments(call: Spec) -> dict[str, Any]:
    """Arguments of the constructor."""
    name, options = call["function"], dict(call["options"])
    width = -1 if call["lazy"] and name in ("GCNConv", "SGConv") else WIDTH
    if name in ("GCNConv", "SGConv"):
        options.update(in_channels=width, out_channels=4)
    elif name in ("GCN2Conv", "FAConv"):
        options["channels"] = WIDTH
    elif name == "SignedConv":
        options.update(in_channels=WIDTH if options["first_aggr"] else WIDTH // 2, out_channels=4)
    elif name in ("SGCNConv", "SNEAConv"):
        options.update(in_dim=WIDTH if options["first_aggr"] else WIDTH // 2, out_dim=4)
    if call["cached"] and name in ("GCNConv", "SGConv", "APPNP", "GCN2Conv", "FAConv"):
        options["cached"] = True
    return options


def adjacency(call: Spec, seed: int) -> Tensor:
    """Edges with each loop at most once, as PyG's rule for remaining loops has it."""
    row, col = draw_edges({**call, "seed": seed}, call["rows"], call["rows"])
    loops = np.unique(row[row == col])[:2]
    edges = np.stack([col, row])[:, row != col]
    return torch.from_numpy(np.ascontiguousarray(np.concatenate([edges, np.stack([loops, loops])], 1)))


def in_form(call: Spec, edge_index: Tensor, weight: Tensor | None) -> list[Any]:
    """The adjacency and the weights beside it."""
    form, n = call["form"], call["rows"]
    beside = [] if weight is None else [weight]
    if form == "int32":
        return [edge_index.int(), *beside]
    if form == "EdgeIndex":
        return [EdgeIndex(edge_index, sparse_size=(n, n)), *beside]
    if form in ("coo", "csr"):
        value = torch.ones(edge_index.size(1), dtype=DTYPES[call["dtype"]]) if weight is None else weight.detach()
        matrix = torch.sparse_coo_tensor(edge_index.flip(0), value, (n, n)).coalesce()
        return [matrix if form == "coo" else matrix.to_sparse_csr()]
    return [edge_index, *beside]


def inputs(call: Spec) -> tuple[list[Tensor], list[Any]]:
    """(features, adjacency) of a call, in its type."""
    name, dtype = call["function"], DTYPES[call["dtype"]]
    generator = torch.Generator().manual_seed(call["seed"])
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    features = [draw(call["rows"], WIDTH) for _ in range(OPTIONS[name][1])]
    if name in NORMS:
        return features, []
    edge_index = adjacency(call, call["seed"])
    if name in SIGNED:
        other = adjacency(call, call["seed"] + 1)
        plain = {**call, "form": "edge_index"} if name != "SignedConv" else call
        return features, [in_form(plain, e, None)[0] for e in (edge_index, other)]
    weight = None
    if call["weighted"] and (name in WEIGHTED or not call["options"].get("normalize", True)):
        weight = (draw(edge_index.size(1)).abs() + 0.25).to(dtype)
    return features, in_form(call, edge_index, weight)


def both(call: Spec) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(theirs, ours) with the same parameters, in float64."""
    theirs, mine = (make(**arguments(call)) for make in classes(call["function"]))
    if any(is_lazy(p) for p in theirs.parameters()):
        features, adjacent = inputs({**call, "dtype": "float32", "form": "edge_index"})
        theirs(*features, *adjacent)
        for layer in (theirs, mine):
            getattr(layer, "_cached_edge_index", None)
        theirs.reset_parameters()
    mine.load_state_dict(theirs.state_dict())
    return theirs.double(), mine.double()


def differentiate(
    layer: torch.nn.Module, call: Spec, given: tuple[list[Tensor], list[Any]], dtype: Any, formula: bool
) -> list[Tensor]:
    """The mode of a layer, with respect to features and parameters."""
    change = lambda t: t.to(dtype) if isinstance(t, Tensor) and t.is_floating_point() else t  # noqa: E731
    features, adjacent = ([change(t) for t in part] for part in given)
    names, parameters = zip(*layer.named_parameters(), strict=True) if list(layer.parameters()) else ((), ())
    values = [*features, *(p.detach() for p in parameters)]

    def function(*args: Tensor) -> Tensor:
        own = dict(zip(names, args[len(features) :], strict=True))
        return torch.func.functional_call(layer, own, (*args[: len(features)], *adjacent))

    generator = torch.Generator().manual_seed(call["seed"] + 5)
    draw = lambda t: torch.randn(t.shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    with torch.no_grad():
        shape = function(*values)
    if call["mode"] == "value":
        return [function(*values).detach() for _ in range(call["calls"])]
    g, v = draw(shape), [draw(t) for t in values]
    leaf = formula or call["mode"] in LEAF_MODES
    args = [t.detach().clone().requires_grad_(leaf) for t in values]
    mode = FORMULA_MODES[call["mode"]] if formula else MODES[call["mode"]]
    if formula:
        g, v = g.requires_grad_(), [t.requires_grad_() for t in v]
    return [t.detach() for t in mode(function, args, g, v)]


def check_layer(call: Spec) -> Problem | None:
    theirs, mine = both(call)
    given = inputs(call)
    long = (given[0], [a.long() if isinstance(a, Tensor) and a.dtype == torch.int32 else a for a in given[1]])
    dtype = DTYPES[call["dtype"]]
    truth = differentiate(copy.deepcopy(theirs), call, long, torch.float64, True)
    own = differentiate(theirs.to(dtype), call, long, dtype, True) if dtype != torch.float64 else truth
    got = differentiate(mine.to(dtype), call, given, dtype, False)
    scale = max((float(c.abs().max()) for c in truth if c.numel()), default=0.0)
    for index, (a, b, c) in enumerate(zip(got, own, truth, strict=True)):
        wrong = differs(a, b, c, scale)
        if wrong:
            return Problem(
                "wrong layer", f"{call['function']} {call['mode']} {call['form']}", f"result {index}: {wrong}"
            )
    return None


def differs(got: Tensor, own: Tensor, truth: Tensor, scale: float) -> str:
    if got.shape != truth.shape or got.dtype != own.dtype:
        return f"{got.dtype} {tuple(got.shape)}, not {own.dtype} {tuple(truth.shape)}"
    if truth.numel() == 0:
        return ""
    allowed = 4 * float((own.double() - truth).abs().max()) + 256 * torch.finfo(got.dtype).eps * (scale + 1e-3)
    error = float((got.double() - truth).abs().max())
    return "" if error <= allowed or not np.isfinite(scale) else f"error {error:.3g}, allowed {allowed:.3g}"


__all__: Sequence[str] = ("run", "strategy")
