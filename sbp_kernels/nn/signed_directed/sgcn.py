"""PyGSD's `SGCNConv`: the means over positive and negative neighbours in one pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric_signed_directed.nn import signed

from ... import SignedGraph
from ...adjacency.csr import CSR
from ...pyg.adjacency import find_signed_graph
from ...pyg.compiled import deferrable, lookup_graph
from ...pyg.ops import pair, propagate
from ..fused import Fused
from ..replacement import needs_module_call, source_and_target


class SGCNConv(Fused, signed.SGCNConv):
    r"""`torch_geometric_signed_directed.nn.SGCNConv` on fused kernels (arXiv 1808.06354, equations 3 to 6).

    \( [\bar A^+ X, \bar A^- X] \) with \( \bar A = D^{-1} A \) comes from one `signed_pair` per layer, where
    PyGSD propagates four times. A first layer that reduces the number of features applies its linear map first.

    Shapes:
        x `[num_nodes, in_dim]`, or `[num_nodes, 2 in_dim]` unless `first_aggr`; a pair if bipartite. Output
        `[num_nodes, 2 out_dim]`. Edges: `[2, num_edges]`, or a torch sparse `adj_t`, whose values are not read.
    """

    _AGGREGATIONS = {"mean": None}  # noqa: RUF012

    def forward(self, x: Tensor | tuple[Tensor, Tensor], pos_edge_index: Any, neg_edge_index: Any) -> Tensor:
        """Return the same result as PyGSD's layer."""
        source, target = source_and_target(x)
        width = self.in_dim if self.first_aggr else 2 * self.in_dim
        if self._runs_pyg(source) or source.dim() != 2 or not source.size(1) == target.size(-1) == width:
            return super().forward(x, pos_edge_index, neg_edge_index)
        edges = ((source.size(0), target.size(0)), self.flow), pos_edge_index, neg_edge_index
        map_first = self.first_aggr and self.out_dim <= self.in_dim and not needs_module_call(self.lin_b, self.lin_u)
        if map_first:
            halves = [lookup_graph(_sgcn_means, *edges, part=(index,)) for index in (_Means.POS, _Means.NEG)]
            out = self._map_first(source, target, halves)
        else:
            out = self._gather_first(source, target, lookup_graph(_sgcn_means, *edges, part=(_Means.BOTH,)))
        return F.normalize(out, p=2, dim=-1) if self.norm_emb else out

    def _map_first(self, source: Tensor, target: Tensor, halves: list[Any]) -> Tensor:
        """Return A (x W) of a first layer that reduces the number of features, so that fewer columns are gathered."""
        outs = []
        for lin, half in zip((self.lin_b, self.lin_u), halves, strict=True):
            of_mean, of_own = lin.weight.split(self.in_dim, dim=1)
            mapped = propagate(F.linear(source, of_mean), half)
            outs.append(mapped + F.linear(target, of_own, lin.bias))
        return torch.cat(outs, -1)

    def _gather_first(self, source: Tensor, target: Tensor, graph: Any) -> Tensor:
        pos, neg = pair(source, graph)
        parts: list[tuple[Tensor, ...]] = [(pos, target), (neg, target)]
        if not self.first_aggr:
            (pos_b, pos_u), (neg_b, neg_u), (own_b, own_u) = (t.split(self.in_dim, -1) for t in (pos, neg, target))
            parts = [(pos_b, neg_u, own_b), (pos_u, neg_b, own_u)]
        lins = (self.lin_b, self.lin_u)
        return torch.cat([lin(torch.cat(part, -1)) for lin, part in zip(lins, parts, strict=True)], -1)


class _Means:
    """Indices of the graphs that `_sgcn_means` returns."""

    BOTH, POS, NEG = range(3)


@deferrable
def _sgcn_means(options: tuple[Any, ...], pos_edge_index: Any, neg_edge_index: Any) -> tuple[SignedGraph, ...]:
    size, flow = options
    graph = find_signed_graph((size, flow, "mean", False), pos_edge_index, None, neg_edge_index, None)
    # The values of a sparse matrix are ignored: a mean divides by the number of edges.
    pos, neg = (half.with_weight(None) for half in (graph.pos, graph.neg) if isinstance(half, CSR))
    return SignedGraph(pos, neg), SignedGraph(pos), SignedGraph(neg)
