"""PyGSD's SGCNConv: the means over friends and over foes in one pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric_signed_directed.nn import signed

from ... import SignedGraph, signed_pair
from ...csr import CSR
from ...pyg.adjacency import signed_adjacency
from ...pyg.kept import recall
from ..fused import Fused


class SGCNConv(Fused, signed.SGCNConv):
    r"""`torch_geometric_signed_directed.nn.SGCNConv` on fused kernels (arXiv 1808.06354, equations 3 to 6).

    \( [\bar A^+ X, \bar A^- X] \) with \( \bar A = D^{-1} A \) comes from one `signed_pair` a layer, where PyGSD
    propagates twice in the first layer and four times in a later one.

    Shapes:
        x `[num_nodes, in_dim]`, or `[num_nodes, 2 in_dim]` unless `first_aggr`; a pair if bipartite. Output
        `[num_nodes, 2 out_dim]`. Edges: `[2, num_edges]`, or a torch sparse `adj_t`, whose values are not read.
    """

    _AGGREGATIONS = {"mean": None}  # noqa: RUF012

    def forward(self, x: Tensor | tuple[Tensor, Tensor], pos_edge_index: Any, neg_edge_index: Any) -> Tensor:
        """As in PyGSD."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        if source.dim() != 2 or self._runs_pyg(source):
            return super().forward(x, pos_edge_index, neg_edge_index)
        size = (source.size(0), target.size(0))
        graph = recall(_sgcn_means, (size, self.flow), pos_edge_index, neg_edge_index)
        pos, neg = signed_pair(source, graph)
        parts: list[tuple[Tensor, ...]] = [(pos, target), (neg, target)]
        if not self.first_aggr:
            split = lambda t: t.split(self.in_dim, dim=-1)  # noqa: E731
            (pos_b, pos_u), (neg_b, neg_u), (own_b, own_u) = split(pos), split(neg), split(target)
            parts = [(pos_b, neg_u, own_b), (pos_u, neg_b, own_u)]
        lins = (self.lin_b, self.lin_u)
        out = torch.cat([lin(torch.cat(part, -1)) for lin, part in zip(lins, parts, strict=True)], -1)
        return F.normalize(out, p=2, dim=-1) if self.norm_emb else out


def _sgcn_means(options: tuple[Any, ...], pos_edge_index: Any, neg_edge_index: Any) -> SignedGraph:
    size, flow = options
    graph = signed_adjacency(pos_edge_index, neg_edge_index, size=size, flow=flow, normalize="mean")
    # The values of a sparse matrix do not count: a mean is one over the number of edges.
    return SignedGraph(*(half.with_weight(None) for half in (graph.pos, graph.neg) if isinstance(half, CSR)))
