"""Who is timed: checked against the oracle first, then in turns with the others."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .clock import clock
from .memory import peak_extra_bytes
from .methods import METHODS
from .oracle import Coefficients, Oracle
from .problem import Prepared, Problem
from .records import BACKWARD, FORWARD, LEARNS, OURS
from .workloads import Workload

# A sample repeats calls shorter than this, so that the clock's own cost does not count.
_SAMPLE_SECONDS = 4e-3
_MIN_SAMPLES = 3
# Before a sample, as first calls find a competitor's data in the caches and memory given back; for calls of a second.
_WARM_CALLS = 3
_WARM_SECONDS = 1.0
# More than any cache holds; written before each sample of a cold case.
_FLUSH_BYTES = 256 << 20


@dataclass(frozen=True)
class Case:
    """One thing to measure, for every method; `cache` is "warm" or "cold"."""

    graph: Workload
    width: int
    mode: str
    coefficients: Coefficients = field(default_factory=Coefficients)
    cache: str = "warm"


@dataclass
class Contestant:
    """One method at one dtype in one case; `note` says why it is not timed, or not by the native backend.

    `remote` times it in another process instead; `threads` and `isa` are set where they are not the run's own.
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

    def sample(self, inner: int, device: torch.device, warm: int = 0) -> float:
        """Seconds per call over `inner` calls in a row, after `warm` others."""
        if self.remote is not None:
            return self.remote(inner, warm)
        assert self.call is not None
        with num_threads(self.threads):
            return clock(self.call, inner, device, warm)


