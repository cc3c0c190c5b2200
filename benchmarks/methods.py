"""The competitors: one function each, from a problem to a function of x.

What the function builds before it returns is setup and is not timed: every peer has its graph
ready in the form it likes best. A peer that is not installed, or cannot do what is asked, raises
and is listed with that reason.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import sbp_kernels as sbp

from . import matrices
from .problem import METHODS, Prepared, Problem, method, needs_memory
from .records import OURS
from .workloads import Workload

__all__ = ["METHODS", "best_backend", "matrices", "signed_graph"]


@method(OURS)
def ours(problem: Problem) -> Prepared:
    """The fused row pass, by the best backend that runs here."""
    graph = _graph_of(problem)
    backend, note = best_backend(problem.x, graph)
    return Prepared(_ours(problem, graph, backend), backend, note)


@method("triton")
def ours_triton(problem: Problem) -> Prepared:
    return _ours_by("triton", problem)


@method("reference")
def ours_reference(problem: Problem) -> Prepared:
    """Our definition in plain torch: what there is where nothing was compiled."""
    needs_memory(problem, copies=2)
    return _ours_by("reference", problem)


def _ours_by(backend: str, problem: Problem) -> Prepared:
    graph = _graph_of(problem)
    reason = sbp.explain(problem.x, graph)[backend]
    if reason != "runs":
        raise NotImplementedError(reason)
    return Prepared(_ours(problem, graph, backend), backend)


def _ours(problem: Problem, graph: sbp.SignedGraph, backend: str) -> Callable[[Tensor], Tensor]:
    c = problem.coefficients
    return lambda x: sbp.signed_propagate(x, graph, alpha=c.alpha, beta=c.beta, lam=c.lam, backend=backend)


def _graph_of(problem: Problem) -> sbp.SignedGraph:
    if problem.learns != "weights":
        return signed_graph(problem.graph).prepare()
    g = problem.graph
    weights = {"pos_edge_weight": g.pos_weight, "neg_edge_weight": g.neg_weight}
    return sbp.SignedGraph.from_edge_index(g.pos, g.neg, g.num_nodes, **weights).prepare()


def signed_graph(graph: Workload) -> sbp.SignedGraph:
    """The workload as sbp_kernels takes it: normalised, without edge weights."""
    return sbp.SignedGraph.from_edge_index(graph.pos, graph.neg, num_nodes=graph.num_nodes).normalize("sym")


def best_backend(x: Tensor, graph: sbp.SignedGraph) -> tuple[str, str]:
    """The native backend where it runs, else the next that does and why native does not."""
    reasons = sbp.explain(x, graph)
    if reasons["native"] == "runs":
        return "native", ""
    backend = next(name for name, reason in reasons.items() if reason == "runs")
    return backend, f"native: {reasons['native']}"


def _combined(problem: Problem, product: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The step from a peer's product with one sign, `product(x, edge_index, weight [E, 1])`."""
    g, c = problem.graph, problem.coefficients
    pos_weight, neg_weight = (w.to(problem.x.dtype)[:, None] for w in (g.pos_weight, g.neg_weight))

    def run(x: Tensor) -> Tensor:
        attract, repel = product(x, g.pos, pos_weight), product(x, g.neg, neg_weight)
        return (1.0 - c.lam) * x + c.lam * (c.alpha * attract - c.beta * repel)

    return run


def _summed_in_storage_type(problem: Problem, run: Callable[[Tensor], Tensor], note: str = "") -> Prepared:
    needs_memory(problem, copies=2)
    if problem.x.dtype.itemsize >= 4:
        return Prepared(run, note=note)
    # Seen on a hub with 11 673 edges: an error of 0.14 row magnitudes where ours has 0.015.
    short = f"torch sums its gradients in {problem.x.dtype}; 8 times the error of the others is allowed"
    return Prepared(run, note=f"{note}; {short}" if note else short, slack=8.0)


