"""Competitors from torch_sparse and DGL."""

from __future__ import annotations

from torch import Tensor

from .registry import Prepared, Problem, combine_signs, method


@method("torch_sparse_matmul")
def torch_sparse_matmul(problem: Problem) -> Prepared:
    """torch_sparse: the product with one SparseTensor per sign."""
    from torch_sparse import SparseTensor

    g, c, n = problem.graph, problem.coefficients, problem.graph.num_nodes
    pos, neg = (
        SparseTensor(row=e[1], col=e[0], value=w.to(problem.x.dtype), sparse_sizes=(n, n))
        for e, w in ((g.pos, g.pos_weight), (g.neg, g.neg_weight))
    )
    return Prepared(lambda x: (1.0 - c.lam) * x + c.lam * (c.alpha * (pos @ x) - c.beta * (neg @ x)))


@method("dgl")
def dgl(problem: Problem) -> Prepared:
    """DGL: a weighted sum over one graph per sign. DGL has no wheel for the torch releases that we support."""
    import dgl as library
    import dgl.ops as ops

    n = problem.graph.num_nodes
    graphs: dict[int, object] = {}

    def product(x: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
        key = edge_index.data_ptr()
        if key not in graphs:
            graphs[key] = library.graph((edge_index[0], edge_index[1]), num_nodes=n)
        return ops.u_mul_e_sum(graphs[key], x, weight)

    return Prepared(combine_signs(problem, product))
