"""From a case of implicit negatives or several steps to its rows."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from .clock import clock
from .harness import Contestant, race
from .implicit_cases import Case
from .memory import peak_extra_bytes


def measure(case: Case, repeats: int, budget: float, device: torch.device) -> list[Contestant]:
    """Check that the calls agree, look at their memory, then time them in turns.

    A call of more than `budget` seconds is timed once, while its memory is looked at.
    """
    if case.agree is not None:
        check(case)
    contestants = []
    for name, call in case.calls.items():
        if isinstance(call, str):
            contestants.append(Contestant(name, torch.float32, note=call))
            continue
        entrant = Contestant(name, torch.float32, call)
        start = time.perf_counter()
        entrant.extra_memory_bytes = peak_extra_bytes(call, device)
        entrant.seconds_per_call = time.perf_counter() - start
        if entrant.seconds_per_call > budget:
            entrant.samples, entrant.call = [entrant.seconds_per_call], None
        else:
            entrant.seconds_per_call = clock(call, 1, device)
        contestants.append(entrant)
    race(contestants, device, repeats, budget)
    return contestants


def check(case: Case) -> None:
    """Raise RuntimeError unless all calls give what the first one gives."""
    first, *others = ((name, call()) for name, call in case.calls.items() if not isinstance(call, str))
    for name, result in others:
        assert isinstance(result, Tensor) and isinstance(first[1], Tensor)
        difference = float((result - first[1]).abs().max() / first[1].abs().max())
        if not difference <= case.agree:
            raise RuntimeError(f"{case.name}: {name} differs from {first[0]} by {difference:.2g}")


def rows_of(case: Case, contestants: Sequence[Contestant], run: dict[str, object]) -> list[dict[str, object]]:
    """One row a call, by the columns of `records.IMPLICIT_COLUMNS`."""
    base = contestants[0].quantile(0.5)
    return [
        run
        | {
            "case": case.name,
            "num_nodes": case.num_nodes,
            "width": case.width,
            "call": c.method,
            "output_bytes": 4 * case.num_nodes * case.width,
            "note": c.note,
            **(_timed(c, base) if c.samples else {}),
        }
        for c in contestants
    ]


def _timed(c: Contestant, base: float) -> dict[str, object]:
    return {
        **c.timing(),
        "ratio_to_first": c.quantile(0.5) / base,
        "extra_memory_bytes": c.extra_memory_bytes,
    }
