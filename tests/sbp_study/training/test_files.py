"""Writing files: a full disk, no permission, an interrupt, and two processes at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sbp_study import UserError
from sbp_study.training import files
from sbp_study.training.files import atomic, claimed, require_writable, write
from tests.sbp_study.commands import ROOT, started

# Whole commands in processes of their own: 2 minutes on one core.
pytestmark = pytest.mark.slow

STUDY = ("depth", "--dataset", "karate", "--models", "sgc,gcn", "--layers", "2,3", "--seeds", "2", "--epochs", "20")
# A limit on the file size simulates a full disk.
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
KEEP_CHECKPOINTS = "import sbp_study.training.trainer; sbp_study.training.trainer._CHECKPOINT_SECONDS = 0.0\n"
KEEP_FEATURES = "import sbp_study.training.run_cache; sbp_study.training.run_cache._MIN_SECONDS_TO_SAVE = 0.0\n"


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def _refused(*argv: str, code: str = "") -> str:
    """Run a command that must end with status 2 and one line on stderr."""
    with started(*argv, code=code) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


# The first file that exceeds the limit.
FULL: dict[str, tuple[str, int, str]] = {
    "run file": ("", 100, "runs/karate-sgc-"),
    "checkpoint": (KEEP_CHECKPOINTS, 1500, "runs/karate-gcn-"),
    "features": (KEEP_FEATURES, 500, "propagated/karate-sgc-"),
    "document": ("", 2000, "depth_karate.json"),
    "figure": ("", 12000, "depth_karate.png"),
}


@pytest.mark.parametrize("kind", FULL)
def test_a_full_disk_names_the_file_and_preserves_the_others(kind: str, tmp_path: Path) -> None:
    code, limit, name = FULL[kind]
    message = _refused(*STUDY, "--out", str(tmp_path), code=code + LIMIT.format(limit))
    assert f"{tmp_path}/{name}" in message and "could not be written: File too large" in message
    assert "files written before are unchanged" in message
    there = _content(tmp_path)
    # Files that were written before are complete, and there is no partial file.
    assert all(path.suffix in (".json", ".csv", ".pt") for path in there) and not list(tmp_path.rglob(".*"))
    runs = {path: content for path, content in there.items() if path.match("runs/*.json")}
    assert all(json.loads(content)["format"] == 1 for content in runs.values())
    assert _ends_well(tmp_path)
    assert all(path.read_bytes() == content for path, content in runs.items())


def _ends_well(out: Path) -> bool:
    with started(*STUDY, "--out", str(out)) as process:
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 0, err
    return sum(path.parent == out for path in _content(out)) == 4


def test_earlier_results_survive_a_full_disk(tmp_path: Path) -> None:
    assert _ends_well(tmp_path)
    before = _content(tmp_path)
    message = _refused(*STUDY, "--out", str(tmp_path), "--fresh", code=LIMIT.format(300))
    assert "could not be written" in message and _content(tmp_path) == before


def test_tables_of_the_paper_survive_a_full_disk(tmp_path: Path) -> None:
    argv = ("reproduce", "table10", "--quick", "--layers", "2", "--quiet", "--out", str(tmp_path))
    with started(*argv) as process:
        assert process.communicate(timeout=120) and process.returncode == 0
    before = _content(tmp_path)
    message = _refused(*argv, code=LIMIT.format(1000))
    assert f"{tmp_path}/table10.json could not be written" in message and _content(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_real_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount")
    try:
        with started(*STUDY, "--out", str(tmp_path)) as process:
            process.communicate(timeout=120)
        assert process.returncode in (0, 2)
        before = _content(tmp_path)
        (tmp_path / "ballast").write_bytes(b"\0" * (os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize))
        message = _refused(*STUDY, "--out", str(tmp_path), "--fresh")
        assert "could not be written: No space left on device" in message and str(tmp_path) in message
        (tmp_path / "ballast").unlink()
        assert _content(tmp_path) == before and not list(tmp_path.rglob(".*.tmp"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_error_names_a_tensor_file_that_does_not_fit_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.ones(3), path)
    before = path.read_bytes()
    code = f"""
import signal, torch
from pathlib import Path
from sbp_study.training.files import atomic
{LIMIT.format(10000)}
try:
    with atomic(Path({str(path)!r})) as file:
        torch.save(torch.ones(100_000), file)
