"""A progress bar over cases of unequal length, with the remaining time."""

from __future__ import annotations

from collections.abc import Sequence

from rich import progress as bars
from rich.console import Console


class Progress:
    """Call `start` for each case, then `tick` with shares of the case that sum to 1."""

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
            # Cases differ greatly in speed: estimate from all completed work.
            speed_estimate_period=float("inf"),
        )
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def start(self, label: str) -> None:
        """Begin the next case; the last one counts as complete."""
        self._case += 1
        self._label = label
        self._bar.update(self._task, completed=sum(self._shares[: self._case]), description=label)

    def tick(self, share: float, doing: str) -> None:
        """Advance by a share of the case, and show a new activity unless `doing` is empty."""
        if doing:
            self._bar.update(self._task, description=f"{self._label}: {doing}")
        self._bar.advance(self._task, share * self._shares[self._case])
