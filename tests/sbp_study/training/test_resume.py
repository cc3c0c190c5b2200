"""After SIGKILL during a study or during training, the same command gives the same bits."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sbp_study.training.run_cache import RunCache
from tests.sbp_study.commands import started, wait_until

DEPTH = (
    "depth",
    "--dataset",
    "csbm",
    "--models",
    "sgc,label-sbp",
    "--layers",
    "2,20,60",
    "--split",
    "all",
    "--epochs",
    "20",
)
NETWORK = ("depth", "--dataset", "karate", "--models", "gcn", "--layers", "2,4", "--seeds", "2", "--epochs", "400")
# Code that counts epochs and fits, delays them so that a test can kill the process, and sets the checkpoint interval.
COUNTED = """
import atexit, sys, time
import sbp_study.training.runner, sbp_study.training.trainer
steps, fits = [], []
plain_step, plain_fit = sbp_study.training.trainer.Trainer._step, sbp_study.training.runner.fit_linear
sbp_study.training.trainer._CHECKPOINT_SECONDS = {seconds}
sbp_study.training.trainer.Trainer._step = lambda self: (steps.append(1), time.sleep({pause}), plain_step(self))[-1]
sbp_study.training.runner.fit_linear = lambda *a, **k: (fits.append(1), time.sleep({pause}), plain_fit(*a, **k))[-1]
atexit.register(lambda: print(f"counted {{len(steps)}} epochs, {{len(fits)}} fits", file=sys.stderr))
"""


def _run(argv: tuple[str, ...], out: Path, seconds: float = 30.0, *more: str) -> tuple[int, int, str]:
    """Run a command to its end; return the numbers of epochs and fits it computed, and its stderr."""
    with started(*argv, *more, "--out", str(out), code=COUNTED.format(seconds=seconds, pause=0)) as process:
        err = process.communicate(timeout=300)[1]
    assert process.returncode == 0, err
    counted = re.search(r"counted (\d+) epochs, (\d+) fits", err)
    assert counted is not None
    return int(counted[1]), int(counted[2]), err


def _results(out: Path) -> dict[str, Any]:
    """Return the files of a study, with its JSON document without seconds, which differ between runs."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    (document,) = (name for name in found if name.endswith(".json"))
    content = json.loads(found[document])
    for result in content["results"]:
        del result["seconds"]
    assert len(found) == 4
    return {**found, document: content}


def _kill(argv: tuple[str, ...], out: Path, partial: Any, seconds: float) -> None:
    """Start a command and kill it once `partial()` is true."""
    with started(*argv, "--out", str(out), code=COUNTED.format(seconds=seconds, pause=0.01)) as process:
        wait_until(partial, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    # The killed process did not write its results.
    assert [path.name for path in out.iterdir() if path.is_file()] == []


@pytest.mark.slow
def test_a_killed_depth_study_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _, wanted, _ = _run(DEPTH, whole)
    assert wanted == 600
    runs = broken / "runs"
    for least in (3, 150, 400):
        _kill(DEPTH, broken, lambda least=least: len(list(runs.glob("*.json"))) >= least, 30.0)
    there = len(list(runs.glob("*.json")))
    before = {path.name: path.read_bytes() for path in runs.glob("*.json")}
    _, fits, err = _run(DEPTH, broken)
    assert 400 <= there < 600 and fits == 600 - there
    assert f"{there} finished runs were read from {runs}" in err
    assert {path.name: path.read_bytes() for path in runs.glob("*.json") if path.name in before} == before
    assert _results(broken) == _results(whole)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    wanted, _, _ = _run(NETWORK, whole, 1e9)
    assert wanted == 1600
    runs = broken / "runs"

    def partial(least: int) -> bool:
        # The first network is finished, and the second one has a checkpoint.
        return len(list(runs.glob("*.json"))) == least and bool(list(runs.glob("*.pt")))

    _kill(NETWORK, broken, lambda: partial(0), 0.3)
    _kill(NETWORK, broken, lambda: partial(1), 0.3)
    (checkpoint,) = runs.glob("*.pt")
    epochs, _, err = _run(NETWORK, broken, 1e9)
    found = re.search(r"resumed karate gcn, seed 1, at epoch (\d+) of 400 from (.*)\n", err)
    assert found is not None and found[2] == str(checkpoint) and int(found[1]) > 0
    assert epochs == 3 * 400 - int(found[1])
    assert _results(broken) == _results(whole)
    # The killed processes left only temporary files.
    assert not list(runs.glob("*.pt")) and len(list(runs.glob("*.json"))) == 4


def test_the_seconds_of_a_resumed_training_include_both_processes(tmp_path: Path) -> None:
    argv = ("depth", "--dataset", "karate", "--models", "gcn", "--layers", "2", "--seeds", "1", "--epochs", "200")
    runs = tmp_path / "runs"
    _kill(argv, tmp_path, lambda: bool(list(runs.glob("*.pt"))), 1.0)
    _run(argv, tmp_path)
    (path,) = runs.glob("*.json")
    # An epoch takes 0.01 s, and the first checkpoint is written after 1 s.
    assert json.loads(path.read_text())["seconds"]["train"] > 1.0


def test_a_run_that_is_killed_after_its_training_leaves_the_checkpoint(tmp_path: Path) -> None:
    # Metrics are computed after the training, and the run is written after them.
    argv = (*NETWORK, "--metrics")
    code = (
        COUNTED.format(seconds=0.0, pause=0)
        + """
import os, signal
sbp_study.training.runner.effective_rank = lambda x: os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    with started(*argv, "--out", str(tmp_path), code=code) as process:
        assert process.wait(120) == -signal.SIGKILL
    assert len(list(tmp_path.glob("runs/*.pt"))) == 1 and not list(tmp_path.glob("runs/*.json"))
    epochs, _, err = _run(argv, tmp_path)
    assert "seed 0, at epoch 4" in err and epochs <= 3 * 400 + 1


@pytest.mark.parametrize("part", ["runs", "propagated"])
def test_temporary_files_of_killed_processes_are_removed(part: str, tmp_path: Path) -> None:
    folder = tmp_path / part
    folder.mkdir()
    old, new, other = folder / ".a.json.12-ab.tmp", folder / ".b.json.13-cd.tmp", folder / "mine.tmp"
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    RunCache(tmp_path)
    assert not old.exists() and new.exists() and other.exists()
