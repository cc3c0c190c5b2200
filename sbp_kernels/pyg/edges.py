"""The sorted edges of any adjacency that PyG accepts, separate from their weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.typing import SparseTensor
from torch_geometric.utils import add_remaining_self_loops, is_sparse, to_edge_index

from ..adjacency.checks import check_edges, check_float_type, check_real, check_values
from ..adjacency.csr import CSR
from ..adjacency.sparsity import SparsityPattern

Size = int | tuple[int, int] | None


class Edges(NamedTuple):
    """Sorted edges. Entry e has the weight of the given edge `origin[e]`, or `fill` if `origin[e]` is `num_given`."""

    pattern: SparsityPattern
    origin: Tensor  # int64 [num_entries]
    num_given: int
    fill: float | None

    def to_csr(self, weight: Tensor | None, *, every_step: bool = False) -> CSR:
        """Return the matrix of these edges with weights `[num_given]` in the caller's edge order.

        With `every_step`, the values of the weights are not checked: that would synchronize a GPU in every step.
        """
        if weight is None:
            return CSR._trusted(self.pattern)
        weight = check_weight(weight, self.num_given, self.origin.device)
        if not every_step:
            check_values("edge_weight", weight, self.num_given, "num_edges", self.origin.device)
            if self.fill in (None, 1.0) and bool((weight == 1).all()):
                return CSR._trusted(self.pattern)
        if self.fill is not None:
            # `origin` of a new self-loop is the index of this last weight.
            weight = torch.cat([weight, weight.new_full((1,), self.fill)])
        return CSR._sorted(self.pattern, weight, self.origin)


def check_options(size: Any, flow: Any, self_loops: Any, normalize: Any) -> None:
    """Raise ValueError unless these are valid options of an adjacency."""
    sizes = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    if size is not None and any(isinstance(n, bool) or not isinstance(n, (int, torch.SymInt)) or n < 0 for n in sizes):
        raise ValueError(f"size must be a number of nodes >= 0, a pair (sources, targets) or None, got {size!r}")
    if flow not in ("source_to_target", "target_to_source"):
        raise ValueError(f'flow must be "source_to_target" or "target_to_source", got {flow!r}')
    if isinstance(self_loops, bool):
        raise ValueError(f"self_loops must be a number or None, got {self_loops}")
    if self_loops is not None:
        check_real("self_loops", self_loops)
    if normalize not in (None, "sym", "row", "mean"):
        raise ValueError(f'normalize must be "sym", "row", "mean" or None, got {normalize!r}')


def check_weight(weight: Any, num_edges: int, device: torch.device) -> Tensor:
    """Return the weights as a floating vector `[num_edges]`. To read their values would synchronize a GPU."""
    if not isinstance(weight, Tensor):
        raise ValueError(f"edge_weight must be a tensor, got {type(weight).__name__}")
    real = weight.layout == torch.strided and not weight.is_complex() and not weight.is_quantized
    if not real or weight.numel() != num_edges or weight.device != device:
        raise ValueError(
            f"edge_weight must be a real dense tensor of shape [num_edges={num_edges}] on {device}, "
            f"got {weight.dtype} {tuple(weight.shape)} on {weight.device}"
        )
    check_float_type("edge_weight", weight)
    weight = weight.reshape(-1)
    return weight if weight.is_floating_point() else weight.float()


def list_edges(edge_index: Any, size: Size, flow: str) -> tuple[Tensor, tuple[int, int]]:
    """Return validated edges `[2, num_edges]`, sources first, and (number of sources, number of targets)."""
    reverse = flow != "source_to_target"
    if is_sparse(edge_index):
        if reverse:
            raise ValueError(f"a sparse matrix is read by its rows: flow must be source_to_target, got {flow}")
        if isinstance(edge_index, Tensor) and (edge_index.dim() != 2 or edge_index.dense_dim()):
            raise ValueError(f"a sparse adjacency must be one matrix of numbers, got shape {tuple(edge_index.shape)}")
        own: tuple[int | None, ...] = (edge_index.size(1), edge_index.size(0))
        edges = to_edge_index(coalesced(edge_index).detach())[0].flip(0)
    elif isinstance(edge_index, EdgeIndex):
        own, edges = edge_index.sparse_size(), edge_index.as_tensor()
    elif isinstance(edge_index, Tensor) and edge_index.layout == torch.strided:
        own, edges = (None, None), edge_index
    else:
        got = edge_index.layout if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise ValueError(
            "edges must be an integer tensor [2, num_edges], an EdgeIndex, a SparseTensor or a torch sparse COO, CSR "
            f"or CSC matrix, got {got}"
        )
    if edges.is_meta:
        raise NotImplementedError("edges on the meta device have no values, so no graph can be built from them")
    edges = edges.flip(0) if reverse and edges.dim() == 2 else edges
    size = (size, size) if isinstance(size, int) else size
    if None not in own and size is not None and tuple(size) != own:
        raise ValueError(f"the adjacency has (sources, targets) = {own}, but the features need {tuple(size)}")
    known = own if None not in own else size
    source, target, *found = check_edges(edges, None, known)  # type: ignore[arg-type]
    return torch.stack([source, target]), (found[0], found[1])


def sort_edges(edge_index: Any, size: Size, flow: str, self_loops: float | None) -> Edges:
    """Sort the edges and the added self-loops by target and source.

    PyG has three rules for a node that already has a self-loop: an edge list keeps its weight, a torch sparse matrix
    adds to it, and a `SparseTensor` replaces it.
    """
    edges, (num_sources, num_targets) = list_edges(edge_index, size, flow)
    num_given = edges.size(1)
    origin = torch.arange(num_given, device=edges.device)
    if self_loops is not None:
        if num_sources != num_targets:
            raise ValueError(f"self-loops need as many sources as targets, got {num_sources} and {num_targets}")
        edges, origin = add_loops(edges, origin, num_targets, edge_index)
    pattern, order = SparsityPattern.from_coo(edges[1], edges[0], num_targets, num_sources)
    origin = origin[order]
    return Edges(pattern, torch.where(origin < 0, num_given, origin), num_given, self_loops)


def sparse_values(adj: Any) -> Tensor:
    """Return the values of a sparse matrix in its edge order; the result is differentiable."""
    return to_edge_index(adj)[1] if isinstance(adj, SparseTensor) else coalesced(adj).values()


def add_loops(edges: Tensor, origin: Tensor, num_nodes: int, given: Any) -> tuple[Tensor, Tensor]:
    """Add self-loops by PyG's rule. Return all edges, and the index of each edge's weight; -1 for a new self-loop."""
    if not is_sparse(given):
        # PyG's function permutes the weights. It is given `origin` instead of them, so that it returns the permutation.
        return add_remaining_self_loops(edges, origin, -1, num_nodes)
    if isinstance(given, SparseTensor):
        other = edges[0] != edges[1]
        edges, origin = edges[:, other], origin[other]
    loops = torch.arange(num_nodes, device=edges.device).expand(2, -1)
    return torch.cat([edges, loops], 1), torch.cat([origin, origin.new_full((num_nodes,), -1)])


def coalesced(adj: Any) -> Any:
    return adj.coalesce() if isinstance(adj, Tensor) and adj.layout == torch.sparse_coo else adj
