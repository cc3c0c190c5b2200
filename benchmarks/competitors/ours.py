"""Our own backends as competitors."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

import sbp_kernels as sbp

from ..cases.modes import OURS
from ..cases.workloads import Workload
from .cuda_graph import cuda_graph
from .registry import Prepared, Problem, method, needs_memory


@method(OURS)
def ours(problem: Problem) -> Prepared:
    """Our fused row pass on the first backend that supports the call."""
    graph = _graph_of(problem)
    backend, note = best_backend(problem.x, graph)
    return Prepared(_ours(problem, graph, backend), backend, note)


@method("triton")
def ours_triton(problem: Problem) -> Prepared:
    """Our Triton backend."""
    return _ours_on("triton", problem)


@method("reference")
def ours_reference(problem: Problem) -> Prepared:
    """Our reference backend in plain torch, which needs no compiled code."""
    needs_memory(problem, copies=2)
    return _ours_on("reference", problem)


@method("cuda_graph")
def ours_cuda_graph(problem: Problem) -> Prepared:
    """Our call replayed as a CUDA graph, which removes the overhead of the call."""
    if problem.x.device.type != "cuda":
        raise NotImplementedError("a CUDA graph needs a GPU")
    return Prepared(cuda_graph(ours(problem).run, problem.x), "CUDA graph")


def _ours_on(backend: str, problem: Problem) -> Prepared:
    graph = _graph_of(problem)
    reason = sbp.explain(problem.x, graph)[backend]
    if reason != "runs":
        raise NotImplementedError(reason)
    return Prepared(_ours(problem, graph, backend), backend)


def _ours(problem: Problem, graph: sbp.SignedGraph, backend: str) -> Callable[[Tensor], Tensor]:
    c = problem.coefficients
    return lambda x: sbp.signed_propagate(x, graph, alpha=c.alpha, beta=c.beta, lam=c.lam, backend=backend)


def _graph_of(problem: Problem) -> sbp.SignedGraph:
    if problem.learnable != "weights":
        return signed_graph(problem.graph).prepare()
    g = problem.graph
    weights = {"pos_edge_weight": g.pos_weight, "neg_edge_weight": g.neg_weight}
    return sbp.SignedGraph.from_edge_index(g.pos, g.neg, g.num_nodes, **weights).prepare()


def signed_graph(graph: Workload) -> sbp.SignedGraph:
    """Return the workload as a `SignedGraph`: normalized, without edge weights."""
    return sbp.SignedGraph.from_edge_index(graph.pos, graph.neg, num_nodes=graph.num_nodes).normalize("sym")


def best_backend(x: Tensor, graph: sbp.SignedGraph) -> tuple[str, str]:
    """Return the native backend if it supports the call; else the next that does, and the reason."""
    reasons = sbp.explain(x, graph)
    if reasons["native"] == "runs":
        return "native", ""
    backend = next(name for name, reason in reasons.items() if reason == "runs")
    return backend, f"native: {reasons['native']}"
