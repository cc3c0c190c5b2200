"""The rooms of the fuzzer: each has a strategy of cases and runs one of them."""

from __future__ import annotations

from types import ModuleType

from . import abuse, core

ROOMS: dict[str, ModuleType] = {"core": core, "errors": abuse}
# Of a hundred chunks, how many go to each room.
SHARES = {"core": 86, "errors": 14}


def room_of(chunk: int, only: str | None) -> str:
    """The room of a chunk of calls: a fixed pattern, so that a seed always means the same calls."""
    if only is not None:
        return only
    place = chunk * 37 % 100
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return "core"
