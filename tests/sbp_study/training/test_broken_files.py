"""Broken files of finished runs, checkpoints and features: one sentence names the file, and no file is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sbp_study.cli.commands import main
from sbp_study.training import run_cache as run_cache_module
from sbp_study.training import trainer
from sbp_study.training.result import Part
from tests.sbp_study.commands import refused

FAST = ("--layers", "2", "--seeds", "2", "--epochs", "2", "--no-metrics", "--quiet")
SGC = ("depth", "--dataset", "karate", "--models", "sgc", *FAST)
GCN = ("depth", "--dataset", "karate", "--models", "gcn", *FAST)


def _finished(tmp_path: Path, argv: tuple[str, ...] = SGC) -> Path:
    """Run a study into `tmp_path` and return the file of its first run."""
    assert main([*argv, "--out", str(tmp_path)]) == 0
    return sorted((tmp_path / "runs").glob("*.json"))[0]


def _edited(path: Path, edit: Any) -> bytes:
    content = json.loads(path.read_text())
    edit(content)
    return json.dumps(content).encode()


def _last_seed(run: Any) -> None:
    run["runs"][-1]["seed"] = 7


# A name, the content of the file, and the expected message.
BROKEN: list[tuple[str, Any, str]] = [
    ("empty object", b"{}", "lacks graph"),
    ("null", b"null", "must be of type object, got NoneType"),
    ("list", b"[1, 2]", "must be of type object, got list"),
    ("number", b"3", "must be of type object, got int"),
    ("string", b'"run"', "must be of type object, got str"),
    ("empty", b"", "line 1 column 1"),
    ("garbage", bytes(range(256)), "utf-8"),
    ("null bytes", b"\0" * 4096, "Expecting value"),
    ("nested", b"[" * 100_000, "recursion"),
    ("truncated", lambda path: path.read_bytes()[:-20], "line 1 column"),
    ("half", lambda path: path.read_bytes()[: path.stat().st_size // 2], "line 1 column"),
    ("trailing", lambda path: path.read_bytes() + b"}", "Extra data"),
    ("no runs", lambda path: _edited(path, lambda run: run.pop("runs")), "lacks runs"),
    ("more", lambda path: _edited(path, lambda run: run.update(color=1)), "unknown field, color"),
    (
        "text",
        lambda path: _edited(path, lambda run: run["runs"][0].update(test="9")),
        "runs[0].test must be of type",
    ),
    ("flag", lambda path: _edited(path, lambda run: run["runs"][0].update(seed=True)), "must be of type int, got bool"),
    ("not finite", lambda path: _edited(path, lambda run: run["runs"][0].update(test=float("nan"))), "not finite"),
    ("no seconds", lambda path: _edited(path, lambda run: run["seconds"].pop("train")), "lack a field"),
    ("no nodes", lambda path: _edited(path, lambda run: run["graph"].pop("nodes")), "lack a field"),
    ("other seeds", lambda path: _edited(path, _last_seed), "splits and seeds [(0, 42), (0, 43)]"),
    ("fewer runs", lambda path: _edited(path, lambda run: run["runs"].pop()), "splits and seeds"),
    ("other version", lambda path: _edited(path, lambda run: run.update(format=2)), "format 2, this version reads 1"),
]


@pytest.mark.parametrize(("content", "why"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_the_error_names_a_broken_run_file_and_does_not_change_it(
    content: Any, why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = _finished(tmp_path)
    good = path.read_bytes()
    bad = content(path) if callable(content) else content
    path.write_bytes(bad)
    others = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    message = refused(capsys, *SGC, "--out", str(tmp_path))
    assert str(path) in message and why in message and "delete it or run with --fresh" in message
    assert path.read_bytes() == bad and {p: p.read_bytes() for p in others} == others
    # The remedy in the message works.
    assert main([*SGC, "--out", str(tmp_path), "--fresh"]) == 0
    again, wanted = json.loads(path.read_text()), json.loads(good)
    assert again["runs"] == wanted["runs"] and again["graph"] == wanted["graph"]


def test_a_file_without_a_format_number_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _finished(tmp_path)
    old = _edited(path, lambda run: run.pop("format"))
    path.write_bytes(old)
    argv = [word for word in SGC if word != "--quiet"]
    assert main([*argv, "--out", str(tmp_path)]) == 0
    assert path.read_bytes() == old
    assert f"1 finished runs were read from {tmp_path / 'runs'}" in capsys.readouterr().err


def test_a_folder_at_the_path_of_a_run_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _finished(tmp_path)
    path.unlink()
    path.mkdir()
    assert f"{path} could not be read: Is a directory" in refused(capsys, *SGC, "--out", str(tmp_path))


def test_every_run_survives_a_round_trip(tmp_path: Path) -> None:
    values = json.loads(_finished(tmp_path).read_text())
    assert Part.from_dict(values).to_dict() == values


def _stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Interrupt the training of a network after two epochs and return its checkpoint."""
    plain = trainer.Trainer._step

    def stopping(self: trainer.Trainer) -> None:
        if self.epoch == 2:
            raise KeyboardInterrupt
        plain(self)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "_CHECKPOINT_SECONDS", 0.0)
        patched.setattr(trainer.Trainer, "_step", stopping)
        assert main([*GCN, "--epochs", "4", "--out", str(tmp_path)]) == 130
    (path,) = (tmp_path / "runs").glob("*.pt")
    return path


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _saved(change: Any) -> Any:
    def save(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return save


BROKEN_CHECKPOINTS: dict[str, Any] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "json": lambda path: path.write_bytes(b"{}"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "half": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "code": lambda path: torch.save(_Bomb(path.with_name("ran")), path),
    "a list": lambda path: torch.save([1, 2], path),
    "no network": _saved(lambda state: state.pop("network")),
    "no seconds": _saved(lambda state: state.pop("seconds")),
    "another network": _saved(lambda state: state.update(network={"weights.0.weight": torch.ones(1, 1)})),
    "a text": _saved(lambda state: state.update(epoch="2")),
    "too many epochs": _saved(lambda state: state.update(epoch=5)),
    "other predictions": _saved(lambda state: state.update(predicted=torch.zeros(3, dtype=torch.int64))),
    "no generator": _saved(lambda state: state.update(rng=torch.zeros(3, dtype=torch.uint8))),
}


@pytest.mark.parametrize("kind", BROKEN_CHECKPOINTS)
def test_the_error_names_a_broken_checkpoint_and_does_not_change_it(
    kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _stopped(tmp_path, monkeypatch)
    BROKEN_CHECKPOINTS[kind](path)
    bad = path.read_bytes()
    argv = (*GCN, "--epochs", "4", "--out", str(tmp_path))
    message = refused(capsys, *argv)
    assert str(path) in message and "--fresh" in message
    assert path.read_bytes() == bad and not path.with_name("ran").exists()
    assert main([*argv, "--fresh"]) == 0
    assert not path.exists()


def test_fresh_ignores_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stopped(tmp_path, monkeypatch)
    epochs: list[int] = []
    plain = trainer.Trainer._step
    monkeypatch.setattr(trainer.Trainer, "_step", lambda self: (epochs.append(self.epoch), plain(self))[1])
    assert main([*GCN, "--epochs", "4", "--out", str(tmp_path), "--fresh"]) == 0
    assert epochs == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("content", [b"", b"garbage" * 50, "half", "list", "vector"])
def test_the_error_names_a_broken_features_file(
    content: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_cache_module, "_MIN_SECONDS_TO_SAVE", 0.0)
    _finished(tmp_path).unlink()
    (path,) = (tmp_path / "propagated").iterdir()
    if content == "list":
        torch.save([1], path)
    elif content == "vector":
        torch.save(torch.ones(3), path)
    else:
        path.write_bytes(path.read_bytes()[:300] if content == "half" else content)
    message = refused(capsys, *SGC, "--out", str(tmp_path))
    assert str(path) in message and "--fresh" in message
    assert main([*SGC, "--out", str(tmp_path), "--fresh"]) == 0
