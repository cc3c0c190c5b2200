"""PyG's `gcn_norm` with degrees of absolute weights; edges and weights are in PyG's order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.typing import SparseTensor, torch_sparse
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, is_sparse, to_edge_index
from torch_geometric.utils.sparse import set_sparse_value

from ..adjacency.checks import check_finite
from .autodiff import differentiable
from .compiled import lookup, raise_if_compiling
from .edges import add_loops, check_weight, coalesced, list_edges, sparse_values


def gcn_edges(
    edge_index: Any,
    edge_weight: Tensor | None = None,
    *,
    size: int,
    flow: str = "source_to_target",
    self_loops: float | None = None,
    normalize: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Return normalized edges and weights in PyG's order, cached like a graph. A sparse matrix becomes an edge list.

    Without `normalize`, the weights are not scaled.
    """
    edge_weight = None if is_sparse(edge_index) else edge_weight
    options = (size, flow, self_loops, normalize, str(dtype))
    if differentiable(edge_index) or differentiable(edge_weight):
        raise_if_compiling()
        return _build_gcn(options, edge_index, edge_weight)
    return lookup(_build_gcn, options, edge_index, edge_weight)


def pyg_norm(
    edge_index: Any, edge_weight: Tensor | None, num_nodes: int, self_loops: float | None, flow: str, dtype: torch.dtype
) -> Any:
    """Return the result of PyG's `gcn_norm`, in the same types. A layer stores it where PyG's layer does.

    The result is a `SparseTensor` for a `SparseTensor`, (matrix, None) for a torch sparse matrix, and (edges, weights)
    for edges. Two details differ from PyG: degrees are sums of absolute weights, where PyG sums the weights
    themselves, which may be negative; and 16-bit weights are summed in float32.
    """
    options = (num_nodes, self_loops, flow, str(dtype))
    edge_weight = None if is_sparse(edge_index) else edge_weight
    if differentiable(edge_index) or differentiable(edge_weight):
        raise_if_compiling()
        found = _build_norm(options, edge_index, edge_weight)
    else:
        # Layers that share these tensors also share the graph that is built from them.
        found = lookup(_build_norm, options, edge_index, edge_weight)
    return (edge_index, found[1]) if isinstance(found, tuple) and found[0] is None else found


def _build_norm(options: tuple[Any, ...], edge_index: Any, edge_weight: Tensor | None) -> Any:
    """Return `pyg_norm`, or None in place of `edge_index` itself: a cached value must not refer to its source."""
    num_nodes, self_loops, flow, dtype_name = options
    dtype = getattr(torch, dtype_name.removeprefix("torch."))
    if isinstance(edge_index, SparseTensor):
        adj = edge_index if edge_index.has_value() else edge_index.fill_value(1.0, dtype=dtype)
        adj = adj if self_loops is None else torch_sparse.fill_diag(adj, self_loops)
        row, col, value = adj.coo()
        return adj.set_value(_scaled(value, col, row, _degree(value, row, num_nodes)), layout="coo")
    edges = list_edges(edge_index, num_nodes, flow)[0]
    if is_sparse(edge_index):
        adj = coalesced(edge_index)
        degree = _degree(sparse_values(adj), edges[1], num_nodes)
        if self_loops is not None:
            # An existing self-loop is summed with the new one, and its degree counts both.
            adj, degree = add_self_loops(adj, None, self_loops, num_nodes)[0], degree + abs(self_loops)
        (row, col), value = to_edge_index(adj)
        return set_sparse_value(adj, _scaled(value, col, row, degree)), None
    if edge_weight is not None:
        edge_weight = check_weight(edge_weight, edges.size(1), edges.device)
    looped = edge_index
    if self_loops is not None:
        looped, edge_weight = add_remaining_self_loops(edge_index, edge_weight, self_loops, num_nodes)
    if edge_weight is None:
        edge_weight = torch.ones(looped.size(1), dtype=dtype, device=looped.device)
    source, target = looped[0], looped[1]
    degree = _degree(edge_weight, target if flow == "source_to_target" else source, num_nodes)
    weight = _scaled(edge_weight, source, target, degree)
    return None if looped is edge_index else looped, weight


def _build_gcn(options: tuple[Any, ...], edge_index: Any, edge_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    size, flow, self_loops, normalize, dtype_name = options
    dtype = getattr(torch, dtype_name.removeprefix("torch."))
    edges, (source, target), origin, given = lookup(_gcn_layout, (size, flow, self_loops is not None), edge_index)
    weight = sparse_values(edge_index) if is_sparse(edge_index) else edge_weight
    if weight is not None:
        weight = check_weight(weight, given, edges.device).to(dtype)
        if not differentiable(weight):
            check_finite("edge_weight", weight)
        if self_loops is not None:
            # `origin` of a new self-loop is -1, the index of this last weight.
            weight = torch.cat([weight, weight.new_full((1,), self_loops)])
        weight = weight.index_select(0, origin)
    else:
        weight = torch.ones(edges.size(1), dtype=dtype, device=edges.device)
    return edges, _scaled(weight, source, target, _degree(weight, target, size)) if normalize else weight


def _gcn_layout(options: tuple[int, str, bool], edge_index: Any) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, int]:
    """Return edges with self-loops in the caller's direction, (sources, targets), weight indices, number of weights."""
    size, flow, loops = options
    edges, _ = list_edges(edge_index, size, flow)
    given = edges.size(1)
    origin = torch.arange(given, device=edges.device)
    if loops:
        edges, origin = add_loops(edges, origin, size, edge_index)
        origin = origin % (given + 1)
    return (edges if flow == "source_to_target" else edges.flip(0)), (edges[0], edges[1]), origin, given


def _degree(weight: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """Return the sums of absolute weights by target, `[num_nodes]`, in float32 or float64."""
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    # This |w| has derivative 1 at 0, so that weights >= 0 have the gradients of plain sums.
    return weight.new_zeros(num_nodes).index_add(0, target, torch.where(weight < 0, -weight, weight))


def _scaled(weight: Tensor, source: Tensor, target: Tensor, degree: Tensor) -> Tensor:
    """Divide the weights by the square roots of the degrees of both end nodes; a degree of 0 gives 0."""
    scale = torch.where(degree > 0, degree, 1.0).rsqrt() * (degree > 0)
    return (scale.index_select(0, source) * weight * scale.index_select(0, target)).to(weight.dtype)
