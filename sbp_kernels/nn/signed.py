"""`SignedConv`, the layer over positive and negative edges."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric.typing import PairTensor

from ..pyg.adjacency import layer_signed_adjacency
from ..pyg.ops import pair
from .fused import Fused
from .replacement import source_and_target


class SignedConv(Fused, pyg.SignedConv):
    """PyG's `SignedConv`: means over positive and over negative neighbours, both in one pass over the rows.

    A deeper layer needs both means of both halves of x, which is one pass over twice as many features.
    """

    _AGGREGATIONS: ClassVar[dict[str, str | None]] = {"mean": "mean", "add": None, "sum": None}
    propagate_type: ClassVar[dict[str, Any]] = {"x": PairTensor}

    def forward(self, x: Any, pos_edge_index: Any, neg_edge_index: Any) -> Tensor:
        source, target = source_and_target(x)
        if self._runs_pyg(source) or source.dim() != 2:
            return super().forward(x, pos_edge_index, neg_edge_index)
        # PyG infers the number of targets from x, or from a sparse matrix.
        size, mode = (source.size(0), target.size(0)), self._AGGREGATIONS[self.aggr]
        graph = layer_signed_adjacency(pos_edge_index, neg_edge_index, size, self.flow, mode)
        pos, neg = pair(source, graph)
        if self.first_aggr:
            out_pos = self.lin_pos_l(pos) + self.lin_pos_r(target)
            out_neg = self.lin_neg_l(neg) + self.lin_neg_r(target)
            return torch.cat([out_pos, out_neg], dim=-1)
        # This splits instead of slicing: the gradient of each slice would be a full matrix with zeros.
        # PyG slices x[:, :in_channels], so that any integer is legal; `split` takes lengths.
        first = len(range(source.size(1))[: int(self.in_channels)])
        parts = [first, source.size(1) - first]
        (pos_of_pos, pos_of_neg), (neg_of_pos, neg_of_neg) = pos.split(parts, 1), neg.split(parts, 1)
        own_pos, own_neg = target.split(parts, 1)
        out_pos = self.lin_pos_l(torch.cat([pos_of_pos, neg_of_neg], 1)) + self.lin_pos_r(own_pos)
        out_neg = self.lin_neg_l(torch.cat([pos_of_neg, neg_of_pos], 1)) + self.lin_neg_r(own_neg)
        return torch.cat([out_pos, out_neg], dim=-1)
