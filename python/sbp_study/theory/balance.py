"""Structural balance of a signed graph, and the limits of signed propagation on it (arXiv 2502.11394)."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_pair

from .scipy_conversion import signed_matrix, to_scipy

# Below this size a dense eigensolver is faster. ARPACK rejects the smallest problems.
_DENSE_SIZE = 64


def two_groups(graph: SignedGraph) -> Tensor | None:
    """Return the two groups of a structurally balanced graph, int64 `[n]` of 0 and 1, or None if it is not balanced.

    A graph is balanced if there are two groups such that positive entries of A+ - A- connect nodes of the same group
    and negative entries connect nodes of different groups. Edges are undirected here. A component without negative
    edges is in group 0. Both halves must be sparse. Source: arXiv 2502.11394, Definition 4.1.
    """
    matrix = signed_matrix(graph)
    pos, neg = matrix > 0, matrix < 0
    n = graph.num_nodes
    # Each node appears twice, once per group. The graph is balanced if no node is connected to its own copy.
    label = connected_components(sp.block_array([[pos, neg], [neg, pos]]), directed=False)[1]
    if (label[:n] == label[n:]).any():
        return None
    return torch.from_numpy((label[:n] > label[n:]).astype(np.int64))


def weak_groups(graph: SignedGraph) -> Tensor | None:
    """Return the groups of a weakly balanced graph, int64 `[n]` from 0, or None if it is not weakly balanced.

    A graph is weakly balanced if no cycle has exactly one negative edge: no negative entry of A+ - A- connects two
    nodes of the same component of positive entries. The groups are these components.
    Both halves must be sparse. Source: arXiv 2502.11394, Definition G.1.
    """
    matrix = signed_matrix(graph)
    group = connected_components(matrix > 0, directed=False)[1]
    row, col = (matrix < 0).nonzero()
    if (group[row] == group[col]).any():
        return None
    return torch.from_numpy(group.astype(np.int64))


def critical_beta(graph: SignedGraph, alpha: float) -> float:
    r"""Return \( \beta^* \): \( X \leftarrow (I - \alpha L^+ - \beta L^-_r) X \) averages below it and diverges above.

    \( L^+ = D^+ - A^+ \), \( L^-_r = -(D^- - A^-) = -L^- \). \( \beta^* \) solves
    \( \lambda_{\max}(I - \alpha L^+ - \beta L^-_r - 11^\top/n) = 1 \), which is
    \( \alpha / \beta^* = \max_x x^\top L^- x / x^\top L^+ x \): one generalised eigenvalue, no root search.
    Neither form changes if a constant is added to x, so node 0 is fixed at 0; \( L^+ \) is definite on the other nodes.
    The result is infinite without negative edges, and 0 if only negative edges connect the graph.

    Args:
        graph: symmetric, connected, entries >= 0; `pos` sparse, `neg` sparse or a `ClassBlock`.
        alpha: strength of attraction, \( 0 < \alpha < 1 / \max D^+ \).

    Source: arXiv 2502.11394, Theorem 3.2.
    """
    graph = graph.to("cpu")
    pos = _symmetric("pos", graph.pos)
    n = graph.num_nodes
    if graph.num_cols != n or n < 2:
        raise ValueError(f"graph must be square with two nodes or more, got {n}x{graph.num_cols}")
    degree = pos.sum(axis=1) - pos.diagonal()
    if not (alpha > 0 and alpha * degree.max() < 1):
        raise ValueError(f"alpha must lie in (0, 1 / max degree = {1 / max(degree.max(), 1e-300):.4g}), got {alpha}")
    repel = _laplacian(graph)
    components, label = connected_components(pos, directed=False)
    if components > 1:
        # L+ is 0 for a vector that is constant on one component, so L- must be positive for it.
        moved = (label[:, None] == np.arange(components)).astype(float)
        if (np.einsum("ic,ic->c", moved, repel @ moved) <= 1e-12).any():
            raise ValueError(f"the graph must be connected; its positive edges leave {components} parts, one apart")
        return 0.0
    attract = sp.csc_array(sp.diags_array(pos.sum(axis=1)) - pos)[1:, 1:]
    largest = _largest_ratio(_grounded(repel), attract)
    return alpha / largest if largest > 1e-12 else math.inf


def constrained_dynamics(
    x: Tensor,
    graph: SignedGraph,
    *,
    alpha: float,
    beta: float,
    bound: float,
    num_steps: int,
    seed: int = 0,
) -> Tensor:
    r"""Return the states after `num_steps` random pairs of neighbors attract or repel each other in \( [-c, c] \).

    Both ends of a random edge move at the same time: \( x_i \leftarrow F_c((1 - \theta) x_i + \theta x_j) \), with
    \( \theta = \alpha \) on a positive edge, \( -\beta \) on a negative one, and F_c clamping to
    \( \pm c \). On a balanced complete graph with large \( \beta \), the two groups converge to
    opposite bounds.

    Args:
        x: floating `[n]` or `[n, d]`, the initial states.
        graph: both halves sparse. Each edge counts once, regardless of weight and direction.
        alpha, beta: \( 0 < \alpha < 1 \), \( \beta > 0 \).
        bound: c > 0.
        num_steps: the number of random pairs.
        seed: the seed of the random pairs.

    Source: arXiv 2502.11394, Theorems 4.2 and G.2.
    """
    if x.dim() not in (1, 2) or not x.is_floating_point() or x.size(0) != graph.num_nodes:
        raise ValueError(
            f"x must be floating of shape [num_nodes={graph.num_nodes}] or with features, got {tuple(x.shape)}"
        )
    if not (0 < alpha < 1 and beta > 0 and bound > 0):
        raise ValueError(f"alpha must lie in (0, 1), beta and bound be > 0, got {alpha}, {beta} and {bound}")
    matrix = signed_matrix(graph)
    edges = sp.triu(matrix + matrix.T, k=1, format="coo")
    if not edges.nnz or num_steps < 0:
        raise ValueError(f"there must be an edge and num_steps >= 0, got {edges.nnz} edges and {num_steps}")
    theta = np.where(edges.data > 0, alpha, -beta)
    state = x.detach().double().cpu().numpy().copy()
    for e in np.random.default_rng(seed).integers(edges.nnz, size=num_steps):
        i, j = edges.row[e], edges.col[e]
        # Both ends move by theta times their difference, in opposite directions.
        move = theta[e] * (state[j] - state[i])
        state[i], state[j] = np.clip(state[i] + move, -bound, bound), np.clip(state[j] - move, -bound, bound)
    return torch.from_numpy(state).to(x)


def _symmetric(name: str, half: object) -> sp.csr_array:
    """Return a half as scipy's matrix; raise ValueError unless it is sparse, symmetric and >= 0."""
    if not isinstance(half, CSR):
        raise ValueError(f"{name} must be sparse{' or a ClassBlock' * (name == 'neg')}, got {half!r}")
    matrix = to_scipy(half)
    if matrix.shape[0] != matrix.shape[1] or abs(matrix - matrix.T).max() > 1e-12 * abs(matrix).max():
        raise ValueError(f"{name} must be symmetric, got {half!r}")
    if matrix.nnz and matrix.data.min() < 0:
        raise ValueError(f"entries of {name} must be >= 0, got {matrix.data.min():.4g}")
    return matrix


