"""Measure the two bandwidths of the roofline: copy and gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cases.oracle import Oracle
from ..cases.workloads import Workload
from .candidate import Candidate
from .clock import clock

COPY_BYTES = 256 << 20
# A probe reads at most this many rows, so that it is short on large graphs, and writes into a block that fits into the
# second-level cache.
_PROBE_ROWS, _BLOCK_BYTES = 4 << 20, 256 << 10


def copy_gbs(device: torch.device) -> float:
    """Return the GB/s read and written by torch's copy of a block larger than any cache; the median of nine."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    times = [clock(lambda: target.copy_(source), 1, device) for _ in range(9)]
    return 2 * COPY_BYTES / torch.tensor(times).median().item() / 1e9


@dataclass
class Probe(Candidate):
    """A candidate whose bytes per call are known."""

    moved_bytes: int = 0


def gather_probes(graph: Workload, oracle: Oracle, width: int, dtype: torch.dtype) -> list[Probe]:
    """Return two probes that only read the rows of x in the order of the graph, for the same interleaved timing.

    Both are torch operations: (1) `index_select` copies rows into a block that stays in cache; (2) `embedding_bag`
    sums the rows of a bag in registers (on x86 by FBGEMM's kernel, with prefetch), without weights or a residual. Both
    use the same x, columns, order and threads as the method and thus have the same cache hits and misses, so the
    faster one is a gather bandwidth that is achievable. It is not an upper bound: a kernel with more outstanding misses
    can exceed it, and then its share of the roofline is above 1. The time of all bytes at copy speed is a hard bound.
    """
    x, _ = oracle.inputs(width)
    col, offsets = _columns(graph)
    row_bytes = width * dtype.itemsize
    # Columns are int64; a bag also writes its sum.
    moved = col.numel() * (row_bytes + 8)
    probes = {
        "probe index_select": (_select(x, col), moved),
        "probe embedding_bag": (_bags(x, col, offsets), moved + offsets.numel() * row_bytes),
    }
    found = []
    for name, (call, count) in probes.items():
        probe = Probe(name, dtype, moved_bytes=count)
        try:
            call()
        except (RuntimeError, NotImplementedError) as error:
            probe.note = f"not supported: {str(error).splitlines()[0][:100]}"
        else:
            probe.call, probe.seconds_per_call = call, clock(call, 1, x.device)
        found.append(probe)
    return found


def best_gather(probes: list[Probe]) -> float | None:
    """Return the GB/s of the faster probe."""
    return max((p.moved_bytes / p.quantile(0.5) / 1e9 for p in probes if p.samples), default=None)


def _columns(graph: Workload) -> tuple[Tensor, Tensor]:
    """Return the source of every edge, sorted by row, and the offset of each row."""
    source, target = torch.cat([graph.pos, graph.neg], 1)
    count = torch.bincount(target, minlength=graph.num_nodes)
    rows = int((count.cumsum(0) <= _PROBE_ROWS).sum())
    if rows < graph.num_nodes:
        chosen = target < rows
        source, target, count = source[chosen], target[chosen], count[:rows]
    col = source[torch.argsort(target, stable=True)]
    return col, count.cumsum(0) - count


def _select(x: Tensor, col: Tensor) -> Callable[[], object]:
    rows = max(1, _BLOCK_BYTES // (x.size(1) * x.element_size()))
    block = x.new_empty(min(rows, col.numel()), x.size(1))
    parts = [(part, block[: part.numel()]) for part in col.split(rows)]

    def call() -> None:
        for part, out in parts:
            torch.index_select(x, 0, part, out=out)

    return call


def _bags(x: Tensor, col: Tensor, offsets: Tensor) -> Callable[[], object]:
    return lambda: torch.nn.functional.embedding_bag(col, x, offsets, mode="sum")
