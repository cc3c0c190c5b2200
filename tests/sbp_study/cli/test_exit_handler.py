"""Exit status and message: signals at any moment, a closed pipe, and output that cannot be written."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from sbp_study.cli.commands import main
from tests.sbp_study.commands import ROOT, started, wait_until

# Whole commands in processes of their own: 2 minutes on one core.
pytestmark = pytest.mark.slow

LONG = ("train", "--dataset", "karate", "--model", "gcn", "--seeds", "1", "--epochs", "1000000")
STUDY = ("depth", "--dataset", "karate", "--models", "gcn", "--layers", "2", "--seeds", "1", "--epochs", "1000000")
STATUS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
_UNBUFFERED = "import io, sys; sys.stdout = io.TextIOWrapper(io.FileIO(1, 'w'), write_through=True)"
_CALL = "import os, signal; call = lambda: os.kill(os.getpid(), signal.{name})\n"
# Moments at which a process signals itself, as code that runs before the command.
MOMENTS = {
    "in the imports": """
import sys
class Finder:
    def find_spec(self, name, *rest):
        if name == {module!r}: call()
sys.meta_path.insert(0, Finder())
""",
    "in an import that turns the interrupt into an ImportError": """
import sys
class Finder:
    def find_spec(self, name, *rest):
        if name == 'torch_geometric.data':
            try: call(); time.sleep(1)
            except BaseException as error: raise ImportError('initialisation failed') from error
import time
sys.meta_path.insert(0, Finder())
""",
    "in a finalizer": """
from sbp_study.training.progress import ProgressBar
class Late:
    def __del__(self): call(); list(range(1000))
plain = ProgressBar.__init__
def init(self, *a, **k): plain(self, *a, **k); Late()
ProgressBar.__init__ = init
""",
    "in a library that catches every exception": """
import sbp_study.cli.exit_handler
from sbp_study.training.progress import ProgressBar

sbp_study.cli.exit_handler._GRACE_SECONDS = 0.5
def update(self, n=1):
    try: call(); list(range(1000))
    except: pass
ProgressBar.update = update
""",
    "in a progress bar": """
from sbp_study.training.progress import ProgressBar
plain, epochs = ProgressBar.update, []
def update(self, n=1):
    epochs.append(n)
    if len(epochs) > 20: call()
    return plain(self, n)
ProgressBar.update = update
""",
    "twice": """
from sbp_study.training.progress import ProgressBar
def update(self, n=1):
    try: call()
    finally: call()
ProgressBar.update = update
""",
}
MODULES = ("argparse", "torch", "torch.nn.modules.linear", "torch_geometric")


def _ends(process: subprocess.Popen[str], number: signal.Signals, hint: str = "") -> None:
    """Check the exit status, and that stderr is one line."""
    out, err = process.communicate(timeout=60)
    status, word = STATUS[number]
    assert (process.returncode, out) == (status, ""), (process.returncode, out, err)
    assert err.startswith(word) and err.count("\n") == 1 and "Traceback" not in err and hint in err, err


def _moments() -> list[tuple[str, str]]:
    cases = [(name, code) for name, code in MOMENTS.items() if "{module" not in code]
    return cases + [(f"import of {name}", MOMENTS["in the imports"].format(module=name)) for name in MODULES]


CASES = [(signal.SIGINT, name, code) for name, code in _moments()]
CASES += [(signal.SIGTERM, name, code) for name, code in _moments() if name in ("in a progress bar", "import of torch")]


@pytest.mark.parametrize(("number", "moment", "code"), CASES, ids=[f"{n.name} {name}" for n, name, _ in CASES])
def test_a_signal_at_any_moment(number: signal.Signals, moment: str, code: str) -> None:
    with started(*LONG, code=_CALL.format(name=number.name) + code) as process:
        _ends(process, number)


@pytest.mark.parametrize("delay", [0.0, 0.7, 2.0, 5.0])
def test_a_signal_after_a_while(delay: float) -> None:
    # The start of the interpreter, before any module of the study, is not covered.
    mine, theirs = os.pipe()
    code = f"""
