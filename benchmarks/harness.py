"""Admit methods whose results are right, then time them in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .memory import peak_extra_bytes
from .methods import METHODS, Prepared, Problem
from .oracle import Coefficients, Oracle
from .records import MODES, OURS
from .workloads import Workload

# A sample repeats calls shorter than this, so that the clock's own cost does not count.
_SAMPLE_SECONDS = 2e-3
_MIN_SAMPLES = 3
# Short calls are measured warm: the first ones after a competitor's turn find its data in the caches.
_WARM_CALLS = 3


@dataclass(frozen=True)
class Case:
    """One thing to measure, for every method."""

    graph: Workload
    width: int
    mode: str
    coefficients: Coefficients = field(default_factory=Coefficients)


@dataclass
class Contestant:
    """One method at one dtype in one case; `note` says why it is not timed, or not by the native backend."""

    method: str
    dtype: torch.dtype
    call: Callable[[], object] | None = None
    backend: str = ""
    note: str = ""
    extra_memory_bytes: int = 0
    seconds_per_call: float = 0.0
    samples: list[float] = field(default_factory=list)

    def quantile(self, q: float) -> float:
        """Seconds per call."""
        return torch.tensor(self.samples, dtype=torch.float64).quantile(q).item()

    def timing(self) -> dict[str, float]:
        """The columns of results that say how long a call took."""
        return {
            "p20_ms": 1e3 * self.quantile(0.2),
            "median_ms": 1e3 * self.quantile(0.5),
            "p80_ms": 1e3 * self.quantile(0.8),
            "samples": len(self.samples),
        }


def admit(method: str, case: Case, oracle: Oracle, dtype: torch.dtype) -> Contestant:
    """Prepare a method, check its result and gradient, measure its memory.

    A method that torch does not support here comes back with the reason and no call; a wrong
    result raises `WrongResult`, so that nothing wrong is ever timed.
    """
    x, grad = oracle.inputs(case.width)
    entrant = Contestant(method, dtype)
    try:
        prepared = METHODS[method](Problem(case.graph, x, case.coefficients))
        call = _step(prepared, case.mode, x, grad)
        result = call()
    except (RuntimeError, NotImplementedError) as error:
        # Ours must run: without it there is nothing to compare.
        if method == OURS:
            raise
        entrant.note = "not supported: " + str(error).strip().splitlines()[0][:120]
        return entrant
    oracle.check(f"{method} ({dtype}, d={case.width})", result, slack=prepared.slack)
    del result
    entrant.call, entrant.backend, entrant.note = call, prepared.backend, prepared.note
    start = time.perf_counter()
    entrant.extra_memory_bytes = peak_extra_bytes(call, x.device)
    entrant.seconds_per_call = time.perf_counter() - start
    # The look at the memory counts in the time of a short call only.
    if entrant.seconds_per_call < 0.5:
        entrant.seconds_per_call = clock(call, 1, x.device)
    return entrant


def _step(prepared: Prepared, mode: str, x: Tensor, grad: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """What one timed call does: y, or y and the gradient of x."""
    if mode == "forward":
        return lambda: (prepared.run(x),)
    if mode != "forward+backward":
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    leaf = x.detach().requires_grad_()

    def step() -> tuple[Tensor, ...]:
        y = prepared.run(leaf)
        return (y, *torch.autograd.grad(y, leaf, grad))

    return step


def race(
    contestants: Sequence[Contestant],
    device: torch.device,
    rounds: int,
    budget: float,
    tick: Callable[[float], None] = lambda share: None,
) -> None:
    """Sample every contestant once a round, in an order that changes from round to round.

    Load that comes and goes on the machine then falls on all alike. A contestant that would take
    more than `budget` seconds sits out some rounds, evenly spread, but keeps `_MIN_SAMPLES`.
    `tick` is told the share of the race that each sample was.
    """
    runners = [c for c in contestants if c.call is not None]
    calls = [c.call for c in contestants if c.call is not None]
    strides = [_stride(c.seconds_per_call, rounds, budget) for c in runners]
    inner = [max(1, int(_SAMPLE_SECONDS / max(c.seconds_per_call, 1e-7))) for c in runners]
    cost = [max(c.seconds_per_call, _SAMPLE_SECONDS) for c in runners]
    total = sum(c * len(range(0, rounds, s)) for c, s in zip(cost, strides, strict=True))
    with _no_gc():
        for turn in range(rounds):
            for i in _order(len(runners), turn):
                if turn % strides[i] == 0:
                    runners[i].samples.append(clock(calls[i], inner[i], device))
                    tick(cost[i] / total)


def _order(count: int, turn: int) -> list[int]:
    """Williams' design: over `count` turns each contestant takes each place and, for even
    `count`, follows every other equally often."""
    zigzag = [(i // 2 if i % 2 == 0 else count - 1 - i // 2) for i in range(count)]
    return [(place + turn) % count for place in zigzag]


def _stride(seconds: float, rounds: int, budget: float) -> int:
    wanted = min(rounds, max(_MIN_SAMPLES, int(budget / max(seconds, _SAMPLE_SECONDS))))
    return max(1, rounds // wanted)


def clock(call: Callable[[], object], inner: int, device: torch.device) -> float:
    """Seconds per call, over `inner` calls in a row; several calls are warmed up first."""
    for _ in range(_WARM_CALLS if inner > 1 else 0):
        call()
    if device.type == "cuda":
        return _clock_cuda(call, inner, device)
    start = time.perf_counter()
    for _ in range(inner):
        call()
    return (time.perf_counter() - start) / inner


def _clock_cuda(call: Callable[[], object], inner: int, device: torch.device) -> float:
    # Events lie on the current stream of the current device: make that the tensors' own.
    with torch.cuda.device(device):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(inner):
            call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3 / inner


@contextmanager
def _no_gc() -> Iterator[None]:
    """Keep the garbage collector's pauses out of the samples."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
