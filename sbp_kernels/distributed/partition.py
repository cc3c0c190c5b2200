"""Partitions: which rank owns which node, and what a partition costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..adjacency.checks import check_count, check_index, check_tensor, describe
from ..adjacency.csr import CSR
from ..graph import SignedGraph


class Partition:
    """An owner for every node.

    Nodes are renumbered so that each rank owns consecutive positions: rank r has the nodes
    `order[bounds[r]:bounds[r + 1]]`, in ascending order. Without `order`, positions are the nodes themselves. A rank
    may own no node.
    """

    __slots__ = ("_order", "_position", "bounds")

    def __init__(self, bounds: list[int], order: Tensor | None = None) -> None:
        self.bounds, self._order = bounds, order
        self._position: Tensor | None = None
        if order is not None:
            self._position = torch.empty_like(order)
            self._position[order] = torch.arange(order.numel(), device=order.device)

    @staticmethod
    def contiguous(num_nodes: int, world_size: int) -> Partition:
        """Return consecutive blocks of nodes, of sizes that differ by one at most."""
        world_size = _check_world_size(world_size)
        num_nodes = check_count("num_nodes", num_nodes)
        return Partition([num_nodes * rank // world_size for rank in range(world_size + 1)])

    @staticmethod
    def by_edges(degree: Tensor, world_size: int) -> Partition:
        """Return consecutive blocks of nodes with about as many edges each; `degree` is int64 `[num_nodes]`.

        A node counts as one edge more, as its features take time as well.
        """
        world_size = _check_world_size(world_size)
        load = torch.cat([degree.new_zeros(1), (degree + 1).cumsum(0)])
        goals = torch.arange(1, world_size, device=load.device) * (int(load[-1]) / world_size)
        cuts = torch.searchsorted(load.double(), goals.double()).tolist()
        return Partition([0, *cuts, degree.numel()])

    @staticmethod
    def from_owner(owner: Tensor, world_size: int) -> Partition:
        """Return the partition of a vector int64 `[num_nodes]` of ranks.

        Raises ValueError for another type, or for a rank outside of `[0, world_size)`.
        """
        world_size = _check_world_size(world_size)
        check_tensor("owner", owner)
        if owner.dim() != 1 or owner.dtype != torch.int64:
            raise ValueError(f"owner must be int64 of shape [num_nodes], got {describe(owner)}")
        check_index("owner", owner, world_size)
        sizes = torch.bincount(owner, minlength=world_size)
        return Partition([0, *sizes.cumsum(0).tolist()], torch.argsort(owner, stable=True))

    @staticmethod
    def metis(graph: SignedGraph, world_size: int) -> Partition:
        """Return the partition of METIS, which cuts few edges; needs the package pymetis.

        Raises ValueError unless the graph is square and has a sparse half.
        """
        try:
            import pymetis
        except ImportError as error:
            raise ImportError("Partition.metis needs pymetis: pip install sbp-kernels[distributed]") from error
        world_size = _check_world_size(world_size)
        if graph.num_rows != graph.num_cols or not sparse_halves(graph):
            raise ValueError(f"METIS needs a square graph with a sparse half, got {graph!r}")
        parts = [(half.pattern.row_index(), half.pattern._col.long()) for half in sparse_halves(graph)]
        row, col = (torch.cat(part) for part in zip(*parts, strict=True))
        # METIS reads undirected graphs without loops or duplicates.
        there, back = torch.cat([row, col]), torch.cat([col, row])
        key = (there * graph.num_rows + back)[there != back].unique()
        rowptr = torch.searchsorted(key, torch.arange(graph.num_rows + 1) * graph.num_rows)
        adjacency = pymetis.CSRAdjacency(rowptr.tolist(), (key % max(graph.num_rows, 1)).tolist())
        owner = pymetis.part_graph(world_size, adjacency)[1] if graph.num_rows else []
        return Partition.from_owner(torch.tensor(owner, dtype=torch.int64), world_size)

    @property
    def world_size(self) -> int:
        return len(self.bounds) - 1

    @property
    def num_nodes(self) -> int:
        return self.bounds[-1]

    def size(self, rank: int) -> int:
        """Return how many nodes a rank owns."""
        return self.bounds[rank + 1] - self.bounds[rank]

    def nodes(self, rank: int) -> Tensor:
        """Return the nodes of a rank, int64, in the order of the rows of its block."""
        first, last = self.bounds[rank : rank + 2]
        return torch.arange(first, last) if self._order is None else self._order[first:last]

    def positions(self, nodes: Tensor) -> Tensor:
        """Return the position of each node: rank r owns positions `bounds[r]` to `bounds[r + 1]`."""
        return nodes if self._position is None else self._position[nodes]

    def owners(self, positions: Tensor) -> Tensor:
        """Return the rank that owns each position."""
        bounds = torch.tensor(self.bounds[1:], device=positions.device)
        return torch.bucketize(positions, bounds, right=True)

    def text(self) -> str:
        """Return what the ranks compare before they use a partition."""
        order = "" if self._order is None else f" order {int((self._order * self._rising()).sum())}"
        text = f"bounds {self.bounds}"
        return (text if len(text) < 200 else f"bounds {hash(tuple(self.bounds))}") + order

    def _rising(self) -> Tensor:
        return torch.arange(1, self.num_nodes + 1)

    def __repr__(self) -> str:
        return f"Partition(num_nodes={self.num_nodes}, world_size={self.world_size})"


@dataclass(frozen=True)
class PartitionReport:
    """What a partition costs. Lists have one entry per rank."""

    nodes: list[int]
    edges: list[int]
    # Rows of other ranks that a rank needs in every step.
    halo_rows: list[int]
    # Copies of its own rows that a rank sends in every step.
    sent_rows: list[int]
    cut_edges: int

    @property
    def edge_cut(self) -> float:
        """The share of the edges whose two nodes have different owners."""
        return self.cut_edges / max(sum(self.edges), 1)

    @property
    def imbalance(self) -> float:
        """The edges of the rank with most of them, over the mean."""
        return max(self.edges) * len(self.edges) / max(sum(self.edges), 1)

    def halo_bytes(
        self, rank: int, features: int, dtype: torch.dtype, num_steps: int = 1, *, backward: bool = False
    ) -> int:
        """Return what a rank sends in `num_steps` steps, in the backward pass too if `backward`.

        `dtype` is the type on the wire. The gradients of the copies travel back to the owner of the row.
        """
        rows = self.sent_rows[rank] + (self.halo_rows[rank] if backward else 0)
        return num_steps * rows * features * dtype.itemsize

    def __str__(self) -> str:
        lines = [f"{'rank':>4} {'nodes':>12} {'edges':>14} {'halo rows':>12} {'sent rows':>12}"]
        rows = zip(self.nodes, self.edges, self.halo_rows, self.sent_rows, strict=True)
        lines += [f"{rank:>4} {n:>12,} {e:>14,} {h:>12,} {s:>12,}" for rank, (n, e, h, s) in enumerate(rows)]
        return "\n".join([*lines, f"edge cut {self.edge_cut:.1%}, imbalance {self.imbalance:.3f}"])


def partition_report(graph: SignedGraph, rows: Partition, cols: Partition | None = None) -> PartitionReport:
    """Return nodes, edges and halo rows per rank; `cols` divides the columns of a bipartite graph."""
    cols = rows if cols is None else cols
    size = rows.world_size
    edges, sent, cut = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int64), 0
    remote: list[list[Tensor]] = [[] for _ in range(size)]
    for half in sparse_halves(graph):
        owner = rows.owners(rows.positions(half.pattern.row_index()))
        col = half.pattern._col.long()
        away = owner != cols.owners(cols.positions(col))
        edges += torch.bincount(owner, minlength=size)
        cut += int(away.sum())
        for rank in range(size):
            remote[rank].append(col[away & (owner == rank)])
    needed = [torch.cat(parts).unique() if parts else edges.new_empty(0) for parts in remote]
    for col in needed:
        sent += torch.bincount(cols.owners(cols.positions(col)), minlength=size)
    nodes, halo = [rows.size(rank) for rank in range(size)], [col.numel() for col in needed]
    return PartitionReport(nodes, edges.tolist(), halo, sent.tolist(), cut)


def sparse_halves(graph: SignedGraph) -> list[CSR]:
    """Return the halves that are a CSR."""
    return [half for half in (graph.pos, graph.neg) if isinstance(half, CSR)]


def row_degree(graph: SignedGraph) -> Tensor:
    """Return how many edges of both signs each row has, int64 `[num_rows]`."""
    degree = torch.zeros(graph.num_rows, dtype=torch.int64, device=graph.device)
    for half in sparse_halves(graph):
        degree += half.pattern._rowptr.diff()
    return degree


def _check_world_size(world_size: int) -> int:
    if check_count("world_size", world_size) < 1:
        raise ValueError(f"world_size must be >= 1, got {world_size}")
    return world_size
