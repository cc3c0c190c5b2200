"""Measure the two bandwidths of the roofline in each case: the gather of the rows of x, and the streams of a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cases.oracle import Oracle
from ..cases.traffic import gather_bytes, stream_bytes
from ..cases.workloads import Workload
from . import probes
from .candidate import Candidate
from .clock import clock

COPY_BYTES = 256 << 20
# A probe reads at most this many rows of x, so that it is short on large graphs. The torch probe writes into a block
# that fits into the second-level cache.
_PROBE_ROWS, _BLOCK_BYTES = 16 << 20, 256 << 10
GATHER, STREAM = "gather", "stream"


def copy_gbs(device: torch.device) -> float:
    """Return the GB/s of a copy of a block larger than any cache: the best way to store, the median of nine."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    ways: list[Callable[[], object]] = [lambda: target.copy_(source)]
    if device.type == "cpu" and probes.missing() is None:
        ways = list(probes.streams(source, COPY_BYTES, target, COPY_BYTES).values())
    medians = [torch.tensor([clock(way, 1, device) for _ in range(9)]).median().item() for way in ways]
    return 2 * COPY_BYTES / min(medians) / 1e9


@dataclass
class Probe(Candidate):
    """A candidate that moves bytes of one `kind`, the gather or the stream, and computes nothing."""

    kind: str = GATHER
    moved_bytes: int = 0


def roofline_probes(graph: Workload, oracle: Oracle, width: int, dtype: torch.dtype) -> list[Probe]:
    """Return the probes of a case, for the same interleaved timing as its methods.

    On the CPU, compiled probes read the rows of x in the order of the graph, and stream the bytes that a pass reads and
    writes in order, in the fastest ways found on this machine for this case (`probes.py`). A pass cannot avoid either,
    so the slower of the two is a lower bound of its time. On a GPU the probe is torch's `index_select`, which is no
    bound: a kernel may have more loads in flight.
    """
    x, _ = oracle.inputs(width)
    col = _columns(graph)
    gathered = gather_bytes(col.numel(), width, dtype.itemsize)
    if x.device.type != "cpu":
        return [_timed(Probe("probe index_select", dtype, _select(x, col), moved_bytes=gathered), x.device)]
    reason = probes.missing()
    if reason is not None:
        return [Probe("probe", dtype, note=reason)]
    found = [Probe(f"probe {name}", dtype, call, moved_bytes=gathered) for name, call in probes.gathers(x, col).items()]
    moved, written = stream_bytes(graph.num_nodes, graph.num_edges, width, dtype.itemsize), x.numel() * dtype.itemsize
    source = torch.zeros(moved - written, dtype=torch.uint8)
    ways = probes.streams(source, moved - written, torch.empty(max(written, 1), dtype=torch.uint8), written)
    found += [Probe(f"probe {name}", dtype, call, kind=STREAM, moved_bytes=moved) for name, call in ways.items()]
    return [_timed(probe, x.device) for probe in found]


def _timed(probe: Probe, device: torch.device) -> Probe:
    assert probe.call is not None
    probe.call()
    probe.seconds_per_call = clock(probe.call, 1, device)
    return probe


def best_gbs(found: Sequence[Probe], kind: str, dtype: torch.dtype) -> float | None:
    """Return the GB/s of the fastest probe of this kind and type; None without one."""
    speeds = (p.moved_bytes / p.quantile(0.5) / 1e9 for p in found if p.samples and (p.kind, p.dtype) == (kind, dtype))
    return max(speeds, default=None)


def _columns(graph: Workload) -> Tensor:
    """Return the source of every edge, sorted by row and then by source, of as many rows as a probe reads."""
    source, target = torch.cat([graph.pos, graph.neg], 1)
    count = torch.bincount(target, minlength=graph.num_nodes)
    rows = int((count.cumsum(0) <= _PROBE_ROWS).sum())
    if rows < graph.num_nodes:
        chosen = target < rows
        source, target = source[chosen], target[chosen]
    return source[torch.argsort(target * graph.num_nodes + source)]


def _select(x: Tensor, col: Tensor) -> Callable[[], object]:
    rows = max(1, _BLOCK_BYTES // (x.size(1) * x.element_size()))
    block = x.new_empty(min(rows, col.numel()), x.size(1))
    parts = [(part, block[: part.numel()]) for part in col.split(rows)]

    def call() -> None:
        for part, out in parts:
            torch.index_select(x, 0, part, out=out)

    return call