@method("pyg_scatter")
def pyg_scatter(problem: Problem) -> Prepared:
    """What a PyG user writes: a message per edge, gathered, weighted and scattered, per sign."""
    scatter, note = _scatter()
    n = problem.graph.num_nodes
    run = _combined(problem, lambda x, e, w: scatter(x[e[0]] * w, e[1], 0, n, reduce="sum"))
    return _summed_in_storage_type(problem, run, note)


def _scatter() -> tuple[Callable[..., Tensor], str]:
    try:
        from torch_geometric.utils import scatter
    except ModuleNotFoundError:
        return _scatter_add, "torch-geometric is not installed: the torch calls that its scatter makes"
    return scatter, ""


def _scatter_add(src: Tensor, index: Tensor, dim: int, dim_size: int, reduce: str) -> Tensor:
    return src.new_zeros(dim_size, src.size(1)).scatter_add_(dim, index[:, None].expand_as(src), src)


@method("pyg_message_passing")
def pyg_message_passing(problem: Problem) -> Prepared:
    """A MessagePassing layer, which takes torch_scatter where that is installed."""
    import torch_geometric.typing
    from torch_geometric.nn import MessagePassing

    class Layer(MessagePassing):
        def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, weight=weight)

        def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
            return x_j * weight

    note = "" if torch_geometric.typing.WITH_TORCH_SCATTER else "torch_scatter is not installed: torch's scatter_add_"
    return _summed_in_storage_type(problem, _combined(problem, Layer(aggr="sum")), note)


@method("pyg_compiled")
def pyg_compiled(problem: Problem) -> Prepared:
    """The scatter composite under torch.compile, with fixed shapes."""
    # Each case is a graph of its own; torch would stop compiling after eight of them.
    torch._dynamo.config.recompile_limit = 1000
    plain = pyg_scatter(problem)
    run = torch.compile(plain.run, fullgraph=True, dynamic=False)
    return Prepared(run, "inductor", plain.note, plain.slack)


@method("pyg_edge_index")
def pyg_edge_index(problem: Problem) -> Prepared:
    """PyG's torch.sparse path: a product of an EdgeIndex per sign, its caches filled."""
    from torch_geometric import EdgeIndex

    if problem.learns == "weights":
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
    """PyTorch Geometric Signed Directed: the layer that SSSNET and SIMPA propagate by, weights given."""
    from torch_geometric_signed_directed.nn import Conv_Base

    layer = Conv_Base(normalize=False)
    # Its flow is from target to source.
    run = _combined(problem, lambda x, e, w: layer(x, e.flip(0), w.squeeze(1)))
    return _summed_in_storage_type(problem, run)


@method("torch_sparse_matmul")
def torch_sparse_matmul(problem: Problem) -> Prepared:
    """The package torch_sparse: a SparseTensor per sign."""
    from torch_sparse import SparseTensor

    g, c, n = problem.graph, problem.coefficients, problem.graph.num_nodes
    pos, neg = (
        SparseTensor(row=e[1], col=e[0], value=w.to(problem.x.dtype), sparse_sizes=(n, n))
        for e, w in ((g.pos, g.pos_weight), (g.neg, g.neg_weight))
    )
    return Prepared(lambda x: (1.0 - c.lam) * x + c.lam * (c.alpha * (pos @ x) - c.beta * (neg @ x)))


@method("dgl")
def dgl(problem: Problem) -> Prepared:
    """DGL's copy-and-sum over a weighted graph per sign; no wheel for the torch releases that we support."""
    import dgl as library
    import dgl.ops as ops

    n = problem.graph.num_nodes
    graphs: dict[int, object] = {}

    def product(x: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
        key = edge_index.data_ptr()
        if key not in graphs:
            graphs[key] = library.graph((edge_index[0], edge_index[1]), num_nodes=n)
        return ops.u_mul_e_sum(graphs[key], x, weight)

    return Prepared(_combined(problem, product))
