"""Competitors from PyTorch Geometric and PyTorch Geometric Signed Directed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .registry import Prepared, Problem, combine_signs, method, needs_memory


@method("pyg_scatter")
def pyg_scatter(problem: Problem) -> Prepared:
    """The usual PyG code: per sign, gather one message per edge, multiply by its weight, and scatter."""
    scatter, note = _scatter()
    n = problem.graph.num_nodes
    run = combine_signs(problem, lambda x, e, w: scatter(x[e[0]] * w, e[1], 0, n, reduce="sum"))
    return _summed_in_storage_type(problem, run, note)


def _scatter() -> tuple[Callable[..., Tensor], str]:
    """Return PyG's scatter, or an equivalent in torch and a note if PyG is not installed."""
    try:
        from torch_geometric.utils import scatter
    except ModuleNotFoundError:
        return _scatter_add, "torch-geometric is not installed: uses the torch calls of its scatter"
    return scatter, ""


def _scatter_add(src: Tensor, index: Tensor, dim: int, dim_size: int, reduce: str) -> Tensor:
    return src.new_zeros(dim_size, src.size(1)).scatter_add_(dim, index[:, None].expand_as(src), src)


@method("pyg_message_passing")
def pyg_message_passing(problem: Problem) -> Prepared:
    """A MessagePassing layer, which uses torch_scatter if that is installed."""
    import torch_geometric.typing
    from torch_geometric.nn import MessagePassing

    class Layer(MessagePassing):
        def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, weight=weight)

        def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
            return x_j * weight

    note = "" if torch_geometric.typing.WITH_TORCH_SCATTER else "torch_scatter is not installed: torch's scatter_add_"
    return _summed_in_storage_type(problem, combine_signs(problem, Layer(aggr="sum")), note)


@method("pyg_compiled")
def pyg_compiled(problem: Problem) -> Prepared:
    """The scatter composite under torch.compile, with fixed shapes."""
    # Each case compiles its own graph; by default torch stops compiling after eight.
    torch._dynamo.config.recompile_limit = 1000
    plain = pyg_scatter(problem)
    run = torch.compile(plain.run, fullgraph=True, dynamic=False)
    return Prepared(run, "inductor", plain.note, plain.slack)


@method("pyg_edge_index")
def pyg_edge_index(problem: Problem) -> Prepared:
    """PyG's torch.sparse path: one product with an EdgeIndex per sign, with filled caches."""
    from torch_geometric import EdgeIndex

    if problem.learnable == "weights":
        raise NotImplementedError("EdgeIndex has no gradient of its values")
    g, c, dtype = problem.graph, problem.coefficients, problem.x.dtype
    halves = []
    for edges, weight in ((g.pos, g.pos_weight), (g.neg, g.neg_weight)):
        order = torch.argsort(edges[1] * g.num_nodes + edges[0])
        index = EdgeIndex(edges.flip(0)[:, order], sparse_size=(g.num_nodes, g.num_nodes), sort_order="row")
        halves.append((index.fill_cache_(), weight[order].to(dtype)))
    (pos, pos_value), (neg, neg_value) = halves

    def run(x: Tensor) -> Tensor:
        attract, repel = pos.matmul(x, pos_value), neg.matmul(x, neg_value)
        return (1.0 - c.lam) * x + c.lam * (c.alpha * attract - c.beta * repel)

    return Prepared(run)


@method("pygsd")
def pygsd(problem: Problem) -> Prepared:
    """The propagation layer of SSSNET and SIMPA in PyTorch Geometric Signed Directed, with given weights."""
    from torch_geometric_signed_directed.nn import Conv_Base

    layer = Conv_Base(normalize=False)
    # The layer propagates from target to source.
    run = combine_signs(problem, lambda x, e, w: layer(x, e.flip(0), w.squeeze(1)))
    return _summed_in_storage_type(problem, run)


def _summed_in_storage_type(problem: Problem, run: Callable[[Tensor], Tensor], note: str = "") -> Prepared:
    needs_memory(problem, copies=2)
    if problem.x.dtype.itemsize >= 4:
        return Prepared(run, note=note)
    # On a hub with 11,673 edges the error was 0.14 row magnitudes, ours 0.015.
    inexact = f"torch accumulates its gradients in {problem.x.dtype}; 8 times the usual error is allowed"
    return Prepared(run, note=f"{note}; {inexact}" if note else inexact, slack=8.0)
