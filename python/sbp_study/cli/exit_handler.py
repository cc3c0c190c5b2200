"""How a command ends: its exit status, and the one line on stderr that says why and how to go on.

This module imports no library: signals must be caught before the seconds that the imports of torch take.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from ..errors import explain

# Time for files and progress bars to close after a signal, before the process ends in any case.
_GRACE_SECONDS = 5.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class ExitHandler:
    """A context that turns errors and signals into an exit status.

    0: done. 2: an error that the user can mend. 130 and 143: stopped by SIGINT or SIGTERM. 141: nobody reads stdout.
    Other exceptions are defects of the program and leave the context as they are. `hint` says how to resume.
    """

    def __init__(self) -> None:
        self.status, self.hint = 0, ""
        self._signal: int | None = None
        self._said = False
        self._caught: list[int] = []

    def __enter__(self) -> ExitHandler:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if self._signal is None and isinstance(error, KeyboardInterrupt):
            self._signal = signal.SIGINT
        # Imports may convert the interrupt into another exception: the signal decides, not the exception's class.
        if self._signal is not None:
            self._say_stopped()
            _drop_stdout()
            self.status = 128 + self._signal
            return True
        if error is None or isinstance(error, SystemExit):
            error = _flush_stdout() or error
        if isinstance(error, BrokenPipeError):
            _drop_stdout()
            self.status = 128 + signal.SIGPIPE
            return True
        sentence = None if error is None else explain(error)
        if sentence is None:
            return False
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_SPACE:
            # All files are written with their names: only a print has none.
            sentence = f"standard output: {sentence}"
            _drop_stdout()
        with suppress(OSError):
            print(f"error: {sentence}", file=sys.stderr)
        self.status = 2
        return True

    def catch_signals(self) -> None:
        """End on SIGINT and SIGTERM with one line; a signal that the parent process ignores stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
                self._caught.append(number)
        sys.unraisablehook = self._on_unraisable

    def ignore_signals(self) -> None:
        """Ignore the signals that were caught: the command is over, and its interpreter about to end."""
        for number in self._caught:
            signal.signal(number, signal.SIG_IGN)
        if self._caught:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._signal is not None:
            self._end_now()
        self._signal = number
        # A library may swallow the exception; then the alarm ends the process. No file is lost: all are written whole.
        signal.signal(signal.SIGALRM, self._end_now)
        signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS)
        raise KeyboardInterrupt

    def _on_unraisable(self, found: Any) -> None:
        # Python swallows what is raised in finalizers and weak reference callbacks, an interrupt too.
        if self._signal is not None:
            self._end_now()
        sys.__unraisablehook__(found)

    def _end_now(self, *_: object) -> None:
        self._say_stopped()
        os._exit(128 + (self._signal or 0))

    def _say_stopped(self) -> None:
        self.ignore_signals()
        if self._said:
            return
        self._said = True
        word = "interrupted" if self._signal == signal.SIGINT else "terminated"
        line = f"{word}: {self.hint}" if self.hint else word
        if self._caught:
            # A progress bar may stand on the line. Not print: the signal may have come while a print held the stream.
            clear = b"\x1b[?25h\r\x1b[K" if os.isatty(2) else b""
            with suppress(OSError):
                os.write(2, clear + line.encode() + b"\n")
        else:
            print(line, file=sys.stderr)


def _flush_stdout() -> OSError | None:
    """Write what stdout has buffered; return why that failed, after which the interpreter will not try again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        return error
    return None


def _drop_stdout() -> None:
    """Send what stdout still holds nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
