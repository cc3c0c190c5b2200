"""Convert errors and signals into an exit status and one line on stderr that says why and how to resume.

This module imports only the standard library: importing torch takes seconds, and signals must be handled before that.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from ..errors import explain

# Files and progress bars have this long to close after a signal; then the process exits.
_GRACE_SECONDS = 5.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class ExitHandler:
    """A context that converts errors and signals into an exit status.

    0: success. 2: an error that the user can fix. 130 and 143: SIGINT or SIGTERM. 141: the reader of stdout closed it.
    Other exceptions are defects of the program and propagate. `hint` tells the user how to resume.
    """

    def __init__(self) -> None:
        self.status, self.hint = 0, ""
        self._signal: int | None = None
        self._reported = False
        self._caught: list[int] = []

    def __enter__(self) -> ExitHandler:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if self._signal is None and isinstance(error, KeyboardInterrupt):
            self._signal = signal.SIGINT
        # An import may convert the interrupt into another exception, so the signal decides, not the type.
        if self._signal is not None:
            self._report_stop()
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
            # Errors of files carry a file name; only an error of `print` has none.
            sentence = f"standard output: {sentence}"
            _drop_stdout()
        with suppress(OSError):
            print(f"error: {sentence}", file=sys.stderr)
        self.status = 2
        return True

    def catch_signals(self) -> None:
        """Exit with one line on SIGINT and SIGTERM. A signal that the parent process ignores stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
                self._caught.append(number)
        sys.unraisablehook = self._on_unraisable

    def ignore_signals(self) -> None:
        """Ignore the handled signals: the command is complete and the interpreter is about to exit."""
        for number in self._caught:
            signal.signal(number, signal.SIG_IGN)
        if self._caught:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._signal is not None:
            self._end_now()
        self._signal = number
        # A library may swallow the exception; then the alarm ends the process. Files are safe: all writes are atomic.
        signal.signal(signal.SIGALRM, self._end_now)
        signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS)
        raise KeyboardInterrupt

    def _on_unraisable(self, found: Any) -> None:
        # Python swallows exceptions of finalizers and weak reference callbacks, including the interrupt.
        if self._signal is not None:
            self._end_now()
        sys.__unraisablehook__(found)

    def _end_now(self, *_: object) -> None:
        self._report_stop()
        os._exit(128 + (self._signal or 0))

    def _report_stop(self) -> None:
        self.ignore_signals()
        if self._reported:
            return
        self._reported = True
        word = "interrupted" if self._signal == signal.SIGINT else "terminated"
        line = f"{word}: {self.hint}" if self.hint else word
        if self._caught:
            # Show the cursor and clear the line, in case of a progress bar. `print` is not safe here: the signal may
            # have interrupted another `print`, which holds the lock of the stream.
            clear = b"\x1b[?25h\r\x1b[K" if os.isatty(2) else b""
            with suppress(OSError):
                os.write(2, clear + line.encode() + b"\n")
        else:
            print(line, file=sys.stderr)


def _flush_stdout() -> OSError | None:
    """Flush stdout. On failure, return the error and discard the buffer, so that the interpreter does not retry."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _drop_stdout()
        return error
    return None


def _drop_stdout() -> None:
    """Redirect stdout to the null device, which discards its buffer."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
