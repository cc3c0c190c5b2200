"""Calls on sharded graphs, compared with the same calls in one process; each function runs on every rank."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from sbp_kernels import CSR, SignedGraph, Similarity, distributed, signed_pair, signed_propagate
from tests.graphs import GRAPHS

WIDTH = 7


class Case(NamedTuple):
    """A graph, how it is divided, and the options of the call."""

    graph: str
    layout: str
    options: dict[str, Any]
    learnable: bool = False
    dtype: torch.dtype = torch.float64

    def __str__(self) -> str:
        return f"{self.graph}, {self.layout}, {self.options}, learnable={self.learnable}, {self.dtype}"


def cases() -> list[Case]:
    """Return all kinds of graphs once, and every option on some of them."""
    found = []
    for layout in ("rows", "features", "mesh"):
        for name, build in GRAPHS.items():
            square = build().num_rows == build().num_cols
            found += [Case(name, layout, {"lam": 0.6 if square else 1.0, "alpha": 0.7})]
            found += [Case(name, layout, {"pair": True})]
        for name in ("sym", "weighted+scaled", "labels", "many classes", "mean", "features", "hub", "one node"):
            found += [
                Case(name, layout, {"lam": 0.6, "num_steps": 16}),
                Case(name, layout, {"lam": 0.6, "num_steps": 3, "layer_norm": True}),
                Case(name, layout, {"lam": 0.6, "num_steps": 2, "residual": True, "layer_norm": "module"}, True),
                Case(name, layout, {"lam": 0.6, "num_steps": 4, "residual": True}, True),
                Case(name, layout, {"lam": 0.6, "num_steps": 2}, dtype=torch.float32),
                Case(name, layout, {"lam": 0.6, "num_steps": 2}, dtype=torch.bfloat16),
                Case(name, layout, {"num_steps": 0}),
            ]
        found += [Case("weighted", layout, {"pair": True}, True), Case("bipartite", layout, {"residual": True})]
    return found


def failures(world_size: int) -> list[str]:
    """Return what differs from one process, and what does not repeat bit for bit."""
    mesh = init_device_mesh("cpu", (2, world_size // 2), mesh_dim_names=("rows", "features"))
    found = []
    for case in cases():
        where: dict[str, Any] = {"mesh": mesh} if case.layout == "mesh" else {"layout": case.layout}
        try:
            found += _compare(case, where)
        except NotImplementedError as error:
            if "Similarity" not in str(error) or case.layout == "features":
                raise
    return found


def failures_without_mesh(world_size: int) -> list[str]:
    """Return `failures` of rows and of features."""
    return [text for case in cases() if case.layout != "mesh" for text in _compare_rows(case)]


def _compare_rows(case: Case) -> list[str]:
    try:
        return _compare(case, {"layout": case.layout})
    except NotImplementedError as error:
        if "Similarity" not in str(error) or case.layout == "features":
            raise
        return []


def _compare(case: Case, where: dict[str, Any]) -> list[str]:
    graph = _graph(case)
    sharded = distributed.shard(graph, **where)
    own = _run(case, graph, graph)
    here, again = _run(case, graph, sharded), _run(case, graph, sharded)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.06}[case.dtype]
    found = []
    for name, got in here.items():
        whole = own[name]
        of = "cols" if name.startswith("x") else "rows"
        expected = distributed.local_block(whole, sharded, of=of) if name.split()[0] in _BLOCKS else whole
        if got.shape != expected.shape or got.dtype != expected.dtype:
            found.append(f"{case}: {name} is {got.dtype} {tuple(got.shape)}, expected {tuple(expected.shape)}")
        elif got.numel() and float((got - expected).abs().max()) > tolerance * (1 + float(whole.abs().max())):
            found.append(
                f"{case}: {name} differs by {float((got - expected).abs().max())} of {float(whole.abs().max())}"
            )
        if not torch.equal(got, again[name]):
            found.append(f"{case}: {name} does not repeat bit for bit")
    return found


_BLOCKS = ("out", "x", "residual")


def _graph(case: Case) -> SignedGraph:
    graph = GRAPHS[case.graph]()
    if not case.learnable:
        return graph
    weights = []
    for half in (graph.pos, graph.neg):
        own = half.weight if isinstance(half, CSR) else half.x0 if isinstance(half, Similarity) else None
        weights.append(None if own is None else own.detach().clone().requires_grad_())
    return graph.with_weights(*weights)


def _run(case: Case, graph: SignedGraph, sharded: Any) -> dict[str, Tensor]:
    """Return the output and all gradients of a call on `graph`, or on what this rank has of it."""
    torch.manual_seed(0)
    options = dict(case.options)
    block = lambda t, of: distributed.local_block(t, sharded, of=of).to(case.dtype)  # noqa: E731
    x = block(torch.randn(graph.num_cols, WIDTH, dtype=torch.float64), "cols").requires_grad_()
    leaves = {"x": x}
    target = block(torch.randn(graph.num_rows, WIDTH, dtype=torch.float64), "rows")
    residual = block(torch.randn(graph.num_rows, WIDTH, dtype=torch.float64), "rows")
    if options.pop("pair", False):
        pos, neg = signed_pair(x, sharded)
        out = pos - 2 * neg
    else:
        if options.pop("residual", False):
            leaves["residual"] = options["residual"] = residual.requires_grad_()
        if options.get("layer_norm") == "module":
            norm = options["layer_norm"] = torch.nn.LayerNorm(WIDTH, dtype=case.dtype)
            torch.nn.init.normal_(norm.weight)
            leaves |= {"weight": norm.weight, "bias": norm.bias}
        if case.learnable:
            for name, value in (("alpha", 0.7), ("beta", 1.2), ("lam", 0.6)):
                leaves[name] = options[name] = torch.tensor(value, dtype=case.dtype, requires_grad=True)
        out = signed_propagate(x, sharded, **options)
    (out * target).sum().backward()
    results = {"out": out.detach()}
    for name, leaf in leaves.items():
        results[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    if case.learnable:
        results |= _weight_grads(graph)
    return results


def _weight_grads(graph: SignedGraph) -> dict[str, Tensor]:
    """Return the gradients of edge weights or x0, and remove them."""
    results = {}
    for name, half in (("pos", graph.pos), ("neg", graph.neg)):
        values = half._weight.values if isinstance(half, CSR) and half._weight else getattr(half, "x0", None)
        if values is not None and values.grad is not None:
            results[f"{name} weights"], values.grad = values.grad, None
    return results


def second_order() -> list[str]:
    """Return what differs in the gradient of a gradient."""
    graph, found = GRAPHS["labels"](), []
    sharded = distributed.shard(graph, "rows")
    results = []
    for one in (graph, sharded):
        torch.manual_seed(0)
        x = distributed.local_block(torch.randn(23, 3, dtype=torch.float64), one).requires_grad_()
        out = signed_propagate(x, one, lam=0.6, num_steps=2)
        (first,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append((first.detach(), second))
    for name, whole, here in zip(("first", "second"), *results, strict=True):
        error = (distributed.local_block(whole, sharded) - here).abs()
        if error.numel() and float(error.max()) > 1e-10 * float(whole.abs().max()):
            found.append(f"{name} gradient differs by {float(error.max())} on rank {dist.get_rank()}")
    return found
