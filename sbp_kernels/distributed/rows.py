"""This rank's rows of a graph: edges between its own nodes, and edges from the rows that it must receive."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..adjacency.class_block import ClassBlock
from ..adjacency.csr import CSR
from ..adjacency.similarity import Similarity
from ..adjacency.sparsity import SparsityPattern
from ..graph import SignedGraph
from .collectives import Group
from .dense_terms import ShardedSimilarity, sharded_class_block
from .halo import Halo
from .partition import Partition


class LocalEdges(NamedTuple):
    """The edges of one half that end in this rank's rows, in the order of the whole half."""

    row: Tensor  # this rank's row of each edge
    col: Tensor  # the position of its source among all columns (see `Partition`)
    weight: Tensor | None = None  # fixed weights
    row_scale: Tensor | None = None  # of this rank's rows
    col_scale: Tensor | None = None  # of this rank's columns
    # The half with learnable weights, and where they are among its edges.
    learnable: tuple[CSR, Tensor] | None = None


class LearnableWeight(NamedTuple):
    """Edge weights that require a gradient, the same on every rank, and which of them this rank reads."""

    half: Any
    interior: Tensor | None = None
    boundary: Tensor | None = None


class RowShard(NamedTuple):
    """This rank's part of a graph. The boundary has a column for each row of the halo."""

    interior: SignedGraph
    boundary: SignedGraph | None
    halo: Halo | None
    weights: tuple[LearnableWeight | None, LearnableWeight | None]


def shard_rows(
    graph: SignedGraph, rows: Partition, cols: Partition, group: Group, wire_dtype: torch.dtype | None
) -> RowShard:
    """Return this rank's part of a graph that every rank has."""
    own = rows.nodes(group.rank), cols.nodes(group.rank)
    halves: list[Any] = []
    for half in (graph.pos, graph.neg):
        if isinstance(half, CSR):
            halves.append(_own_edges(half, *own, cols))
        elif isinstance(half, ClassBlock):
            halves.append(sharded_class_block(half, own[0], group))
        elif isinstance(half, Similarity) and not half.requires_derivative():
            halves.append(ShardedSimilarity(half, own[0], group))
        elif half is None:
            halves.append(None)
        else:
            what = f"a {type(half).__name__}" + " whose x0 requires a gradient" * isinstance(half, Similarity)
            raise NotImplementedError(f"the rows of {what} cannot be divided among ranks: divide the features")
    return assemble(halves[0], halves[1], (rows.size(group.rank), cols), group, wire_dtype)


def assemble(
    pos: Any, neg: Any, shape: tuple[int, Partition], group: Group, wire_dtype: torch.dtype | None
) -> RowShard:
    """Return this rank's part from its rows of both halves: `LocalEdges`, another adjacency, or None.

    `shape` is the number of its rows, and the partition of the columns.
    """
    num_rows, cols = shape
    first, last = cols.bounds[group.rank : group.rank + 2]
    edges = [half for half in (pos, neg) if isinstance(half, LocalEdges)]
    remote = [half.col[(half.col < first) | (half.col >= last)] for half in edges]
    needed = torch.cat(remote).unique() if remote else torch.empty(0, dtype=torch.int64)
    most = max(group.gather_ints(needed.numel(), needed.device))
    halo = Halo(needed, cols, group, wire_dtype) if most else None
    divided = [
        _divide(half, (first, last), num_rows, needed, halo) if isinstance(half, LocalEdges) else (half, None, None)
        for half in (pos, neg)
    ]
    near, far, weights = zip(*divided, strict=True)
    return RowShard(SignedGraph(*near), None if halo is None else SignedGraph(*far), halo, weights)  # type: ignore[arg-type]


def _own_edges(half: CSR, rows: Tensor, cols: Tensor, partition: Partition) -> LocalEdges:
    """Return the edges of the rows `rows`."""
    pattern = half.pattern
    start = pattern._rowptr[rows]
    degree = pattern._rowptr[rows + 1] - start
    before = degree.cumsum(0) - degree
    edge = torch.arange(int(degree.sum())) + torch.repeat_interleave(start - before, degree)
    row = torch.repeat_interleave(torch.arange(rows.numel()), degree)
    col = partition.positions(pattern._col[edge].long())
    row_scale = None if half._row_scale is None else half._row_scale[rows]
    col_scale = None if half._col_scale is None else half._col_scale[cols]
    if half.requires_derivative():
        return LocalEdges(row, col, None, row_scale, col_scale, (half, edge))
    return LocalEdges(row, col, None if half.weight is None else half.weight[edge], row_scale, col_scale)


def _divide(
    half: LocalEdges, own: tuple[int, int], num_rows: int, needed: Tensor, halo: Halo | None
) -> tuple[CSR, CSR | None, LearnableWeight | None]:
    """Return the edges from this rank's columns, those from the halo's, and their learnable weights."""
    first, last = own
    inside = (half.col >= first) & (half.col < last)
    near, near_edges = _csr(half, inside, half.col - first, (num_rows, last - first), half.col_scale)
    far, far_edges = None, None
    if halo is not None:
        scale = None if half.col_scale is None else halo.fetch(half.col_scale.double()[:, None])[:, 0]
        place = torch.searchsorted(needed, half.col)
        far, far_edges = _csr(half, ~inside, place, (num_rows, needed.numel()), scale)
    return near, far, LearnableWeight(half.learnable[0], near_edges, far_edges) if half.learnable else None


def _csr(
    half: LocalEdges, chosen: Tensor, col: Tensor, shape: tuple[int, int], col_scale: Tensor | None
) -> tuple[CSR, Tensor | None]:
    """Return the chosen edges as a matrix, and which learnable weights they have."""
    pattern, order = SparsityPattern.from_coo(half.row[chosen], col[chosen], *shape)
    weight = None if half.weight is None else half.weight[chosen][order]
    edge = None if half.learnable is None else half.learnable[1][chosen][order]
    return CSR._trusted(pattern, weight, half.row_scale, col_scale), edge