import os, sbp_study.cli.exit_handler
plain = sbp_study.cli.exit_handler.ExitHandler.catch_signals
sbp_study.cli.exit_handler.ExitHandler.catch_signals = lambda self: (plain(self), os.write({theirs}, b"."))
"""
    with started(*LONG, code=code, pass_fds=[theirs]) as process:
        assert os.read(mine, 1) == b"."
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        _ends(process, signal.SIGINT)
    os.close(mine)
    os.close(theirs)


@pytest.mark.parametrize(
    ("number", "extra", "hint"),
    [
        (signal.SIGINT, (), "the same command resumes there"),
        (signal.SIGTERM, ("--fresh",), "the same command without --fresh resumes there"),
    ],
)
def test_the_line_says_how_to_resume(number: signal.Signals, extra: tuple[str], hint: str, tmp_path: Path) -> None:
    fast = "import sbp_study.training.trainer; sbp_study.training.trainer._CHECKPOINT_SECONDS = 0.0"
    with started(*STUDY, *extra, "--out", str(tmp_path), code=fast) as process:
        wait_until(lambda: bool(list(tmp_path.glob("runs/*.pt"))), process)
        process.send_signal(number)
        _ends(process, number, f"finished runs are in {tmp_path / 'runs'}; {hint}")
    # The checkpoint is complete, and there is no temporary file.
    (checkpoint,) = tmp_path.glob("runs/*.pt")
    assert torch.load(checkpoint, weights_only=True)["epoch"] > 0 and not list(tmp_path.glob("runs/.*"))


def test_the_line_says_that_no_run_was_saved() -> None:
    code = _CALL.format(name="SIGINT") + MOMENTS["in a progress bar"]
    with started(*LONG, code=code) as process:
        _ends(process, signal.SIGINT, "no run was saved; with --keep the same command resumes")


def test_in_a_terminal_the_line_replaces_the_progress_bars(tmp_path: Path) -> None:
    mine, theirs = pty.openpty()
    # In a terminal without a size the bar would be empty.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with started(*STUDY, "--out", str(tmp_path), stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        seen = b""
        while b"epochs" not in seen:
            assert select.select([mine], [], [], 60)[0], seen
            seen += os.read(mine, 4096)
        process.send_signal(signal.SIGINT)
        # On Linux, reading raises an error once the other end of the terminal is closed.
        with suppress(OSError):
            while part := os.read(mine, 4096):
                seen += part
        assert process.wait(60) == 130
    os.close(mine)
    last = seen.decode().replace("\r\n", "\n").rstrip("\n").split("\n")[-1]
    assert last.rpartition("\r\x1b[K")[2].startswith("interrupted: finished runs are in")
    assert b"Traceback" not in seen and seen.count(b"interrupted") == 1


def test_ignored_signals_stay_ignored() -> None:
    # A shell ignores SIGINT for its background jobs, and nohup ignores SIGHUP.
    code = _CALL.format(name="SIGINT") + MOMENTS["in the imports"].format(module="sbp_study.cli.commands")
    with started("list", code=code, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 0


def test_an_interrupt_in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sbp_study.study.measure", interrupt)
    before = signal.getsignal(signal.SIGINT)
    assert main(["train", "--dataset", "karate", "--model", "sgc"]) == 130
    assert capsys.readouterr().err.startswith("interrupted: no run was saved")
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("argv", [("list",), ("list", "--json"), ("--help",)])
def test_a_closed_pipe_ends_the_command_silently(argv: tuple[str, ...]) -> None:
    mine, theirs = os.pipe()
    os.close(mine)
    with started(*argv, stdout=theirs) as process:
        os.close(theirs)
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 141


def test_head_of_a_long_output() -> None:
    # Output is unbuffered, so the pipe closes between lines.
    with started("list", code=_UNBUFFERED) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None and process.stderr.read() == "" and process.wait(60) in (0, 141)
    shell = f"PYTHONPATH={ROOT}/python:{ROOT} {sys.executable} -m sbp_study list --json | head -1"
    run = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "{\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("argv", [("list",), ("--help",)])
@pytest.mark.parametrize("code", ["", _UNBUFFERED], ids=["buffered", "unbuffered"])
def test_a_full_disk_behind_stdout_is_reported(argv: tuple[str, ...], code: str) -> None:
    with open("/dev/full", "w") as full, started(*argv, stdout=full, code=code) as process:
        err = process.communicate(timeout=60)[1]
    assert (process.returncode, err) == (2, "error: standard output: No space left on device\n")


def test_a_closed_stdout_is_no_error() -> None:
    with started("list", preexec_fn=lambda: os.close(1), stdout=None) as process:
        assert process.communicate(timeout=60)[1] == "" and process.returncode == 0
