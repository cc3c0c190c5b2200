"""Progress bars on stderr. They are shown only if stderr is a terminal."""

from __future__ import annotations

import time
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

# `update` redraws at most this often: an epoch on a small graph takes 2 ms, less than a redraw.
_SECONDS_PER_REDRAW = 0.1


class RaisingConsole(Console):
    """A rich console that raises BrokenPipeError, which `ExitHandler` converts, instead of exiting the process."""

    def on_broken_pipe(self) -> None:
        raise


@cache
def stderr_console() -> Console:
    """Return the console on stderr, which nested bars and the lines above them must share."""
    return RaisingConsole(stderr=True)


def note(text: str) -> None:
    """Print a line on stderr, above the progress bars."""
    stderr_console().print(text, markup=False, highlight=False, soft_wrap=True)


class ProgressBar:
    """A context that shows how many of `total` units are complete. Bars may be nested."""

    def __init__(self, description: str, total: int, unit: str, shown: bool, completed: int = 0) -> None:
        console = stderr_console()
        self._shown = shown and console.is_terminal
        self._completed, self._next_redraw = completed, 0.0
        # No refresh thread: a signal then always interrupts the main thread, which is the only one that draws.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}s, remaining"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._shown,
        )
        self._task = self._progress.add_task(description, total=total, completed=completed)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def describe(self, description: str) -> None:
        """Change the text in front of the bar."""
        if self._shown:
            self._progress.update(self._task, description=description, refresh=True)

    def update(self, units: int = 1) -> None:
        """Count further units as complete."""
        self._completed += units
        if self._shown and time.monotonic() >= self._next_redraw:
            self._progress.update(self._task, completed=self._completed, refresh=True)
            self._next_redraw = time.monotonic() + _SECONDS_PER_REDRAW
