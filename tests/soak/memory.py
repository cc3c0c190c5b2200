"""Resident memory in windows of many repeats, and whether it is flat."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

# Allocators keep freed pages and give them back in lumps. A leak of 2 bytes a call over 10^6 calls is more than this.
_NOISE = 2 << 20


@dataclass(frozen=True)
class Reading:
    """Resident bytes after each window, without those of the warm-up."""

    name: str
    calls: int
    seconds: float
    resident: list[int]

    @property
    def slope(self) -> float:
        """Return bytes a call: the median slope between all pairs of windows (Theil and Sen)."""
        n, r = len(self.resident), self.resident
        rises = [(r[j] - r[i]) / (j - i) for i in range(n) for j in range(i + 1, n)]
        return median(rises) * n / self.calls

    @property
    def growth(self) -> int:
        """Return the bytes by which the last quarter of the windows is above the first."""
        quarter = max(1, len(self.resident) // 4)
        return int(median(self.resident[-quarter:]) - median(self.resident[:quarter]))

    @property
    def flat(self) -> bool:
        return self.growth <= _NOISE

    def line(self) -> str:
        """Return one row of the report."""
        first, last = (size / 2**20 for size in (self.resident[0], self.resident[-1]))
        return (
            f"{self.name:<28} {self.calls:>9,} calls {self.seconds:>7.1f} s   {first:>7.1f} -> {last:>7.1f} MiB   "
            f"slope {self.slope:>+8.2f} B/call   {'flat' if self.flat else 'GROWS'}"
        )


def resident() -> int:
    """Return this process's resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(name: str, step: Callable[[int], object], calls: int, windows: int = 40) -> Reading:
    """Call `step` with 0, 1, 2, ...: a quarter of `calls` as a warm-up, then all of them in windows."""
    each = max(1, calls // windows)
    number = 0
    for _ in range(max(each, calls // 4)):
        step(number)
        number += 1
    found: list[int] = []
    start = time.perf_counter()
    for _ in range(windows):
        for _ in range(each):
            step(number)
            number += 1
        # Cycles and free pages are no leak: collect both before the reading.
        gc.collect()
        _trim()
        found.append(resident())
    return Reading(name, each * windows, time.perf_counter() - start, found)


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