@contextmanager
def num_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads inside; None leaves them as they are."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ratio_interval(over: Sequence[float], under: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """A bootstrap interval of median(over) / median(under): both are drawn again, 2,000 times."""
    generator, medians = torch.Generator().manual_seed(0), []
    for samples in (over, under):
        draw = torch.randint(len(samples), (2000, len(samples)), generator=generator)
        medians.append(torch.tensor(samples, dtype=torch.float64)[draw].quantile(0.5, dim=1))
    low, high = (medians[0] / medians[1]).quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    return low, high


def admit(method: str, case: Case, oracle: Oracle, dtype: torch.dtype) -> Contestant:
    """Prepare a method, check its result and gradients, measure its memory.

    A method that is not installed, or that cannot do this here, comes back with the reason and no
    call; a wrong result raises `WrongResult`, so that nothing wrong is ever timed.
    """
    x, grad = oracle.inputs(case.width)
    entrant = Contestant(method, dtype)
    try:
        problem, leaves = _problem(case, x)
        with warnings.catch_warnings():
            # torch calls its sparse CSR support a beta at the first tensor, wherever that is made.
            warnings.simplefilter("ignore")
            prepared = METHODS[method](problem)
            call = _step(prepared, case.mode, x, grad, leaves)
            result = call()
    except (RuntimeError, NotImplementedError, ImportError) as error:
        # Ours must run: without it there is nothing to compare.
        if method == OURS:
            raise
        kind = "not installed: " if isinstance(error, ImportError) else "not supported: "
        entrant.note = kind + (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        return entrant
    learns = LEARNS.get(case.mode, "")
    oracle.check(f"{method} ({dtype}, d={case.width})", result, slack=prepared.slack, learns=learns)
    del result
    entrant.call, entrant.backend, entrant.note = call, prepared.backend, prepared.note
    start = time.perf_counter()
    entrant.extra_memory_bytes = peak_extra_bytes(call, x.device)
    entrant.seconds_per_call = time.perf_counter() - start
    # The look at the memory counts in the time of a short call only; a very short one is timed as often as it will be.
    if entrant.seconds_per_call < 0.5:
        entrant.seconds_per_call = clock(call, 1, x.device)
        entrant.seconds_per_call = clock(call, _calls(entrant.seconds_per_call), x.device)
    return entrant


def _problem(case: Case, x: Tensor) -> tuple[Problem, list[Tensor]]:
    """What the method is given, and what takes a gradient besides x."""
    learns, c, graph = LEARNS.get(case.mode, ""), case.coefficients, case.graph
    leaves: list[Tensor] = []
    if learns == "coefficients":
        c = c.learning(x)
        leaves = list(vars(c).values())
    elif learns == "weights":
        weights = {k: getattr(graph, k).to(x.dtype).requires_grad_() for k in ("pos_weight", "neg_weight")}
        graph, leaves = replace(graph, **weights), list(weights.values())
    return Problem(graph, x, c, learns), leaves


def _step(
    prepared: Prepared, mode: str, x: Tensor, grad: Tensor, leaves: Sequence[Tensor] = ()
) -> Callable[[], tuple[Tensor, ...]]:
    """What one timed call does: y, or y and the gradients."""
    if mode == FORWARD:
        return lambda: (prepared.run(x),)
    if mode not in (BACKWARD, *LEARNS):
        raise ValueError(f"mode must be one of {', '.join((FORWARD, BACKWARD, *LEARNS))}, got {mode!r}")
    leaf = x.detach().requires_grad_()

    def step() -> tuple[Tensor, ...]:
        y = prepared.run(leaf)
        return (y, *torch.autograd.grad(y, [leaf, *leaves], grad))

    return step


def race(
    contestants: Sequence[Contestant],
    device: torch.device,
    rounds: int,
    budget: float,
    tick: Callable[[float], None] = lambda share: None,
    cold: bool = False,
) -> None:
    """Sample every contestant once a round, in an order that changes from round to round.

    Load that comes and goes on the machine then falls on all alike. A contestant that would take
    more than `budget` seconds sits out some rounds, evenly spread, but keeps `_MIN_SAMPLES`.
    `tick` is told the share of the race that each sample was. A sample follows calls of its own that count neither
    as time nor to the budget; a cold one is a single call after all caches were overwritten.
    """
    runners = [c for c in contestants if c.call is not None or c.remote is not None]
    strides = [_stride(c.seconds_per_call, rounds, budget) for c in runners]
    inner = [1 if cold else _calls(c.seconds_per_call) for c in runners]
    limit = 0.0 if cold else _WARM_SECONDS
    warm = [min(n, _WARM_CALLS) * (c.seconds_per_call <= limit) for c, n in zip(runners, inner, strict=True)]
    cost = [(n + w) * max(c.seconds_per_call, 1e-7) for c, n, w in zip(runners, inner, warm, strict=True)]
    total = sum(c * len(range(0, rounds, s)) for c, s in zip(cost, strides, strict=True))
    trash = torch.empty(_FLUSH_BYTES if cold else 0, dtype=torch.uint8, device=device)
    with _no_gc():
        for turn in range(rounds):
            for i in _order(len(runners), turn):
                if turn % strides[i] == 0:
                    trash.fill_(turn)
                    runners[i].samples.append(runners[i].sample(inner[i], device, warm[i]))
                    tick(cost[i] / total)


def _calls(seconds: float) -> int:
    """How many calls of so many seconds make a sample."""
    return max(1, int(_SAMPLE_SECONDS / max(seconds, 1e-7)))


def _order(count: int, turn: int) -> list[int]:
    """Williams' design: over `count` turns each takes each place and, if even, follows every other equally often."""
    zigzag = [(i // 2 if i % 2 == 0 else count - 1 - i // 2) for i in range(count)]
    return [(place + turn) % count for place in zigzag]


def _stride(seconds: float, rounds: int, budget: float) -> int:
    wanted = min(rounds, max(_MIN_SAMPLES, int(budget / max(seconds, _SAMPLE_SECONDS))))
    return max(1, rounds // wanted)


@contextmanager
def _no_gc() -> Iterator[None]:
    """Keep the garbage collector's pauses out of the samples."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
