"""The rooms of the fuzzer: each has a strategy of cases and runs one of them."""

from __future__ import annotations

from types import ModuleType

from . import abuse, command_line, core, layers

ROOMS: dict[str, ModuleType] = {"core": core, "errors": abuse, "layers": layers, "cli": command_line}
# Of a hundred chunks, how many go to each room.
SHARES = {"core": 85, "errors": 12, "layers": 3}
# The command line takes a tenth of a second a call: one chunk in 500.
RARE = 500


def room_of(chunk: int, only: str | None) -> str:
    """The room of a chunk of calls: a fixed pattern, so that a seed always means the same calls."""
    if only is not None:
        return only
    if chunk % RARE == RARE - 1:
        return "cli"
    place = chunk * 37 % 100
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return "core"
