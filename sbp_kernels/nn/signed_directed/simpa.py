"""PyGSD's `SIMPA`, the propagation of SSSNET: walks over positive edges with one step over a negative edge."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric_signed_directed.nn import signed

from ... import SignedGraph
from ...adjacency.checks import describe
from ...adjacency.csr import CSR
from ...adjacency.sparsity import SparsityPattern
from ...pyg.autodiff import differentiable
from ...pyg.compiled import deferrable, lookup, lookup_graph, needs_eager, run_eager
from ...pyg.edges import add_loops, check_weight, list_edges
from ...pyg.ops import propagate
from ..fused import promoted, unsupported_features
from ..replacement import Replacement, check_features


class SIMPA(Replacement, signed.SIMPA):
    r"""`torch_geometric_signed_directed.nn.SIMPA` on fused kernels (arXiv 2110.06623, section 3.2).

    \[ \Big[ \sum_{h \le H} \omega^+_h \bar A_+^h X_+, \quad
             \sum_{h + k < H} \omega^-_{hk} \bar A_+^k \bar A_- \bar A_+^h X_- \Big] \]

    with \( \bar A = D^{-1} A \), after self-loops of `fill_value` in \( A_+ \). Both matrices are built once and
    cached, where PyGSD rebuilds them in every product. Horner's rule computes the outer powers, which share their
    products with the inner ones: H passes over each matrix, where PyGSD needs up to H (H + 3) / 2.

    Shapes:
        x_p, x_n (and x_pt, x_nt if directed) `[num_nodes, d]`; output `[num_nodes, 2 d]` (4 d if directed).
    """

    _bypassed = ("conv_layer_p", "conv_layer_n")

    def pyg_reason(self, x: Any = None) -> str | None:
        return None if x is None else unsupported_features(x)

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
        """Return the same result as PyGSD's layer."""
        check_features("x_n", x_n)
        if not self._undirected and not (isinstance(x_pt, Tensor) and isinstance(x_nt, Tensor)):
            raise ValueError(f"a directed SIMPA needs x_pt and x_nt, got {describe(x_pt)} and {describe(x_nt)}")
        if self._runs_pyg(x_p) or x_p.dim() != 2:
            return super().forward(edge_index_p, edge_weight_p, edge_index_n, edge_weight_n, x_p, x_n, x_pt, x_nt)
        edges = (edge_index_p, edge_weight_p, edge_index_n, edge_weight_n)
        if needs_eager(*edges):
            return run_eager(self.forward, *edges, x_p, x_n, x_pt, x_nt)
        # PyGSD sums in this type, even if its messages have a wider one.
        dtype = torch.promote_types((self._w_p if self._undirected else self._w_sp).dtype, x_p.dtype)
        x_p, x_n, x_pt, x_nt = (_promoted(x, edge_weight_p, edge_weight_n) for x in (x_p, x_n, x_pt, x_nt))
        options = (x_p.size(0), self.conv_layer_p.fill_value, self.conv_layer_n.fill_value, not self._undirected)
        if self._undirected:
            return self._walk(_graphs(0, options, edges), x_p, x_n, self._w_p, self._w_n).to(dtype)
        along = self._walk(_graphs(0, options, edges), x_p, x_n, self._w_sp, self._w_sn)
        against = self._walk(_graphs(1, options, edges), x_pt, x_nt, self._w_tp, self._w_tn)
        return torch.cat([along, against], dim=1).to(dtype)

    def _walk(self, graphs: tuple[Any, Any], x_p: Tensor, x_n: Tensor, w_p: Tensor, w_n: Tensor) -> Tensor:
        (pos, neg), hops, d = graphs, self._hop_p - 1, x_p.size(1)
        # The parameters are listed by h, then by k.
        first = [h * hops - h * (h - 1) // 2 for h in range(hops)]
        near, inner, feat_p, feat_n = x_p, x_n, w_p[0] * x_p, torch.zeros_like(x_p)
        met: list[Tensor] = []
        for s in range(hops):
            met.append(propagate(inner, neg))  # A- A+^s x_n
            last = s == hops - 1
            parts = [near, *([] if last else [inner]), *([feat_n] if s else [])]
            near, *others = propagate(torch.cat(parts, 1), pos).split(d, dim=1)
            inner = inner if last else others[0]
            feat_p = feat_p + w_p[s + 1] * near
            # Horner's rule: add the terms that have k = hops - 1 - s products with A+ ahead.
            feat_n = others[-1] if s else feat_n
            for h in range(s + 1):
                feat_n = feat_n + w_n[first[h] + hops - 1 - s] * met[h]
        return torch.cat([feat_p, feat_n], dim=1)


def _promoted(x: Tensor | None, *weights: Tensor | None) -> Any:
    """Return the features in the type of PyGSD's messages; absent weights have the default type."""
    for weight in weights:
        x = x if x is None else promoted(x, torch.empty(0) if weight is None else weight)
    return x


def _graphs(reverse: int, options: tuple[Any, ...], edges: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the positive and the negative matrix along the edges or, with `reverse`, against them."""
    if not any(map(differentiable, edges)):
        pos, neg = (lookup_graph(_simpa_graphs, options, *edges, part=(reverse, half)) for half in (0, 1))
        return pos, neg
    (pos, pos_weight, neg, neg_weight), (n, fill_p, fill_n, _) = edges, options
    return _matrix(pos, pos_weight, fill_p, bool(reverse), n), _matrix(neg, neg_weight, fill_n, bool(reverse), n)


@deferrable
def _simpa_graphs(
    options: tuple[tuple[int, int], float, float, bool],
    edge_index_p: Tensor,
    edge_weight_p: Tensor | None,
    edge_index_n: Tensor,
    edge_weight_n: Tensor | None,
) -> list[tuple[SignedGraph, SignedGraph]]:
    """Return the positive and the negative matrix along the edges and, if directed, against them."""
    (n, _), fill_p, fill_n, directed = options
    return [
        (
            _matrix(edge_index_p, edge_weight_p, fill_p, reverse, n),
            _matrix(edge_index_n, edge_weight_n, fill_n, reverse, n),
        )
        for reverse in ((False, True) if directed else (False,))
    ]


def _matrix(edge_index: Tensor, edge_weight: Tensor | None, fill: float, reverse: bool, n: int) -> SignedGraph:
    """Return one matrix, row-normalized by signed sums as in PyGSD: node i gathers along its own edges i -> j."""
    row, col, origin, given = lookup(_simpa_layout, (n, reverse), edge_index)
    weight = torch.ones(given, device=row.device) if edge_weight is None else edge_weight
    weight = check_weight(weight, given, row.device)
    # `origin` of a new self-loop is the index of this last weight.
    weight = torch.cat([weight, weight.new_full((1,), fill)]).index_select(0, origin)
    degree = weight.double().new_zeros(n).index_add(0, row, weight.double())
    scale = torch.where(degree == 0, 1.0, degree).reciprocal() * (degree != 0)
    if differentiable(edge_weight):
        # The values of learnable weights are not checked: that would synchronize a GPU in every step.
        pattern, order = lookup(_simpa_pattern, (n, reverse), edge_index)
        return SignedGraph(CSR._sorted(pattern, weight, order).scaled(scale, None))
    nonzero = weight != 0
    edges = torch.stack([col[nonzero], row[nonzero]])
    return SignedGraph(CSR.from_edge_index(edges, weight[nonzero], n).scaled(scale, None))


def _simpa_layout(options: tuple[int, bool], edge_index: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return rows and columns of edges and self-loops, the index of each one's weight, and the number of edges."""
    n, reverse = options
    edges = list_edges(edge_index, n, "source_to_target")[0]
    given = edges.size(1)
    edges, origin = add_loops(edges, torch.arange(given, device=edges.device), n, edge_index)
    row, col = edges.flip(0) if reverse else edges
    return row, col, origin % (given + 1), given


def _simpa_pattern(options: tuple[int, bool], edge_index: Tensor) -> tuple[SparsityPattern, Tensor]:
    row, col, *_ = lookup(_simpa_layout, options, edge_index)
    return SparsityPattern.from_coo(row, col, options[0], options[0])
