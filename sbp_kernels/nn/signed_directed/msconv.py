"""PyGSD's `MSConv`: Chebyshev filters of the magnetic signed Laplacian, a complex matrix."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops, coalesce
from torch_geometric_signed_directed.nn.general.MSConv import MSConv as _MSConv
from torch_geometric_signed_directed.utils.general.get_magnetic_signed_Laplacian import get_magnetic_signed_Laplacian

from ... import SignedGraph
from ...adjacency.csr import CSR
from ...adjacency.sparsity import SparsityPattern
from ...pyg.autodiff import differentiable
from ...pyg.compiled import deferrable, lookup, lookup_graph, needs_eager, run_eager
from ...pyg.edges import check_weight, list_edges
from ...pyg.ops import pair
from ...transforms import active, is_wrapped, outside
from ..arguments import finite_number
from ..fused import Fused
from ..replacement import check_features

# (num_nodes, num_nodes), flow, dtype, q, lambda_max, normalization, absolute_degree.
_Options = tuple[tuple[int, int], str, str, Any, Any, str | None, bool]


class MSConv(Fused, _MSConv):
    r"""`torch_geometric_signed_directed.nn.MSConv` on fused kernels (He et al., LoG 2022).

    \[ Y = \sum_{k \le K} T_k(\tilde L) X W_k, \quad X = X_r + i X_i \]

    The real and imaginary parts of \( \tilde L \) are the two halves of one signed graph: one `signed_pair` over
    \( [X_r, X_i] \) gives all four products of the complex one. The sum is taken by Clenshaw's rule, on features
    of width `out_channels`. The Laplacian is cached for the same tensors, also without `cached`; if q is trainable,
    only its sparsity pattern is.

    Shapes:
        x_real, x_imag `[num_nodes, in_channels]`; output: a pair `[num_nodes, out_channels]`.
    """

    cached_result: tuple[Tensor, Tensor] | None

    def forward(
        self,
        x_real: Tensor,
        x_imag: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        lambda_max: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the same result as PyGSD's layer."""
        check_features("x_imag", x_imag)
        # PyGSD's own forward raises the error for a cached Laplacian of another graph or q.
        stale = self.cached and not self.trainable_q and self.cached_result is not None
        stale = stale and isinstance(edge_index, Tensor)
        stale = stale and (edge_index.size(1), self.q) != (self.cached_num_edges, self.cached_q)
        if self._runs_pyg(x_real) or x_real.dim() != 2 or stale:
            return super().forward(x_real, x_imag, edge_index, edge_weight, lambda_max)
        if needs_eager(self.q, edge_weight, lambda_max):
            return run_eager(self.forward, x_real, x_imag, edge_index, edge_weight, lambda_max)
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
        """Return X W with real and imaginary parts side by side: `[n, 2 out_channels]`."""
        return torch.cat([x_real @ weight, x_imag @ weight], 1)

    def _laplacian(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, lambda_max: Any) -> Any:
        """Return the scaled Laplacian: its real part is the positive half, its imaginary part the negative half."""
        if self.trainable_q:
            # A transform forbids in-place changes of tensors from outside of it; it tracks those of its own tensors.
            with torch.no_grad(), nullcontext() if is_wrapped(self.q) else outside():
                self.q.clamp_(0, self.max_q)
            if lambda_max is None and self.normalization != "sym":
                raise ValueError('a trainable q needs lambda_max, or normalization="sym"')
        if isinstance(lambda_max, Tensor) and lambda_max.numel() != 1:
            raise ValueError(f"lambda_max must be one number, got shape {tuple(lambda_max.shape)}")
        if lambda_max is not None and not isinstance(lambda_max, Tensor):
            lambda_max = finite_number("lambda_max", lambda_max)
        size = (x.size(0), x.size(0))
        # The cache is keyed by value: a frozen parameter may still be written to.
        q, lambda_max = (
            value.item() if isinstance(value, Tensor) and not differentiable(value) else value
            for value in (self.q, lambda_max)
        )
        options = (size, self.flow, str(x.dtype), q, lambda_max, self.normalization, self.absolute_degree)
        if self.cached and not self.trainable_q:
            edges, norm = self._cached_entries(options, edge_index, edge_weight)
            if not differentiable(norm):
                return lookup_graph(_msconv_graph, (size, self.flow), edges, norm)
            pattern, order = lookup(_entries_pattern, (size, self.flow), edges)
        elif not any(map(differentiable, (q, edge_weight, lambda_max))):
            return lookup_graph(_msconv_laplacian, options, edge_index, edge_weight)
        else:
            pattern, order = lookup(_msconv_pattern, (size, self.flow), edge_index)
            norm = _entries(options, edge_index, edge_weight)[1]
        norm = norm.index_select(0, order)
        return SignedGraph(*(CSR._trusted(pattern, part.contiguous()) for part in (norm.real, norm.imag)))

    def _cached_entries(self, options: _Options, edge_index: Tensor, edge_weight: Tensor | None) -> Any:
        """Return edges and entries of the Laplacian, cached in the attributes that PyGSD uses."""
        if self.cached_result is not None:
            return self.cached_result
        if not any(map(differentiable, (edge_weight, options[4]))):
            found = lookup(_entries, options, edge_index, edge_weight)
        else:
            found = _entries(options, edge_index, edge_weight)
            if active():
                # Tensors of a torch.func transform die with it.
                return found
        self.cached_num_edges, self.cached_q, self.cached_result = edge_index.size(1), self.q, found
        return found


