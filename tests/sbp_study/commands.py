"""Helpers that run commands in this process and in separate processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sbp_study.cli.commands import main

ROOT = Path(__file__).parents[2]


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must end with exit status 2 and one line on stderr; return that line."""
    capsys.readouterr()
    try:
        status = main(list(argv))
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else 1
    out, err = capsys.readouterr()
    assert status == 2 and out == "", (status, out, err)
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


@contextmanager
def started(*argv: str, code: str = "", **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m sbp_study argv` in its own session and kill it at the end of the block; `code` runs first."""
    run = "import runpy; runpy.run_module('sbp_study', run_name='__main__', alter_sys=True)"
    path = os.pathsep.join([str(ROOT / "python"), str(ROOT), *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONUNBUFFERED", None)
    plain = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    # A suite in the background of a shell ignores SIGINT, and a child process would inherit that.
    plain["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-c", f"{code}\n{run}", *argv]
    with subprocess.Popen(command, env=environment, **{**plain, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    """Poll until `true()`; fail if the process exits or time runs out first."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.005)