def _laplacian(graph: SignedGraph) -> spl.LinearOperator:
    r"""Return \( L^- = D^- - A^- \), `[n, n]`, for a sparse or `ClassBlock` negative half."""
    n, neg = graph.num_nodes, graph.neg
    if neg is None:
        return spl.aslinearoperator(sp.csr_array((n, n)))
    if isinstance(neg, ClassBlock):
        if neg.group.dim() == 2:
            raise NotImplementedError("balance of soft groups is not implemented: give a group per node")
        used = torch.unique(neg.group)
        block = neg.block.double()[used][:, used]
        if not torch.allclose(block, block.T, rtol=1e-12, atol=0) or bool((block < 0).any()):
            raise ValueError(f"neg must be symmetric with entries >= 0, got {neg!r}")
        only = SignedGraph(neg=neg)
        apply = lambda v: signed_pair(torch.from_numpy(v.reshape(n, -1)), only)[1].numpy()  # noqa: E731
        degree = apply(np.ones(n))
        minus = lambda v: degree * v.reshape(n, -1) - apply(v)  # noqa: E731
        return spl.LinearOperator((n, n), matvec=minus, matmat=minus, dtype=np.float64)
    matrix = _symmetric("neg", neg)
    return spl.aslinearoperator(sp.csr_array(sp.diags_array(matrix.sum(axis=1)) - matrix))


def _grounded(operator: spl.LinearOperator) -> spl.LinearOperator:
    """Return the operator without its first row and column."""
    m = operator.shape[0] - 1
    inner = lambda v: (operator @ np.pad(v.reshape(m, -1), ((1, 0), (0, 0))))[1:]  # noqa: E731
    return spl.LinearOperator((m, m), matvec=inner, matmat=inner, dtype=np.float64)


def _largest_ratio(top: spl.LinearOperator, bottom: sp.csc_array) -> float:
    r"""Return \( \max_v v^\top T v / v^\top B v \), B sparse and positive definite."""
    m = top.shape[0]
    if m <= _DENSE_SIZE:
        dense = top @ np.eye(m)
        return float(scipy.linalg.eigh((dense + dense.T) / 2, bottom.toarray(), eigvals_only=True)[-1])
    # ARPACK starts from a random vector by default, and fails if T is zero.
    start = np.random.default_rng(0).standard_normal(m)
    if not (top @ start).any():
        return 0.0
    inverse = spl.LinearOperator((m, m), matvec=spl.splu(bottom).solve, dtype=np.float64)
    return float(spl.eigsh(top, k=1, M=bottom, Minv=inverse, which="LA", v0=start, return_eigenvectors=False)[0])
