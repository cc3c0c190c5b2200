"""Divide a graph, its features, or both among the ranks of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..adjacency.checks import describe
from ..backends.interface import FLOATS
from ..graph import SignedGraph
from .collectives import Group, Traffic
from .features import feature_range
from .fingerprint import fingerprint
from .partition import Partition, row_degree
from .rows import LearnableWeight, RowShard, shard_rows
from .shard import Shard

_LAYOUTS = ("rows", "features")


def shard(
    graph: SignedGraph,
    layout: str | None = None,
    *,
    partition: Partition | None = None,
    col_partition: Partition | None = None,
    group: dist.ProcessGroup | None = None,
    mesh: Any = None,
    wire_dtype: torch.dtype | None = None,
    check_calls: bool = True,
) -> SignedGraph | Shard:
    """Return this rank's part of a graph that every rank has; the graph itself if there is one process.

    `signed_propagate`, `signed_pair` and `nn.SBPConv` accept the result instead of a graph. They take this rank's
    block of x (see `local_block`) and return its block of the result. In the backward pass, the gradient of a
    replicated parameter (coefficient, edge weight, LayerNorm) is the sum over all ranks.

    Args:
        layout: "rows": each rank has the rows of its nodes, and receives the rows that its edges need. "features":
            each rank has some columns of x and the whole graph; only LayerNorm and gradients of parameters
            communicate.
        partition: the owner of each row; blocks of consecutive rows with equal numbers of edges if absent.
        col_partition: the owner of each column of a bipartite graph; blocks of equal size if absent.
        group: the processes that share the work; all of them if absent.
        mesh: a `DeviceMesh` with dimensions named "rows" or "features" or both, instead of `layout` and `group`.
        wire_dtype: the type in which halo rows travel if it is narrower than x, such as `torch.bfloat16`.
        check_calls: compare the calls of all ranks before each call that communicates (see `Shard`).

    Raises:
        ValueError: an argument breaks a rule, or the ranks have different graphs or partitions.
        NotImplementedError: a half cannot be divided by rows, such as a `Similarity` whose x0 requires a
            gradient.
    """
    if not isinstance(graph, SignedGraph):
        raise ValueError(f"graph must be a SignedGraph, got {describe(graph)}")
    if wire_dtype is not None and wire_dtype not in FLOATS:
        raise ValueError(f"wire_dtype must be one of {', '.join(map(str, FLOATS))}, got {describe(wire_dtype)}")
    groups, traffic = process_groups(layout, group, mesh), Traffic()
    rows, features = (Group(groups[name], traffic) if name in groups else None for name in _LAYOUTS)
    rows, features = (None if ranks is None or ranks.size == 1 else ranks for ranks in (rows, features))
    parts = _partitions(graph, partition, col_partition, 1 if rows is None else rows.size)
    if rows is None and features is None:
        return graph
    text = f"{fingerprint(graph)}, {parts[0].text()}, {parts[1].text()}, {wire_dtype}"
    for ranks in (rows, features):
        if ranks is not None:
            ranks.require_same("the graph and its partition", text, graph.device)
    if rows is None:
        weights = (LearnableWeight(graph.pos), LearnableWeight(graph.neg))
        fixed = [None if weight.half is None else weight for weight in weights]
        part, owned = RowShard(graph, None, None, (fixed[0], fixed[1])), (None, None)
        return Shard(part, None, features, owned, traffic, check_calls)
    return Shard(shard_rows(graph, *parts, rows, wire_dtype), rows, features, parts, traffic, check_calls)


def local_block(x: Tensor, graph: SignedGraph | Shard, *, of: str = "cols") -> Tensor:
    """Return this rank's block of a tensor `[num_nodes, ...]` that every rank has; x itself if there is one process.

    `of="cols"` divides what a step reads, x; `of="rows"` what it returns, such as targets and labels of a bipartite
    graph. The columns of x are divided if the features are.
    """
    if not isinstance(graph, Shard):
        return x
    if of not in ("rows", "cols"):
        raise ValueError(f'of must be "rows" or "cols", got {describe(of)}')
    part = graph.row_partition if of == "rows" else graph.col_partition
    if part is not None and graph.row_group is not None:
        if x.size(0) != part.num_nodes:
            raise ValueError(f"x must have num_nodes={part.num_nodes} rows, got shape {tuple(x.shape)}")
        x = x[part.nodes(graph.row_group.rank)]
    if graph.feature_group is None or x.dim() < 2:
        return x
    first, last = feature_range(x.size(1), graph.feature_group.rank, graph.feature_group.size)
    return x[:, first:last]


def process_groups(layout: str | None, group: dist.ProcessGroup | None, mesh: Any) -> dict[str, Any]:
    """Return the process group of each layout that is used; none if torch.distributed is not initialized."""
    if mesh is not None:
        names = mesh.mesh_dim_names or ()
        if layout is not None or group is not None:
            raise ValueError("give a mesh, or layout and group, not both")
        if not names or any(name not in _LAYOUTS for name in names):
            raise ValueError(f'the dimensions of mesh must be named "rows" or "features", got {names}')
        return {name: mesh.get_group(name) for name in names}
    if layout not in _LAYOUTS:
        raise ValueError(f'layout must be "rows" or "features", got {describe(layout)}')
    return {layout: group} if dist.is_available() and dist.is_initialized() else {}


def _partitions(
    graph: SignedGraph, rows: Partition | None, cols: Partition | None, size: int
) -> tuple[Partition, Partition]:
    square = graph.num_rows == graph.num_cols
    if rows is None:
        rows = Partition.by_edges(row_degree(graph), size)
    if cols is None:
        cols = rows if square else Partition.contiguous(graph.num_cols, size)
    for name, part, count in (("partition", rows, graph.num_rows), ("col_partition", cols, graph.num_cols)):
        if not isinstance(part, Partition) or part.num_nodes != count or part.world_size != size:
            raise ValueError(f"{name} must divide {count} nodes among {size} ranks, got {part!r}")
    if square and cols is not rows:
        raise ValueError("col_partition is for bipartite graphs: rows and columns of this one are the same nodes")
    return rows, cols
