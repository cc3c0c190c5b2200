"""Interleaved timing: all candidates are sampled in every round."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from .candidate import SAMPLE_SECONDS, Candidate, calls_per_sample

_MIN_SAMPLES = 3
# Untimed calls before a sample, for calls of up to a second: the first ones reload caches and memory.
_WARM_CALLS = 3
_WARM_SECONDS = 1.0
# Larger than any cache; written before each sample of a cold case.
_FLUSH_BYTES = 256 << 20


def ratio_interval(over: Sequence[float], under: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return a bootstrap interval of median(over) / median(under), from 2,000 resamples of both.

    `scipy.stats.bootstrap` is not used because `make gpu-check` must run without scipy.
    """
    generator, medians = torch.Generator().manual_seed(0), []
    for samples in (over, under):
        draw = torch.randint(len(samples), (2000, len(samples)), generator=generator)
        medians.append(torch.tensor(samples, dtype=torch.float64)[draw].quantile(0.5, dim=1))
    low, high = (medians[0] / medians[1]).quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    return low, high


def time_interleaved(
    candidates: Sequence[Candidate],
    device: torch.device,
    rounds: int,
    budget: float,
    tick: Callable[[float], None] = lambda share: None,
    cold: bool = False,
) -> None:
    """Take one sample of every candidate per round, in an order that changes from round to round.

    Varying load on the machine then affects all candidates equally. A candidate that would take more than `budget`
    seconds skips some rounds, evenly spread, but has at least `_MIN_SAMPLES`. `tick` receives each sample's share of
    the total time. Untimed warm-up calls precede a sample and do not count towards the budget; a cold sample is a
    single call after all caches were overwritten.
    """
    runners = [c for c in candidates if c.call is not None or c.remote is not None]
    strides = [_stride(c.seconds_per_call, rounds, budget) for c in runners]
    inner = [1 if cold else calls_per_sample(c.seconds_per_call) for c in runners]
    limit = 0.0 if cold else _WARM_SECONDS
    warm = [min(n, _WARM_CALLS) * (c.seconds_per_call <= limit) for c, n in zip(runners, inner, strict=True)]
    cost = [(n + w) * max(c.seconds_per_call, 1e-7) for c, n, w in zip(runners, inner, warm, strict=True)]
    total = sum(c * len(range(0, rounds, s)) for c, s in zip(cost, strides, strict=True))
    trash = torch.empty(_FLUSH_BYTES if cold else 0, dtype=torch.uint8, device=device)
    with _no_gc():
        for turn in range(rounds):
            for i in williams_order(len(runners), turn):
                if turn % strides[i] == 0:
                    trash.fill_(turn)
                    runners[i].samples.append(runners[i].sample(inner[i], device, warm[i]))
                    tick(cost[i] / total)


def williams_order(count: int, turn: int) -> list[int]:
    """Return the order of one round by Williams' design.

    Over `count` rounds each candidate takes each place and, if `count` is even, follows each other equally often.
    """
    zigzag = [(i // 2 if i % 2 == 0 else count - 1 - i // 2) for i in range(count)]
    return [(place + turn) % count for place in zigzag]


def _stride(seconds: float, rounds: int, budget: float) -> int:
    """Return every how many rounds a candidate is sampled, so that it stays within the budget."""
    wanted = min(rounds, max(_MIN_SAMPLES, int(budget / max(seconds, SAMPLE_SECONDS))))
    return max(1, rounds // wanted)


@contextmanager
def _no_gc() -> Iterator[None]:
    """Disable the garbage collector, so that its pauses are not part of the samples."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
