"""Measure a comparison of calls and return its result rows."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ..competitors.comparisons import Comparison
from .candidate import Candidate
from .clock import clock
from .interleaved import time_interleaved
from .peak_memory import peak_extra_bytes


def measure(comparison: Comparison, repeats: int, budget: float, device: torch.device) -> list[Candidate]:
    """Check that the calls agree, measure their memory, then time them interleaved.

    A call of more than `budget` seconds is timed only once, while its memory is measured.
    """
    if comparison.agree is not None:
        check(comparison)
    candidates = []
    for name, call in comparison.calls.items():
        if isinstance(call, str):
            candidates.append(Candidate(name, torch.float32, note=call))
            continue
        candidate = Candidate(name, torch.float32, call)
        start = time.perf_counter()
        candidate.extra_memory_bytes = peak_extra_bytes(call, device)
        candidate.seconds_per_call = time.perf_counter() - start
        if candidate.seconds_per_call > budget:
            candidate.samples, candidate.call = [candidate.seconds_per_call], None
        else:
            candidate.seconds_per_call = clock(call, 1, device)
        candidates.append(candidate)
    time_interleaved(candidates, device, repeats, budget)
    return candidates


def check(comparison: Comparison) -> None:
    """Raise RuntimeError unless all results agree with that of the first call."""
    first, *others = ((name, call()) for name, call in comparison.calls.items() if not isinstance(call, str))
    for name, result in others:
        assert isinstance(result, Tensor) and isinstance(first[1], Tensor)
        difference = float((result - first[1]).abs().max() / first[1].abs().max())
        if not difference <= comparison.agree:
            raise RuntimeError(f"{comparison.name}: {name} differs from {first[0]} by {difference:.2g}")


def rows_of(comparison: Comparison, candidates: Sequence[Candidate], run: dict[str, object]) -> list[dict[str, object]]:
    """Return one row per call with the columns `IMPLICIT_COLUMNS`."""
    base = candidates[0].quantile(0.5)
    return [
        run
        | {
            "case": comparison.name,
            "num_nodes": comparison.num_nodes,
            "width": comparison.width,
            "call": c.method,
            "output_bytes": 4 * comparison.num_nodes * comparison.width,
            "note": c.note,
            **(_timed(c, base) if c.samples else {}),
        }
        for c in candidates
    ]


def _timed(c: Candidate, base: float) -> dict[str, object]:
    return {
        **c.timing(),
        "ratio_to_first": c.quantile(0.5) / base,
        "extra_memory_bytes": c.extra_memory_bytes,
    }
