"""A progress bar over cases of unequal length, with the time left."""

from __future__ import annotations

from collections.abc import Sequence

from rich import progress as bars
from rich.console import Console


class Progress:
    """`start` each case in turn, then `tick` through it by shares that add up to 1."""

    def __init__(self, console: Console, work: Sequence[float]) -> None:
        total = sum(work)
        self._shares = [w / total for w in work]
        self._case = -1
        self._label = ""
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            # Cases differ much in speed: estimate from all that has been done.
            speed_estimate_period=float("inf"),
        )
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def start(self, label: str) -> None:
        """Go on to the next case; what the last one left over counts as done."""
        self._case += 1
        self._label = label
        self._bar.update(self._task, completed=sum(self._shares[: self._case]), description=label)

    def tick(self, share: float, doing: str) -> None:
        """Advance by a share of the case, and say what is being done if that changed."""
        if doing:
            self._bar.update(self._task, description=f"{self._label}: {doing}")
        self._bar.advance(self._task, share * self._shares[self._case])
