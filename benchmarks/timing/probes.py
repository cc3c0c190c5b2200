"""The compiled probes of the roofline on the CPU, and the search for the fastest one in a case."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from ..reporting.run_info import device_slug
from .clock import clock

Call = Callable[[], object]

SOURCE = Path(__file__).with_name("probes.cpp")
# Compiled for this very processor, so that each kind of processor has its own folder.
FOLDER = Path(__file__).parents[2] / "build/probes"
FLAGS = ["-O3", "-march=native", "-fopenmp", "-fvisibility=hidden", "-Wno-psabi"]
# The fastest variants of a search are timed interleaved with the methods.
_FINALISTS = 3
# A variant of the search is timed until this many calls or seconds, at least once.
_CALLS, _SECONDS = 5, 0.1
_NONE, _L2, _L1 = 0, 2, 3


@dataclass(frozen=True)
class Variant:
    """A way to gather: prefetch locality and distance in edges, edges per iteration, bytes of a packed tile (0: none).

    The fields are in the order of the arguments of `Gather.run`.
    """

    hint: int = _NONE
    unroll: int = 2
    ahead: int = 0
    tile: int = 0

    def __str__(self) -> str:
        where = {_NONE: "no prefetch", _L2: f"L2, {self.ahead} ahead", _L1: f"L1, {self.ahead} ahead"}[self.hint]
        return f"gather: {where}, {self.unroll} edges" + f", tiles of {self.tile} bytes" * bool(self.tile)


@lru_cache(1)
def compiled() -> ModuleType:
    """Build the probes with ninja if they are new or have changed, and return their module."""
    from torch.utils.cpp_extension import load

    folder = FOLDER / device_slug(torch.device("cpu"))
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Any] = {"sources": [str(SOURCE)], "build_directory": str(folder)}
    with FileLock(folder / "build.lock"):
        # torch waits for its own lock forever, and a build that was killed leaves it. Here nobody else can hold it.
        (folder / "lock").unlink(missing_ok=True)
        return load("sbp_probes", extra_cflags=FLAGS, extra_ldflags=["-fopenmp"], **paths)


@lru_cache(1)
def missing() -> str | None:
    """Return why there are no compiled probes, such as a missing compiler; None if there are."""
    try:
        compiled()
    except (RuntimeError, ImportError, OSError) as error:
        return f"not supported: the probes were not built: {str(error).splitlines()[0][:100]}"
    return None


def gathers(x: Tensor, col: Tensor) -> dict[str, Call]:
    """Return the fastest variants that read row col[e] of x for every edge e; each call returns the XOR of all rows."""
    row_bytes = x.size(1) * x.element_size()
    gather = compiled().Gather(x, row_bytes, col.int())

    def call(variant: Variant) -> Call:
        arguments = astuple(variant)
        return lambda: gather.run(*arguments)

    seconds: dict[Variant, float] = {}
    for step in _SEARCH:
        best = min(seconds, key=seconds.__getitem__, default=Variant())
        for variant in step(best, row_bytes):
            if variant not in seconds:
                seconds[variant] = _shortest(call(variant))
    return {str(v): call(v) for v in heapq.nsmallest(_FINALISTS, seconds, seconds.__getitem__)}


def _prefetches(best: Variant, row_bytes: int) -> Iterable[Variant]:
    yield replace(best, hint=_NONE, ahead=0)
    for hint, ahead in ((_L2, 12), (_L2, 24), (_L2, 48), (_L1, 4), (_L1, 8), (_L1, 16), (_L1, 32)):
        yield replace(best, hint=hint, ahead=ahead)


def _unrolls(best: Variant, row_bytes: int) -> Iterable[Variant]:
    return (replace(best, unroll=unroll) for unroll in (1, 2, 4))


def _tiles(best: Variant, row_bytes: int) -> Iterable[Variant]:
    for tile in (64, 128, 256, 512):
        if row_bytes % tile == 0 and row_bytes > tile:
            # A tile that fits into the second-level cache needs another prefetch than the whole x, or none.
            for hint, ahead in ((_NONE, 0), (_L1, 12), (_L2, 24)):
                yield replace(best, tile=tile, hint=hint, ahead=ahead)


# Later steps vary the best variant of all steps before them.
_SEARCH = (_prefetches, _unrolls, _tiles, _unrolls)


def _shortest(call: Call) -> float:
    call()
    times: list[float] = []
    while len(times) < _CALLS and sum(times) < _SECONDS:
        times.append(clock(call, 1, torch.device("cpu")))
    return min(times)


def streams(source: Tensor, read: int, target: Tensor, written: int) -> dict[str, Call]:
    """Return calls that copy `written` bytes of source to target and read the rest of its `read` bytes, in lines.

    One call uses non-temporal stores. A last part of a 64-byte line is not moved.
    """
    stream, lines = compiled().stream, (read // 64, written // 64)

    def call(non_temporal: bool) -> Call:
        # The result holds both tensors, whose memory the probe uses.
        return lambda: stream(source.data_ptr(), lines[0], target.data_ptr(), lines[1], non_temporal)

    return {"stream": call(False), "stream, non-temporal": call(True)}
