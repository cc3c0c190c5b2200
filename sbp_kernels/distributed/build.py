"""Build a sharded graph from a file of edges, which no process holds as a whole."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..adjacency.checks import check_count, check_index, describe
from ..adjacency.csr import CSR
from ..graph import SignedGraph
from .collectives import Group, Traffic
from .partition import Partition
from .rows import LocalEdges, assemble
from .shard import Shard

# Edges that a rank reads, checks and sends at a time.
_CHUNK = 1 << 22


class EdgeFile(NamedTuple):
    """Memory maps of the edges, `[2, num_edges]` with sources in row 0, and of their signed weights."""

    edge_index: Any
    weight: Any

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    def read(self, first: int, last: int, num_nodes: int) -> tuple[Tensor, Tensor | None]:
        """Return the edges `[first, last)`, int64, and their weights; raise ValueError if one is wrong."""
        edges = torch.from_numpy(self.edge_index[:, first:last].astype("int64"))
        check_index("edges", edges, num_nodes)
        weight = None if self.weight is None else torch.from_numpy(self.weight[first:last].copy())
        if weight is not None and not bool(weight.isfinite().all()):
            raise ValueError(f"edge weights must be finite, got others among edges {first} to {last}")
        return edges, weight


def from_edge_file(
    edge_index: str | PathLike[str],
    num_nodes: int,
    *,
    edge_weight: str | PathLike[str] | None = None,
    add_self_loops: bool = False,
    normalize: str | None = None,
    partition: Partition | None = None,
    group: dist.ProcessGroup | None = None,
    wire_dtype: torch.dtype | None = None,
    check_calls: bool = True,
) -> SignedGraph | Shard:
    """Return this rank's rows of the graph of a file; each rank reads its share and sends the edges to their owners.

    The result is that of `SignedGraph.from_edge_weight`, `add_self_loops` and `normalize`, divided by
    `shard(graph, "rows")`; without weights, of a `SignedGraph` whose positive half has all edges. A rank holds its
    edges, an integer per node, and one chunk of the file.

    Args:
        edge_index: a `.npy` file of integers `[2, num_edges]`, sources in row 0 and targets in row 1.
        num_nodes: how many nodes there are.
        edge_weight: a `.npy` file of float32 or float64 `[num_edges]`; an edge of weight w < 0 repels with |w|.
        add_self_loops, normalize: as the methods of `SignedGraph`; "sym", "row" or None.
        partition, group, wire_dtype, check_calls: as in `shard`.

    Raises:
        ValueError: the files or the arguments break a rule, on all ranks.
    """
    if normalize not in (None, "sym", "row"):
        raise ValueError(f'normalize must be "sym", "row" or None, got {describe(normalize)}')
    num_nodes, file = check_count("num_nodes", num_nodes), _open(edge_index, edge_weight)
    ranks = Group(group, Traffic()) if dist.is_available() and dist.is_initialized() else None
    if ranks is None or ranks.size == 1:
        return _whole(file, num_nodes, add_self_loops, normalize)
    degree, error = _degrees(file, num_nodes, ranks)
    given = "" if partition is None else partition.text()
    text = f"{file.edge_index.shape} {num_nodes} {add_self_loops} {normalize} {wire_dtype} {given} {error or ''}"
    ranks.require_same("the file", text, degree.device)
    if error is not None:
        raise ValueError(error)
    if partition is None:
        partition = Partition.by_edges(ranks.add_up(degree), ranks.size)
    if partition.num_nodes != num_nodes or partition.world_size != ranks.size:
        raise ValueError(f"partition must divide {num_nodes} nodes among {ranks.size} ranks, got {partition!r}")
    del degree
    ends, weight = _travel(file, num_nodes, partition, ranks)
    halves = _halves(ends, weight, partition, ranks, add_self_loops, normalize)
    part = assemble(*halves, (partition.size(ranks.rank), partition), ranks, wire_dtype)
    ranks.traffic.sum_bytes = 0
    return Shard(part, ranks, None, (partition, partition), ranks.traffic, check_calls)


def _open(edge_index: str | PathLike[str], edge_weight: str | PathLike[str] | None) -> EdgeFile:
    import numpy as np

    edges = np.load(edge_index, mmap_mode="r")
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(f"the file of edges must hold integers [2, num_edges], got {edges.dtype} {edges.shape}")
    if edge_weight is None:
        return EdgeFile(edges, None)
    weight = np.load(edge_weight, mmap_mode="r")
    if weight.shape != edges.shape[1:] or weight.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"the file of weights must hold float32 or float64 [num_edges={edges.shape[1]}], "
            f"got {weight.dtype} {weight.shape}"
        )
    return EdgeFile(edges, weight)


def _whole(file: EdgeFile, num_nodes: int, add_self_loops: bool, normalize: str | None) -> SignedGraph:
    edges, weight = file.read(0, file.num_edges, num_nodes)
    if weight is None:
        graph = SignedGraph(CSR.from_edge_index(edges, num_nodes=num_nodes))
    else:
        graph = SignedGraph.from_edge_weight(edges, weight, num_nodes)
    graph = graph.add_self_loops() if add_self_loops else graph
    return graph if normalize is None else graph.normalize(normalize)


def _chunks(file: EdgeFile, ranks: Group) -> list[tuple[int, int]]:
    """Return the edges `[first, last)` that this rank reads at a time: its share of as many chunks as every rank has.

    The shares of a chunk follow one another, so that edges arrive in the order of the file.
    """
    found = []
    for start in range(0, file.num_edges, _CHUNK * ranks.size):
        span = min(_CHUNK * ranks.size, file.num_edges - start)
        found.append((start + span * ranks.rank // ranks.size, start + span * (ranks.rank + 1) // ranks.size))
    return found


def _degrees(file: EdgeFile, num_nodes: int, ranks: Group) -> tuple[Tensor, str | None]:
    """Return how many edges of this rank's share end in each node, and what is wrong with the share."""
    degree = torch.zeros(num_nodes, dtype=torch.int64)
    try:
        for chunk in _chunks(file, ranks):
            degree += torch.bincount(file.read(*chunk, num_nodes)[0][1], minlength=num_nodes)
    except ValueError as error:
        return degree, str(error)
    return degree, None


