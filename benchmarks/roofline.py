"""What the memory of this machine allows: bytes by formula, and the two bandwidths that bound them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .clock import clock
from .harness import Contestant
from .oracle import Oracle
from .records import FORWARD
from .workloads import Workload

COPY_BYTES = 256 << 20
# A probe reads so many rows at most, so that it stays short beside a large graph; and writes into a block that stays
# in the second-level cache.
_PROBE_ROWS, _BLOCK_BYTES = 4 << 20, 256 << 10


def gather_bytes(num_edges: int, width: int, itemsize: int) -> int:
    """The row of x at the far end of every edge."""
    return num_edges * width * itemsize


def stream_bytes(num_nodes: int, num_edges: int, width: int, itemsize: int) -> int:
    """An edge: its column and scale. A node: x as residual, y, two row pointers, two scales, its place in the plan."""
    return 8 * num_edges + num_nodes * (2 * width * itemsize + 16 + 8 + 4)


def passes(mode: str) -> int:
    """How often the graph is walked through: forward, and once more backward."""
    return 1 if mode == FORWARD else 2


def share_of_roofline(row: dict[str, str]) -> float | None:
    """The time that the two bandwidths allow over the time taken, of a row of results; None where not measured."""
    if not (row["median_ms"] and row["gather_gbs"] and row["copy_gbs"]):
        return None
    seconds = float(row["gather_bytes"]) / float(row["gather_gbs"]) + float(row["stream_bytes"]) / float(
        row["copy_gbs"]
    )
    return passes(row["mode"]) * seconds / 1e9 / (float(row["median_ms"]) / 1e3)


def copy_gbs(device: torch.device) -> float:
    """Bytes read and written a second by torch's copy of a block that no cache holds; the median of nine."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    times = [clock(lambda: target.copy_(source), 1, device) for _ in range(9)]
    return 2 * COPY_BYTES / torch.tensor(times).median().item() / 1e9


@dataclass
class Probe(Contestant):
    """A code that is timed for the bytes that it moves a call."""

    moved_bytes: int = 0


def gather_probes(graph: Workload, oracle: Oracle, width: int, dtype: torch.dtype) -> list[Probe]:
    """Two codes that do nothing but fetch the rows of x that the graph asks for, in its order, for the same race.

    The probe is torch's own code, not ours: (1) `index_select` into a block that stays in cache, a bare copy of
    rows; (2) `embedding_bag`, which adds the rows of a bag in registers (on x86 FBGEMM's kernel, with prefetch)
    and has neither weights nor a residual. Same x, same columns, same order, same threads: so the same hits and
    misses, and the faster of the two is a bandwidth at which these rows demonstrably arrive. It bounds a sparse
    product at this size from below only: a code that keeps more misses in flight may pass it, and then its
    share is above 1. What no code passes is the time that all bytes take at the speed of a plain copy.
    """
    x, _ = oracle.inputs(width)
    col, offsets = _columns(graph)
    row_bytes = width * dtype.itemsize
    # Columns here are int64; a bag writes its sum.
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
    """GB/s of the faster probe."""
    return max((p.moved_bytes / p.quantile(0.5) / 1e9 for p in probes if p.samples), default=None)


def _columns(graph: Workload) -> tuple[Tensor, Tensor]:
    """The far ends of all edges in the order of the rows, and where each row begins."""
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
