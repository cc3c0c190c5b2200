"""Decoding of random bytes into choices: one byte a choice, where byte 0 is the simplest option.

Hypothesis draws one byte string for a graph and one for each call, which costs 30 microseconds instead of the 400 of
a strategy a field, and shrinks every byte towards 0, so towards the simplest option.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Table = tuple[Any, ...]


def table(*options: tuple[Any, int]) -> Table:
    """Return 256 entries that hold the options in order, each as often as its weight says."""
    total = sum(weight for _, weight in options)
    entries: list[Any] = []
    seen = 0
    for option, weight in options:
        seen += weight
        entries += [option] * max(round(256 * seen / total) - len(entries), 1)
    return tuple(entries[:256])


def spread(low: int, high: int) -> Table:
    """Return 256 entries that run evenly from `low` to `high`."""
    return tuple(low + i * (high + 1 - low) // 256 for i in range(256))


class Reader:
    """Reads choices off a byte string; behind its end every byte is 0."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def pick(self, options: Table) -> Any:
        return options[self.byte()]

    def one_of(self, options: Sequence[Any]) -> Any:
        return options[self.byte() * len(options) >> 8]

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, of two bytes."""
        return low + ((self.byte() << 8 | self.byte()) * (high + 1 - low) >> 16)

    def seed(self) -> int:
        return self.byte() << 8 | self.byte()

    def chance(self, percent: int) -> bool:
        return self.byte() >= 256 - 256 * percent // 100
