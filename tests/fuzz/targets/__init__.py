"""The fuzz targets: each module has a strategy of cases and a function that runs one of them."""

from __future__ import annotations

from types import ModuleType

from . import command_line, core, errors, layers

TARGETS: dict[str, ModuleType] = {"core": core, "errors": errors, "layers": layers, "cli": command_line}
# Of a hundred chunks, how many go to each target.
SHARES = {"core": 85, "errors": 12, "layers": 3}
# The command line takes a tenth of a second a call: one chunk in 500.
RARE = 500


def target_of(chunk: int, only: str | None) -> str:
    """Return the target of a chunk of calls: a fixed pattern, so that a seed always means the same calls."""
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
