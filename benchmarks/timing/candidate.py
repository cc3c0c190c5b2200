"""A case, and a candidate: one method that is timed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ..cases.oracle import Coefficients
from ..cases.workloads import Workload
from .clock import clock

# A sample repeats calls shorter than this, so that the overhead of the clock is negligible.
SAMPLE_SECONDS = 4e-3


@dataclass(frozen=True)
class Case:
    """A graph, width and mode that every method is measured in; `cache` is "warm" or "cold"."""

    graph: Workload
    width: int
    mode: str
    coefficients: Coefficients = field(default_factory=Coefficients)
    cache: str = "warm"


@dataclass
class Candidate:
    """One method at one dtype in one case; `note` says why it is not timed, or not on the native backend.

    `remote` times it in another process; `threads` and `isa` are set if they differ from those of the run.
    """

    method: str
    dtype: torch.dtype
    call: Callable[[], object] | None = None
    backend: str = ""
    note: str = ""
    extra_memory_bytes: int = 0
    seconds_per_call: float = 0.0
    samples: list[float] = field(default_factory=list)
    threads: int | None = None
    isa: str = ""
    remote: Callable[[int, int], float] | None = None

    def quantile(self, q: float) -> float:
        """Return this quantile of the seconds per call."""
        return torch.tensor(self.samples, dtype=torch.float64).quantile(q).item()

    def timing(self) -> dict[str, float]:
        """Return the columns of a result row about the time of a call."""
        return {
            "p20_ms": 1e3 * self.quantile(0.2),
            "median_ms": 1e3 * self.quantile(0.5),
            "p80_ms": 1e3 * self.quantile(0.8),
            "samples": len(self.samples),
        }

    def sample(self, inner: int, device: torch.device, warm: int = 0) -> float:
        """Return the seconds per call over `inner` consecutive calls, after `warm` untimed ones."""
        if self.remote is not None:
            return self.remote(inner, warm)
        assert self.call is not None
        with num_threads(self.threads):
            return clock(self.call, inner, device, warm)


@contextmanager
def num_threads(count: int | None) -> Iterator[None]:
    """Set the number of torch threads inside the block; None does not change it."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def calls_per_sample(seconds: float) -> int:
    """Return the number of calls in a sample, for calls of this duration."""
    return max(1, int(SAMPLE_SECONDS / max(seconds, 1e-7)))
