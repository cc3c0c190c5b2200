"""`SignedGCN`, PyG's model of `SignedConv` layers with its losses, which cost more than the layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.models import SignedGCN as PyGSignedGCN

from ..adjacency.csr import CSR
from ..adjacency.sparsity import SparsityPattern
from ..autograd import spmm
from ..backends import select
from ..backends.interface import accumulation_dtype
from ..composed import edge_grad
from ..dispatch import OpContext, transposed
from ..graph import SignedGraph
from ..pyg.autodiff import unwrapped
from ..pyg.compiled import lookup
from ..pyg.edges import list_edges
from ..transforms import active, outside
from .replacement import Replacement, needs_module_call
from .sampling import absent_edges, absent_targets
from .signed import SignedConv


class SignedGCN(Replacement, PyGSignedGCN):
    r"""PyG's `SignedGCN`: one pass per layer, and losses that do not copy a row of features per edge.

    The discriminator is linear in both ends, \( W [z_i, z_j] = W_l z_i + W_r z_j \), and the triplet losses need
    \( |z_i - z_j|^2 - |z_i - z_k|^2 = |z_j|^2 - |z_k|^2 - 2 \langle z_i, z_j - z_k \rangle \) only. Samples
    use the random numbers that PyG draws, so that a seed gives the same loss; edges are sorted once.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, num_layers: int, lamb: float = 5, bias: bool = True
    ) -> None:
        super().__init__(in_channels, hidden_channels, num_layers, lamb, bias)
        for conv in (self.conv1, *self.convs):
            conv.__class__ = SignedConv

    def discriminate(self, z: Tensor, edge_index: Tensor) -> Tensor:
        """Return the log-probabilities that edges are positive, negative or absent: `[num_edges, 3]`."""
        if needs_module_call(self.lin):
            return super().discriminate(z, edge_index)
        _check(z, edge_index)
        return F.log_softmax(self._logits(self._ends(z), edge_index), dim=0).T.contiguous()

    def nll_loss(self, z: Tensor, pos_edge_index: Tensor, neg_edge_index: Tensor) -> Tensor:
        """Return the mean negative log-likelihood of positive, negative and sampled absent edges."""
        if needs_module_call(self.lin):
            return super().nll_loss(z, pos_edge_index, neg_edge_index)
        _check(z, pos_edge_index, neg_edge_index)
        ends = self._ends(z)
        absent = absent_edges(pos_edge_index, neg_edge_index, z.size(0))
        loss = z.new_zeros(())
        for kind, edge_index in enumerate((pos_edge_index, neg_edge_index, absent)):
            logits = self._logits(ends, edge_index)
            loss = loss + (logits.logsumexp(0) - logits[kind]).mean()
        return loss / 3.0

    def pos_embedding_loss(self, z: Tensor, pos_edge_index: Tensor) -> Tensor:
        """Return the triplet loss by which positive neighbours should be nearer than sampled nodes."""
        return torch.clamp(_distance_differences(z, pos_edge_index), min=0).mean()

    def neg_embedding_loss(self, z: Tensor, neg_edge_index: Tensor) -> Tensor:
        """Return the triplet loss by which negative neighbours should be farther than sampled nodes."""
        return torch.clamp(-_distance_differences(z, neg_edge_index), min=0).mean()

    def _ends(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return each node's share of the logits of edges that start, and that end, in it: `[3, num_nodes]` each."""
        left, right = self.lin.weight.chunk(2, dim=1)
        return left @ z.T, torch.addmm(self.lin.bias[:, None], right, z.T)

    @staticmethod
    def _logits(ends: tuple[Tensor, Tensor], edge_index: Tensor) -> Tensor:
        return ends[0].index_select(1, edge_index[0]) + ends[1].index_select(1, edge_index[1])


def _check(z: Any, *edge_indices: Any) -> None:
    if not isinstance(z, Tensor) or z.dim() != 2 or not z.is_floating_point():
        got = f"{z.dtype} {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z must be floating of shape [num_nodes, features], got {got}")
    if not torch.compiler.is_compiling():
        for edge_index in edge_indices:
            lookup(_check_edges, (z.size(0),), edge_index)


def _check_edges(options: tuple[int], edge_index: Tensor) -> None:
    list_edges(edge_index, options[0], "source_to_target")


@torch.compiler.disable
def _distance_differences(z: Tensor, edge_index: Tensor) -> Tensor:
    """Return |z_i - z_j|^2 - |z_i - z_k|^2 for every edge (i, j) and a sampled k that is not a neighbour of i."""
    _check(z, edge_index)
    with outside():
        # A transform does not differentiate the edges.
        edge_index = unwrapped(edge_index)
        k = absent_targets(edge_index, z.size(0))
        near, order = lookup(_edges_by_source, (z.size(0),), edge_index)
        rowptr, col = near.pattern._rowptr, near.pattern._col
        others = k.index_select(0, order).to(col.dtype)
        far = CSR._trusted(SparsityPattern(rowptr, others, near.num_cols))
    square = z.square().sum(1)
    difference = square.index_select(0, col) - square.index_select(0, others)
    return difference - 2.0 * _edge_dots(z, near, far)


def _edge_dots(z: Tensor, near: CSR, far: CSR) -> Tensor:
    """Return <z_i, z_j - z_k> for the edges (i, j) of one matrix and (i, k) of the other: `[num_edges]`."""
    kernels = select(z, None)
    if active():
        weight = z.new_empty(near.num_edges, dtype=accumulation_dtype(z))
        return (edge_grad(kernels, near, weight, z, z) - edge_grad(kernels, far, weight, z, z)).to(z.dtype)
    return _EdgeDots.apply(OpContext(kernels, SignedGraph(near, far), (0.0, 1.0, -1.0)), z)


class _EdgeDots(torch.autograd.Function):
    """Reverse-mode `_edge_dots` of both halves of a graph, without a copy of a row per edge."""

    @staticmethod
    def forward(ctx, op, z):  # type: ignore[no-untyped-def]
        ctx.op = op
        ctx.save_for_backward(z)
        near, far = (half.prepare(accumulation_dtype(z), op.kernels) for half in (op.graph.pos, op.graph.neg))
        return (op.kernels.edge_dot(z, z, near) - op.kernels.edge_dot(z, z, far)).to(z.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        # The gradient is (W + W^T) z, where W has the gradients of the edges as weights: two passes over both halves.
        (z,) = ctx.saved_tensors
        weight = grad.to(accumulation_dtype(z))
        op = ctx.op._replace(graph=ctx.op.graph._with_temporary_weights(weight, weight))
        return None, spmm(op, z) + spmm(transposed(op, None, None), z)


def _edges_by_source(options: tuple[int], edge_index: Tensor) -> tuple[CSR, Tensor]:
    """Return the edges sorted by source, and the original index of each."""
    pattern, order = SparsityPattern.from_coo(edge_index[0].long(), edge_index[1].long(), options[0], options[0])
    return CSR._trusted(pattern), order