@deferrable
def _msconv_laplacian(options: _Options, edge_index: Tensor, edge_weight: Tensor | None) -> SignedGraph:
    return _msconv_graph(options[:2], *_entries(options, edge_index, edge_weight))


@deferrable
def _msconv_graph(options: tuple[tuple[int, int], str], edge_index: Tensor, norm: Tensor) -> SignedGraph:
    (n, _), flow = options
    edges = edge_index.flip(0) if flow == "target_to_source" else edge_index
    return SignedGraph(*(_half(edges, part, n) for part in (norm.real, norm.imag)))


def _entries(options: _Options, edge_index: Tensor, edge_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return PyGSD's edges and complex entries of the scaled Laplacian."""
    (n, _), _, dtype_name, q, lambda_max, normalization, absolute = options
    dtype = getattr(torch, dtype_name.removeprefix("torch."))
    edges = list_edges(edge_index, n, "source_to_target")[0]
    if edge_weight is not None:
        edge_weight = check_weight(edge_weight, edges.size(1), edges.device)
    if lambda_max is None and normalization != "sym":
        lambda_max = get_magnetic_signed_Laplacian(
            edge_index, edge_weight, None, q=q, return_lambda_max=True, absolute_degree=absolute
        )[3]
    scale = 2.0 if lambda_max is None else lambda_max
    if not isinstance(scale, Tensor):
        scale = torch.tensor(scale, dtype=dtype, device=edge_index.device)
    # PyGSD's method reads only this attribute of its layer.
    layer = SimpleNamespace(absolute_degree=absolute)
    return _MSConv.__norm__(layer, edge_index, n, edge_weight, q, normalization, scale, dtype=dtype)


def _multiply(graph: Any, x: Tensor) -> Tensor:
    """Return the complex product, with real and imaginary parts side by side: `[n, 2 d]`."""
    (rr, ri), (ir, ii) = (part.tensor_split(2, dim=1) for part in pair(x, graph))
    return torch.cat([rr - ii, ri + ir], 1)


def _half(edge_index: Tensor, value: Tensor, n: int) -> CSR:
    edge_index, value = coalesce(edge_index, value, n)
    # The diagonal of a normalized Laplacian cancels to zeros, which are dropped.
    nonzero = value != 0
    return CSR.from_edge_index(edge_index[:, nonzero], value[nonzero], n)


def _msconv_pattern(options: tuple[tuple[int, int], str], edge_index: Tensor) -> tuple[SparsityPattern, Tensor]:
    """Return the sparsity pattern of PyGSD's entries and the order that sorts them; both depend on the edges only."""
    n = options[0][0]
    list_edges(edge_index, n, "source_to_target")
    edges = get_magnetic_signed_Laplacian(edge_index, normalization="sym", num_nodes=n)[0]
    edges = add_self_loops(edges, num_nodes=n)[0]
    return _entries_pattern(options, edges)


def _entries_pattern(options: tuple[tuple[int, int], str], edges: Tensor) -> tuple[SparsityPattern, Tensor]:
    (n, _), flow = options
    row, col = edges if flow == "target_to_source" else edges.flip(0)
    return SparsityPattern.from_coo(row, col, n, n)
