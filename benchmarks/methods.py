"""The competitors: one function each, from a problem to a function of x.

What the function builds before it returns is setup and is not timed: every peer has its graph
ready in the form it likes best.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import sbp_kernels as sbp

from .oracle import Coefficients
from .records import OURS
from .workloads import Workload


@dataclass(frozen=True)
class Problem:
    """A graph, the coefficients, and one x to look at (its dtype and device count)."""

    graph: Workload
    x: Tensor  # [n, d]
    coefficients: Coefficients


@dataclass(frozen=True)
class Prepared:
    """A method ready to run: x [n, d] -> y [n, d], differentiable, and the code behind it.

    `slack` widens the error allowed, for a peer that is known to be less exact; `note` says why.
    """

    run: Callable[[Tensor], Tensor]
    backend: str = "torch"
    note: str = ""
    slack: float = 1.0


METHODS: dict[str, Callable[[Problem], Prepared]] = {}


def method(name: str) -> Callable[[Callable[[Problem], Prepared]], Callable[[Problem], Prepared]]:
    """Register a competitor under the name that its rows carry."""

    def register(prepare: Callable[[Problem], Prepared]) -> Callable[[Problem], Prepared]:
        METHODS[name] = prepare
        return prepare

    return register


@method(OURS)
def ours(problem: Problem) -> Prepared:
    """The fused row pass, by the best backend that runs here."""
    c = problem.coefficients
    graph = signed_graph(problem.graph).prepare()
    backend, note = best_backend(problem.x, graph)

    def run(x: Tensor) -> Tensor:
        return sbp.signed_propagate(x, graph, alpha=c.alpha, beta=c.beta, lam=c.lam, backend=backend)

    return Prepared(run, backend, note)


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


@method("pyg_scatter")
def pyg_scatter(problem: Problem) -> Prepared:
    """What a PyG user writes: a message per edge, gathered, weighted and scattered, per sign."""
    from torch_geometric.utils import scatter

    g, c = problem.graph, problem.coefficients
    pos_weight, neg_weight = (w.to(problem.x.dtype)[:, None] for w in (g.pos_weight, g.neg_weight))

    def aggregate(x: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
        return scatter(x[edge_index[0]] * weight, edge_index[1], 0, g.num_nodes, reduce="sum")

    def run(x: Tensor) -> Tensor:
        attract = aggregate(x, g.pos, pos_weight)
        repel = aggregate(x, g.neg, neg_weight)
        return (1.0 - c.lam) * x + c.lam * (c.alpha * attract - c.beta * repel)

    if problem.x.dtype.itemsize >= 4:
        return Prepared(run)
    # Seen on a hub with 11 673 edges: an error of 0.14 row magnitudes where ours has 0.015.
    note = f"torch sums its gradients in {problem.x.dtype}; 8 times the error of the others is allowed"
    return Prepared(run, note=note, slack=8.0)


@method("torch_sparse_pair")
def torch_sparse_pair(problem: Problem) -> Prepared:
    """Two torch.sparse CSR products with the weights in the values, then the combination."""
    g, c = problem.graph, problem.coefficients
    n, dtype = g.num_nodes, problem.x.dtype
    pos = _csr_tensor(g.pos[1], g.pos[0], g.pos_weight, n, dtype, torch.int64)
    neg = _csr_tensor(g.neg[1], g.neg[0], g.neg_weight, n, dtype, torch.int64)

    def run(x: Tensor) -> Tensor:
        return (1.0 - c.lam) * x + c.lam * (c.alpha * (pos @ x) - c.beta * (neg @ x))

    return Prepared(run)


@method("merged_addmm_int32")
def merged_addmm_int32(problem: Problem) -> Prepared:
    """The expert's single call on a merged matrix with 32-bit indices."""
    return _merged_addmm(problem, torch.int32)


@method("merged_addmm_int64")
def merged_addmm_int64(problem: Problem) -> Prepared:
    """The expert's single call on a merged matrix with 64-bit indices."""
    return _merged_addmm(problem, torch.int64)


def _merged_addmm(problem: Problem, index_dtype: torch.dtype) -> Prepared:
    """Signs, alpha, beta and normalisation baked into the values; the transpose built ahead."""
    g, c = problem.graph, problem.coefficients
    source, target = torch.cat([g.pos, g.neg], dim=1)
    value = torch.cat([c.alpha * g.pos_weight, -c.beta * g.neg_weight])
    n, dtype = g.num_nodes, problem.x.dtype
    matrix = _csr_tensor(target, source, value, n, dtype, index_dtype)
    transpose = _csr_tensor(source, target, value, n, dtype, index_dtype)

    def run(x: Tensor) -> Tensor:
        if x.requires_grad:
            return _MergedAddmm.apply(x, matrix, transpose, c.lam)
        # The bare call: at the size of Cora even autograd.Function's entry would show.
        return torch.addmm(x, matrix, x, beta=1.0 - c.lam, alpha=c.lam)

    return Prepared(run)


class _MergedAddmm(torch.autograd.Function):
    """(1 - lam) x + lam A x. Without it autograd would transpose A anew in each backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, matrix: Tensor, transpose: Tensor, lam: float) -> Tensor:
        ctx.transpose, ctx.lam = transpose, lam
        return torch.addmm(x, matrix, x, beta=1.0 - lam, alpha=lam)

    @staticmethod
    def backward(ctx, grad: Tensor):
        grad_x = torch.addmm(grad, ctx.transpose, grad, beta=1.0 - ctx.lam, alpha=ctx.lam)
        return grad_x, None, None, None


def _csr_tensor(
    row: Tensor, col: Tensor, value: Tensor, n: int, dtype: torch.dtype, index_dtype: torch.dtype
) -> Tensor:
    """A torch.sparse CSR matrix, columns sorted within each row."""
    order = torch.argsort(row * n + col)
    rowptr = torch.zeros(n + 1, dtype=torch.int64, device=row.device)
    rowptr[1:] = torch.bincount(row, minlength=n).cumsum(0)
    with warnings.catch_warnings():
        # torch calls its sparse CSR support a beta at the first tensor.
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            rowptr.to(index_dtype), col[order].to(index_dtype), value[order].to(dtype), (n, n)
        )
