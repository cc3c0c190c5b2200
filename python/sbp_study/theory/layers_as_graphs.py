r"""Published layers as signed propagation: the signed graph of each layer in Table 5 of arXiv 2502.11394.

Every function takes a normalized adjacency \( \hat A \) and returns a `LayerGraph`. With it,
`signed_propagate(x, layer.graph, alpha=layer.alpha, beta=layer.beta)` computes the layer, except for what the docstring
of the function names. `contra_norm`, `appnp`, `jknet` and `dagnn` store products of matrices, which become dense, so
they are limited to graphs of a few thousand nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair

from .scipy_conversion import from_scipy, to_scipy


class LayerGraph(NamedTuple):
    r"""The signed graph and the coefficients of a layer, \( X \mapsto \alpha A^+ X - \beta A^- X \)."""

    graph: SignedGraph
    alpha: float = 1.0
    beta: float = 1.0


def sgc(adjacency: CSR) -> LayerGraph:
    r"""Return SGC, exact: \( A^+ = \hat A \) without negative edges. GCN before its weights is the same."""
    return LayerGraph(SignedGraph(pos=adjacency), beta=0.0)


def residual(adjacency: CSR) -> LayerGraph:
    r"""Return the residual connection: \( A^+ = \hat A, A^- = I \), the change \( \hat A X - X \) of a step.

    The convex form \( (1 - a) X + a \hat A X \) is X plus a times this change. The sum \( \hat A X + X \) is this graph
    with `beta=-1`, which attracts.
    """
    n = adjacency.num_rows
    nodes = torch.arange(n, device=adjacency.device)
    return LayerGraph(SignedGraph(adjacency, CSR.from_edge_index(torch.stack([nodes, nodes]), num_nodes=n)))


def drop_edge(adjacency: CSR, dropped: Tensor) -> LayerGraph:
    r"""Return DropEdge: \( A^+ = \hat A \), and \( A^- = \hat A_m \) are its dropped edges.

    `dropped` is bool `[num_edges]`, in the order of rows. This is exact before the remaining edges are renormalized,
    which for mode "row" multiplies each row by a number.
    """
    if dropped.dtype != torch.bool or tuple(dropped.shape) != (adjacency.num_edges,):
        raise ValueError(
            f"dropped must be bool of shape [num_edges={adjacency.num_edges}], "
            f"got {dropped.dtype} {tuple(dropped.shape)}"
        )
    weight = torch.ones_like(dropped, dtype=torch.float64) if adjacency.weight is None else adjacency.weight
    return LayerGraph(SignedGraph(adjacency, adjacency.with_weight(weight * dropped)))


def batch_norm(adjacency: CSR) -> LayerGraph:
    r"""Return BatchNorm of \( \hat A X \): \( A^- = \frac1n 11^\top \hat A \), exact before division by the deviations.

    The negative half has one group for each distinct column sum of \( \hat A \). On large graphs, compute
    \( \hat A X \) first, then a step with `neg=ClassBlock.mean(n)` on it: the same product in two calls.
    """
    ones = adjacency.rowptr.new_ones(adjacency.num_rows, 1, dtype=torch.float64)
    mean = signed_pair(ones, SignedGraph(pos=adjacency.T))[0].squeeze(1) / adjacency.num_rows
    value, group = torch.unique(mean, return_inverse=True)
    return LayerGraph(SignedGraph(adjacency, ClassBlock(group, value.expand(value.numel(), -1).contiguous())))


def pair_norm(adjacency: CSR) -> LayerGraph:
    """Return PairNorm of A X, the graph of `batch_norm`: exact before one scale (mode PN) or one per row (PN-SI)."""
    return batch_norm(adjacency)


def contra_norm(adjacency: CSR, x: Tensor, scale: float = 1.0, temperature: float = 1.0) -> LayerGraph:
    r"""Return ContraNorm of \( H = \hat A X \), exact: \( A^- = \mathrm{softmax}(H H^\top / \tau) \hat A \).

    \( H \leftarrow (1 + s) H - s\, \mathrm{softmax}(H H^\top / \tau) H \), so \( \alpha = 1 + s \), \( \beta = s \).
    Table 5 omits the softmax and s. The negative half has n² entries. On large graphs, compute \( \hat A X \) first,
    then a step with `neg=Similarity(h, sign=1)` on it.
    """
    h = signed_pair(x, SignedGraph(pos=adjacency))[0]
    dense = Similarity(h.detach(), sign=1.0, temperature=temperature).to_dense().cpu().numpy()
    product = dense @ to_scipy(adjacency)
    return LayerGraph(
        SignedGraph(adjacency, from_scipy(sp.csr_array(product)).to(adjacency.device)), 1.0 + scale, scale
    )


def appnp(adjacency: CSR, num_steps: int, keep: float) -> LayerGraph:
    r"""Return all K steps of APPNP, exact: \( X \leftarrow b \hat A X + (1 - b) X_0 \), starting from \( X_0 \).

    \( A^+ = \sum_{i=0}^K b^i \hat A^i \), \( A^- = b \sum_{j=0}^{K-1} b^j \hat A^j \). b is `keep`, which is 1 minus
    PyG's `alpha`. Table 5 writes a for this b.
    """
    powers = [keep**i * power for i, power in enumerate(_powers(adjacency, num_steps))]
    return LayerGraph(_graph(adjacency, sum(powers), keep * sum(powers[:-1])))


def jknet(adjacency: CSR, weight: Sequence[float]) -> LayerGraph:
    r"""Return JKNet with weights \( a_0..a_K \) that sum to 1, exact: X -> \( \sum_k a_k \hat A^k X \).

    \( A^+ = \sum_{i<K} a_i \hat A^i + \hat A^K \), \( A^- = \sum_{j<K} a_j \hat A^K \).
    """
    if abs(sum(weight) - 1.0) > 1e-9:
        raise ValueError(f"the weights must sum to 1, got {sum(weight):.6g}")
    # This is DAGNN with equal gates at all nodes.
    return dagnn(adjacency, torch.tensor(weight, dtype=torch.float64).expand(adjacency.num_rows, -1))


def dagnn(adjacency: CSR, gate: Tensor) -> LayerGraph:
    r"""Return DAGNN with the gates \( s_k \) of its steps, exact: X -> \( \sum_k \mathrm{diag}(s_k) \hat A^k X \).

    \( A^+ = \sum_{i<K} \mathrm{diag}(s_i) \hat A^i + \hat A^K \), \( A^- = \mathrm{diag}(1 - s_K) \hat A^K \): the
    graph of JKNet with one weight per node. The gates do not have to sum to 1. `gate` is floating `[n, K + 1]`.
    """
    if gate.dim() != 2 or gate.size(0) != adjacency.num_rows or not gate.size(1):
        raise ValueError(f"gate must have shape [num_nodes={adjacency.num_rows}, steps + 1], got {tuple(gate.shape)}")
    columns = gate.detach().double().cpu().numpy().T
    powers = _powers(adjacency, len(columns) - 1)
    gated = [sp.diags_array(s) @ power for s, power in zip(columns[:-1], powers[:-1], strict=True)]
    return LayerGraph(_graph(adjacency, sum(gated) + powers[-1], sp.diags_array(1.0 - columns[-1]) @ powers[-1]))


def label_signs(adjacency: CSR, y: Tensor, known: Tensor) -> LayerGraph:
    r"""Return Label-SBP before its softmax.

    \( A^-_{ij} \) is 1 for two known different labels, -1 for two known equal labels, otherwise 0.
    Table 6 and Proposition H.3 count these signs. The method itself uses their softmax, which is positive everywhere
    and has the signs of `batch_norm`.
    """
    softmax = ClassBlock.from_labels(y, known)
    block = torch.zeros_like(softmax.block)
    # The last group contains the nodes with unknown labels.
    block[:-1, :-1] = 1.0 - 2.0 * torch.eye(block.size(0) - 1, dtype=block.dtype, device=block.device)
    return LayerGraph(SignedGraph(adjacency, ClassBlock(softmax.group, block)))


def _powers(adjacency: CSR, num_steps: int) -> list[sp.csr_array]:
    if num_steps < 0:
        raise ValueError(f"num_steps must be >= 0, got {num_steps}")
    one = sp.csr_array(sp.eye_array(adjacency.num_rows))
    return list(accumulate([to_scipy(adjacency)] * num_steps, lambda power, a: a @ power, initial=one))


def _graph(adjacency: CSR, pos: sp.sparray, neg: sp.sparray | np.integer | int) -> SignedGraph:
    """Convert both halves from scipy. `neg` is the number 0 for an empty sum."""
    halves = from_scipy(pos), from_scipy(neg) if sp.issparse(neg) else None
    return SignedGraph(*halves).to(adjacency.device)