except ValueError as error:
    print(type(error).__name__, error)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/python:{ROOT}"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    wanted = f"UserError {path} could not be written: File too large; files written before are unchanged\n"
    assert run.stdout == wanted, run.stderr
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_a_permission_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so the answer of the system is mocked.
    plain = Path.open

    def deny(self: Path, mode: str = "r", *more: Any) -> Any:
        if "x" in mode:
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self, mode, *more)

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(UserError, match=rf"{tmp_path}/a could not be written: Permission denied; files written before"):
        write(tmp_path / "a", "text")


def test_the_error_names_a_folder_at_the_path_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/a could not be written: Is a directory"):
        write(tmp_path / "a", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_error_in_the_block_does_not_change_the_file(error: type[BaseException], tmp_path: Path) -> None:
    write(tmp_path / "a", "before")
    with pytest.raises(error), atomic(tmp_path / "a") as file:
        file.write(b"half")
        raise error
    assert (tmp_path / "a").read_text() == "before" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_modes_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write(tmp_path / "new" / "folder" / "a", "ä")
    assert (tmp_path / "new/folder/a").read_bytes() == "ä".encode()
    # Permissions follow the umask, as for any new file.
    assert (tmp_path / "new/folder/a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    write(tmp_path / "link", "through")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "plain").read_text() == "through"
    require_writable(tmp_path / "new" / "other")
    with pytest.raises(UserError, match="must be a folder"):
        require_writable(tmp_path / "plain")


def _write_often(path: Path, text: str) -> None:
    for _ in range(200):
        write(path, text * 20_000)


def _claim(path: Path, seconds: float) -> None:
    with claimed(path):
        # The second process finds the file of the first one.
        if not path.exists():
            time.sleep(seconds)
            write(path, str(os.getpid()))


def _at_once(*tasks: tuple[Callable[..., None], tuple[Any, ...]]) -> list[int]:
    """Run functions concurrently in separate processes; return their ids."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=function, args=arguments) for function, arguments in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return [process.pid or 0 for process in processes]


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, "x" * 20_000)
    tasks = [(_write_often, (path, letter)) for letter in "yz"]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=function, args=arguments) for function, arguments in tasks]
    for process in processes:
        process.start()
    # At every moment the file contains one complete text.
    seen = set()
    while any(process.is_alive() for process in processes):
        text = path.read_text()
        assert len(text) == 20_000 and len(set(text)) == 1
        seen.add(text[0])
    assert [process.exitcode for process in processes] == [0, 0] and seen & {"y", "z"}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_one_process_computes_while_the_other_waits(tmp_path: Path) -> None:
    path = tmp_path / "a"
    pids = _at_once(*[(_claim, (path, 0.5))] * 3)
    assert int(path.read_text()) in pids
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=_claim, args=(tmp_path / "a", 600))
    first.start()
    while not (tmp_path / "a.lock").exists():
        time.sleep(0.01)
    first.kill()
    first.join()
    assert _at_once((_claim, (tmp_path / "a", 0.0))) == [int((tmp_path / "a").read_text())]


COUNTED = """
import atexit, sys
import sbp_study.training.runner
made = []
for name in ("_fixed", "_trained"):
    plain = getattr(sbp_study.training.runner, name)
    setattr(sbp_study.training.runner, name, lambda *a, plain=plain: (made.append(1), plain(*a))[1])
atexit.register(lambda: print(f"made {len(made)}", file=sys.stderr))
"""


def test_two_commands_share_their_runs(tmp_path: Path) -> None:
    argv = (*STUDY, "--epochs", "300", "--out", str(tmp_path / "both"))
    code = COUNTED + KEEP_CHECKPOINTS + KEEP_FEATURES
    with started(*argv, code=code) as first, started(*argv, code=code) as second:
        texts = [process.communicate(timeout=300)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], texts
    made = [int(text.rpartition("made ")[2]) for text in texts]
    # Two depths of a fixed method, two depths and two seeds of a network: one process computes each of them.
    assert sum(made) == 6, texts
    with started(*argv[:-1], str(tmp_path / "alone")) as alone:
        assert alone.communicate(timeout=300) and alone.returncode == 0
    for name in ("depth_karate.csv", "depth_karate.svg", "depth_karate.png"):
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert {path.suffix for path in (tmp_path / "both" / "runs").iterdir()} == {".json"}


def test_a_waiting_process_prints_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=_claim, args=(tmp_path / "a", 1.5))
    first.start()
    while not (tmp_path / "a.lock").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    with files.claimed(tmp_path / "a"):
        assert (tmp_path / "a").exists()
    first.join()
    assert f"waiting: another process is computing {tmp_path / 'a'}" in capsys.readouterr().err
