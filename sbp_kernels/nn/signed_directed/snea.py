"""PyGSD's SNEAConv: attention over friends and foes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops, remove_self_loops
from torch_geometric_signed_directed.nn import signed

from ... import CSR
from ...pyg.kept import recall
from ..fused import Fused


class SNEAConv(Fused, signed.SNEAConv):
    r"""`torch_geometric_signed_directed.nn.SNEAConv` without messages (Li et al., AAAI 2020).

    PyGSD weighs the features of the *target* of an edge by its attention (the paper: of its source), so only the
    share of attention that a node gives to its friends matters:

    \[ y_i = p_i x^1_i + (1 - p_i) x^2_i, \quad p_i = \sum_{j \in N^+_i} a_{ij} \Big/ \sum_{j \in N^\pm_i} a_{ij},
       \quad a_{ij} = e^{\tanh(v_1 \cdot x_j + v_2 \cdot x_i + c)} \]

    That takes a few numbers an edge, where PyGSD stores 8 `out_dim`. In a first layer \( p_i = 1 \).

    Shapes:
        x `[num_nodes, in_dim]`, or `[num_nodes, 2 in_dim]` unless `first_aggr`; output `[num_nodes, 2 out_dim]`.
    """

    def forward(self, x: Tensor, pos_edge_index: Tensor, neg_edge_index: Tensor) -> Tensor:
        """As in PyGSD."""
        if x.dim() != 2 or self._runs_pyg(x):
            return super().forward(x, pos_edge_index, neg_edge_index)
        kept = recall(_snea_edges, (x.size(0), self.flow), pos_edge_index, neg_edge_index)
        if self.first_aggr:
            # Shares of one sum to one: the attention has no effect, and a gradient of zero (not none: weight decay).
            outs = [
                lin(x) * reached + 0.0 * sum(p.sum() for p in alpha.parameters())
                for lin, alpha, reached in zip(
                    (self.lin_b, self.lin_u), (self.alpha_b, self.alpha_u), kept.reached, strict=True
                )
            ]
            return torch.cat(outs, -1)
        h_b, h_u = x[..., : self.in_dim], x[..., self.in_dim :]
        x1 = torch.stack([self.lin_b(h_b), self.lin_u(h_u)], 1)  # [n, 2, out_dim]
        x2 = torch.stack([self.lin_b(h_u), self.lin_u(h_b)], 1)
        friends = self._attention(x1, kept.pos)
        foes = self._attention(x2, kept.neg)
        total = friends + foes
        total = torch.where(total > 0, total, 1.0)
        return (x1 * (friends / total).unsqueeze(-1) + x2 * (foes / total).unsqueeze(-1)).flatten(1)

    def _attention(self, x: Tensor, half: _Half) -> Tensor:
        """The attention of each node summed over its edges, by balanced and unbalanced features: `[n, 2]`."""
        weight = torch.cat([self.alpha_b.weight, self.alpha_u.weight])
        bias = torch.cat([self.alpha_b.bias, self.alpha_u.bias])
        of_source, of_target = weight.unflatten(1, (2, self.out_dim)).unbind(1)
        source, target = (x * of_source).sum(-1), (x * of_target).sum(-1) + bias
        logit = source.index_select(0, half.col) + target.index_select(0, half.row)
        return torch.segment_reduce(logit.tanh().exp(), "sum", offsets=half.rowptr, initial=0.0)


class _Half(NamedTuple):
    rowptr: Tensor
    row: Tensor
    col: Tensor


class _Edges(NamedTuple):
    pos: _Half
    neg: _Half
    # 1 where PyGSD gives a node of the first layer a self-loop, and so a result: [n, 1], of friends and of foes.
    reached: tuple[Tensor, ...]


def _snea_edges(options: tuple[int, str], pos_edge_index: Tensor, neg_edge_index: Tensor) -> _Edges:
    n, flow = options
    pos, neg = (remove_self_loops(edges)[0] for edges in (pos_edge_index, neg_edge_index))
    if flow == "target_to_source":
        pos, neg = pos.flip(0), neg.flip(0)
    # As in PyGSD: self-loops up to the last node that has an edge.
    looped = [add_self_loops(edges)[0] for edges in (pos, neg)]
    reached = tuple(edges.new_zeros(n).index_fill(0, edges[1], 1).view(n, 1) for edges in looped)
    return _Edges(_half(looped[0], n), _half(neg, n), reached)


def _half(edges: Tensor, n: int) -> _Half:
    pattern = CSR.from_edge_index(edges, None, n).pattern
    return _Half(pattern.rowptr, pattern.row_index(), pattern.col)