def _travel(file: EdgeFile, num_nodes: int, partition: Partition, ranks: Group) -> tuple[Tensor, Tensor | None]:
    """Send every edge to the owner of its target; return this rank's (source, target) positions and weights.

    The edges of a rank keep the order of the file.
    """
    dtype = torch.int32 if num_nodes < 2**31 else torch.int64
    ends, weights = [], []
    for chunk in _chunks(file, ranks):
        edges, weight = file.read(*chunk, num_nodes)
        places = partition.positions(edges)
        owner = partition.owners(places[1])
        order, counts = torch.argsort(owner, stable=True), torch.bincount(owner, minlength=ranks.size).tolist()
        ends.append(ranks.exchange_rows(places.to(dtype).T[order], counts)[0])
        if weight is not None:
            weights.append(ranks.exchange_rows(weight[order], counts)[0])
    both = torch.cat(ends) if ends else torch.empty(0, 2, dtype=dtype)
    return both, torch.cat(weights) if weights else None


def _halves(
    ends: Tensor, weight: Tensor | None, partition: Partition, ranks: Group, loops: bool, normalize: str | None
) -> tuple[LocalEdges, LocalEdges | None]:
    """Return this rank's edges of both signs, normalized."""
    first, count = partition.bounds[ranks.rank], partition.size(ranks.rank)
    col, row = ends[:, 0].long(), ends[:, 1].long() - first
    if weight is None:
        whole = LocalEdges(row, col)
        return _normalized(_looped(whole, first, count) if loops else whole, count, normalize), None
    stored = min(ranks.gather_ints(int(bool((weight.abs() == 1).all())), row.device)) == 0
    halves = []
    for chosen, sign in ((weight >= 0, 1.0), (weight < 0, -1.0)):
        half = LocalEdges(row[chosen], col[chosen], sign * weight[chosen] if stored else None)
        half = _looped(half, first, count) if loops and sign > 0 else half
        halves.append(_normalized(half, count, normalize))
    return halves[0], halves[1]


def _looped(half: LocalEdges, first: int, count: int) -> LocalEdges:
    """Return the edges and a loop of weight 1 for each row that has none."""
    missing = torch.ones(count, dtype=torch.bool)
    missing[half.row[half.row + first == half.col]] = False
    rows = missing.nonzero().squeeze(1)
    weight = None if half.weight is None else torch.cat([half.weight, half.weight.new_ones(rows.numel())])
    return LocalEdges(torch.cat([half.row, rows]), torch.cat([half.col, rows + first]), weight)


def _normalized(half: LocalEdges, count: int, normalize: str | None) -> LocalEdges:
    """Return the edges with the scales of `CSR.normalize`; a rank has all edges of its rows, hence their degrees."""
    if normalize is None:
        return half
    size = None if half.weight is None else half.weight.abs().double()
    degree = torch.bincount(half.row, size, minlength=count).double()
    scale = degree.reciprocal() if normalize == "row" else degree.rsqrt()
    scale = torch.where(degree > 0, scale, 0.0)
    return half._replace(row_scale=scale, col_scale=None if normalize == "row" else scale)
