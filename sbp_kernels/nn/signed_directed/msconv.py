"""PyGSD's MSConv: Chebyshev filters of the magnetic signed Laplacian, a complex matrix."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops, coalesce
from torch_geometric_signed_directed.nn.general.MSConv import MSConv as _MSConv
from torch_geometric_signed_directed.utils.general.get_magnetic_signed_Laplacian import get_magnetic_signed_Laplacian

from ... import CSR, SignedGraph, signed_pair
from ...pattern import Pattern
from ...pyg.kept import recall
from ..fused import Fused

# Number of nodes, flow, dtype, q, lambda_max, normalization, absolute_degree.
_Options = tuple[int, str, torch.dtype, Any, float | None, str | None, bool]


class MSConv(Fused, _MSConv):
    r"""`torch_geometric_signed_directed.nn.MSConv` on fused kernels (He et al., LoG 2022).

    \[ Y = \sum_{k \le K} T_k(\tilde L) X W_k, \quad X = X_r + i X_i \]

    The real and imaginary parts of \( \tilde L \) are the two halves of one signed graph: one `signed_pair` over
    \( [X_r, X_i] \) gives all four products of the complex one. The sum is taken by Clenshaw's rule, on features
    of width `out_channels`. The Laplacian is made once and kept, whatever `cached` says (which PyGSD forgets by
    default); if q is trainable, only its pattern is.

    Shapes:
        x_real, x_imag `[num_nodes, in_channels]`; output: a pair `[num_nodes, out_channels]`.
    """

    def forward(
        self,
        x_real: Tensor,
        x_imag: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        lambda_max: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """As in PyGSD."""
        if x_real.dim() != 2 or self._runs_pyg(x_real):
            return super().forward(x_real, x_imag, edge_index, edge_weight, lambda_max)
        graph = self._laplacian(x_real, edge_index, edge_weight, lambda_max)
        bias = 0.0 if self.bias is None else self.bias.repeat(2)
        # Clenshaw: B_k = X W_k + 2 L B_(k + 1) - B_(k + 2), and Y = X W_0 + L B_1 - B_2.
        after, before = self._times(x_real, x_imag, self.weight[-1]), None
        for weight in self.weight[:-1].flip(0)[:-1]:
            now = self._times(x_real, x_imag, weight) + 2.0 * _multiply(graph, after)
            after, before = now if before is None else now - before, after
        out = self._times(x_real, x_imag, self.weight[0]) + _multiply(graph, after) + bias
        real, imag = (out if before is None else out - before).tensor_split(2, dim=1)
        return real, imag

    @staticmethod
    def _times(x_real: Tensor, x_imag: Tensor, weight: Tensor) -> Tensor:
        """X W with its real and imaginary parts side by side: `[n, 2 out_channels]`."""
        return torch.cat([x_real @ weight, x_imag @ weight], 1)

    def _laplacian(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, lambda_max: Any) -> SignedGraph:
        """The scaled Laplacian, its real part as the positive half, its imaginary part as the negative one."""
        if self.trainable_q:
            with torch.no_grad():
                self.q.clamp_(0, self.max_q)
            if lambda_max is None and self.normalization != "sym":
                raise ValueError('a trainable q needs lambda_max, or normalization="sym"')
        n, flow = x.size(0), self.flow
        lambda_max = None if lambda_max is None else float(lambda_max)
        options = (n, flow, x.dtype, self.q, lambda_max, self.normalization, self.absolute_degree)
        if not self.trainable_q and (edge_weight is None or not edge_weight.requires_grad):
            return recall(_msconv_laplacian, options, edge_index, edge_weight)
        pattern, order = recall(_msconv_pattern, (n, flow), edge_index)
        norm = _entries(options, edge_index, edge_weight)[1].index_select(0, order)
        return SignedGraph(*(CSR._trusted(pattern, part) for part in (norm.real, norm.imag)))


def _entries(options: _Options, edge_index: Tensor, edge_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """PyGSD's edges and complex entries of the scaled Laplacian."""
    n, _, dtype, q, lambda_max, normalization, absolute = options
    if lambda_max is None and normalization != "sym":
        lambda_max = get_magnetic_signed_Laplacian(
            edge_index, edge_weight, None, q=q, return_lambda_max=True, absolute_degree=absolute
        )[3]
    scale = torch.tensor(2.0 if lambda_max is None else lambda_max, dtype=dtype, device=edge_index.device)
    # Of its layer, this method reads one attribute.
    layer = SimpleNamespace(absolute_degree=absolute)
    return _MSConv.__norm__(layer, edge_index, n, edge_weight, q, normalization, scale, dtype=dtype)


def _msconv_laplacian(options: _Options, edge_index: Tensor, edge_weight: Tensor | None) -> SignedGraph:
    edges, norm = _entries(options, edge_index, edge_weight)
    edges = edges.flip(0) if options[1] == "target_to_source" else edges
    return SignedGraph(*(_half(edges, part, options[0]) for part in (norm.real, norm.imag)))


def _multiply(graph: SignedGraph, x: Tensor) -> Tensor:
    """The complex product, on real and imaginary parts side by side: `[n, 2 d]`."""
    (rr, ri), (ir, ii) = (part.tensor_split(2, dim=1) for part in signed_pair(x, graph))
    return torch.cat([rr - ii, ri + ir], 1)


def _half(edge_index: Tensor, value: Tensor, n: int) -> CSR:
    edge_index, value = coalesce(edge_index, value, n)
    # The diagonal of a normalised Laplacian cancels.
    stays = value != 0
    return CSR.from_edge_index(edge_index[:, stays], value[stays], n)


def _msconv_pattern(options: tuple[int, str], edge_index: Tensor) -> tuple[Pattern, Tensor]:
    """Where PyGSD's entries are, and the order that sorts them: these depend on the edges alone."""
    n, flow = options
    edges = get_magnetic_signed_Laplacian(edge_index, normalization="sym", num_nodes=n)[0]
    edges = add_self_loops(edges, num_nodes=n)[0]
    row, col = edges if flow == "target_to_source" else edges.flip(0)
    return Pattern.from_coo(row, col, n, n)
