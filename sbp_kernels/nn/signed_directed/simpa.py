"""PyGSD's SIMPA, the heart of SSSNET: walks over friends with one step over a foe."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import add_remaining_self_loops
from torch_geometric_signed_directed.nn import signed

from ... import CSR, SignedGraph, signed_propagate
from ...pyg.kept import recall


class SIMPA(signed.SIMPA):
    r"""`torch_geometric_signed_directed.nn.SIMPA` on fused kernels (arXiv 2110.06623, section 3.2).

    \[ \Big[ \sum_{h \le H} \omega^+_h \bar A_+^h X_+, \quad
             \sum_{h + k < H} \omega^-_{hk} \bar A_+^k \bar A_- \bar A_+^h X_- \Big] \]

    with \( \bar A = D^{-1} A \), after self-loops of `fill_value` in \( A_+ \). Both matrices are made once and
    kept, where PyGSD makes them anew in every product. The outer powers are taken by Horner's rule and share
    their products with the inner ones: H passes over each matrix, where PyGSD makes up to H (H + 3) / 2.

    Shapes:
        x_p, x_n (and x_pt, x_nt if directed) `[num_nodes, d]`; output `[num_nodes, 2 d]` (4 d if directed).
    """

    def forward(
        self,
        edge_index_p: Tensor,
        edge_weight_p: Tensor | None,
        edge_index_n: Tensor,
        edge_weight_n: Tensor | None,
        x_p: Tensor,
        x_n: Tensor,
        x_pt: Tensor | None = None,
        x_nt: Tensor | None = None,
    ) -> Tensor:
        """As in PyGSD."""
        options = (x_p.size(0), self.conv_layer_p.fill_value, self.conv_layer_n.fill_value, not self._undirected)
        edges = (edge_index_p, edge_weight_p, edge_index_n, edge_weight_n)
        learns = any(weight is not None and weight.requires_grad for weight in edges[1::2])
        graphs = _simpa_graphs(options, *edges) if learns else recall(_simpa_graphs, options, *edges)
        if self._undirected:
            return self._walk(graphs[0], x_p, x_n, self._w_p, self._w_n)
        if x_pt is None or x_nt is None:
            raise ValueError("a directed SIMPA needs x_pt and x_nt")
        along = self._walk(graphs[0], x_p, x_n, self._w_sp, self._w_sn)
        against = self._walk(graphs[1], x_pt, x_nt, self._w_tp, self._w_tn)
        return torch.cat([along, against], dim=1)

    def _walk(
        self, graphs: tuple[SignedGraph, SignedGraph], x_p: Tensor, x_n: Tensor, w_p: Tensor, w_n: Tensor
    ) -> Tensor:
        (pos, neg), hops, d = graphs, self._hop_p - 1, x_p.size(1)
        # The parameters are listed by h, then by k.
        first = [h * hops - h * (h - 1) // 2 for h in range(hops)]
        near, inner, feat_p, feat_n = x_p, x_n, w_p[0] * x_p, torch.zeros_like(x_p)
        met: list[Tensor] = []
        for s in range(hops):
            met.append(signed_propagate(inner, neg))  # A- A+^s x_n
            last = s == hops - 1
            parts = [near, *([] if last else [inner]), *([feat_n] if s else [])]
            near, *others = signed_propagate(torch.cat(parts, 1), pos).split(d, dim=1)
            inner = inner if last else others[0]
            feat_p = feat_p + w_p[s + 1] * near
            # Horner: what is to be moved k = hops - 1 - s more times joins now.
            feat_n = others[-1] if s else feat_n
            for h in range(s + 1):
                feat_n = feat_n + w_n[first[h] + hops - 1 - s] * met[h]
        return torch.cat([feat_p, feat_n], dim=1)


def _simpa_graphs(
    options: tuple[int, float, float, bool],
    edge_index_p: Tensor,
    edge_weight_p: Tensor | None,
    edge_index_n: Tensor,
    edge_weight_n: Tensor | None,
) -> list[tuple[SignedGraph, SignedGraph]]:
    """The matrices of friends and of foes along the edges and, if directed, against them."""
    n, fill_p, fill_n, directed = options
    return [
        (_matrix(edge_index_p, edge_weight_p, fill_p, turn, n), _matrix(edge_index_n, edge_weight_n, fill_n, turn, n))
        for turn in ((False, True) if directed else (False,))
    ]


def _matrix(edge_index: Tensor, edge_weight: Tensor | None, fill: float, turn: bool, n: int) -> SignedGraph:
    """Row-normalised by signed sums as in PyGSD: node i gathers along its own edges i -> j."""
    edge_index = edge_index.flip(0) if turn else edge_index
    weight = torch.ones(edge_index.size(1), device=edge_index.device) if edge_weight is None else edge_weight
    edge_index, weight = add_remaining_self_loops(edge_index, weight, fill, n)
    degree = weight.new_zeros(n, dtype=torch.float64).index_add(0, edge_index[0], weight.double())
    scale = torch.where(degree == 0, 0.0, 1.0 / degree)
    if not weight.requires_grad:
        stays = weight != 0
        edge_index, weight = edge_index[:, stays], weight[stays]
    return SignedGraph(CSR.from_edge_index(edge_index.flip(0), weight, n).scaled(scale, None))
