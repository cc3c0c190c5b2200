"""The command line: documents, files, and errors without tracebacks."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch_geometric.datasets import Planetoid

from sbp_study.cli.commands import main

FAST = ["--seeds", "2", "--epochs", "3"]


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_train_document(capsys: pytest.CaptureFixture[str]) -> None:
    document = _json(capsys, "train", "--dataset", "karate", "--model", "label-sbp", "--lam", "0.25", *FAST)
    assert document["version"] == 1 and document["command"] == "train" and document["graph"]["nodes"] == 34
    assert set(document["environment"]) == {"sbp_kernels", "torch", "python", "machine"}
    main_row, ablation = document["results"]
    assert main_row["label"] == "label-sbp" and ablation["label"] == "label-sbp, beta=0"
    config = main_row["config"]
    assert config["lam"] == 0.25 and config["layers"] == 2 and config["seeds"] == [42, 43] and config["epochs"] == 3
    assert config["temperature"] is None and ablation["config"]["beta"] == 0.0
    assert [run["seed"] for run in main_row["runs"]] == [42, 43]
    assert main_row["accuracy"]["val"] is None and set(main_row["accuracy"]["test"]) == {"mean", "std"}
    assert set(main_row["seconds"]) == {"propagate", "train"}


def test_train_repeats_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("train", "--dataset", "csbm", "--model", "feature-sbp", "--split", "2", *FAST)
    first, again = (_json(capsys, *argv) for _ in range(2))
    for document in (first, again):
        for row in document["results"]:
            del row["seconds"]
    assert first == again


def test_train_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dataset", "karate", "--model", "label-sbp", "--metrics", *FAST]) == 0
    out = capsys.readouterr().out
    assert "label-sbp, beta=0" in out and "effective rank" in out and "±" in out and "lam=0.9" in out
    assert main(["train", "--dataset", "karate", "--model", "mlp", "--no-ablation", *FAST]) == 0
    assert "beta" not in capsys.readouterr().out


def test_depth_writes_figure_and_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    argv = ("depth", "--dataset", "karate", "--models", "sgc,label-sbp", "--layers", "0,2,20", "--out", str(out))
    document = _json(capsys, *argv, "--ablation", *FAST)
    assert document["version"] == 1 and document["command"] == "depth" and len(document["results"]) == 9
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"depth_karate.{kind}" for kind in ("csv", "json", "png", "svg")),
        "runs",
    ]
    assert json.loads((out / "depth_karate.json").read_text()) == document
    with (out / "depth_karate.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["layers"]) for row in rows[:4]] == [
        ("sgc", "0"),
        ("sgc", "2"),
        ("sgc", "20"),
        ("label-sbp", "0"),
    ]
    assert all(float(row["effective_rank"]) > 0 for row in rows)
    assert (out / "depth_karate.png").read_bytes().startswith(b"\x89PNG")
    svg = (out / "depth_karate.svg").read_text()
    assert "propagation steps" in svg and "test accuracy on karate" in svg


def test_depth_table_and_figure_repeat(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["depth", "--dataset", "karate", "--models", "mlp,sgc", "--layers", "2,4", "--no-metrics", *FAST]
    for name in ("a", "b"):
        assert main([*argv, "--out", str(tmp_path / name)]) == 0
    out = capsys.readouterr().out
    assert "test accuracy" in out and "effective rank" not in out and "written: " in out
    files = [tmp_path / name / "depth_karate.svg" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_diverged_depth_is_a_gap(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["depth", "--dataset", "karate", "--models", "label-sbp", "--layers", "2,300", "--beta", "1e9"]
    document = _json(capsys, *argv, "--out", str(tmp_path), *FAST)
    assert document["results"][1]["accuracy"]["test"] is None
    assert main([*argv, "--out", str(tmp_path), *FAST]) == 0


def test_signed(capsys: pytest.CaptureFixture[str]) -> None:
    document = _json(capsys, "signed", "--dataset", "csbm", "--split", "3")
    assert document["version"] == 1 and document["command"] == "signed" and document["graph"]["nodes"] == 200
    rows = {row["name"]: row for row in document["readings"]}
    for row in rows.values():
        assert row["sid"] == pytest.approx((row["P"] + row["N"]) / 2)
    assert rows["Label-SBP before softmax"]["sid"] < rows["mean centring"]["sid"] < rows["SGC"]["sid"]
    assert rows["SGC"]["beta_ratio"] == "inf" and rows["SGC"]["balance"] == "balanced"
    assert rows["edges signed by label"]["balance"] == "balanced" and rows["Residual"]["balance"] == "unbalanced"
    assert 0 < rows["mean centring"]["beta_ratio"] < 1 and rows["Label-SBP"]["balance"] is None
    # With four communities the graph is only weakly balanced.
    assert main(["signed", "--dataset", "karate"]) == 0
    out = capsys.readouterr().out
    assert "SID" in out and "weakly balanced" in out and "beta* / alpha" in out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    names = _json(capsys, "list")
    assert "label-sbp" in names["models"] and "karate" in names["datasets"]
    for argv in (["list"], ["--list"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in (*names["models"], *names["datasets"]))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("train --dataset kartae --model sgc", "unknown dataset 'kartae': did you mean karate"),
        ("train --dataset karate --model lable-sbp", "unknown model 'lable-sbp': did you mean label-sbp"),
        ("train --dataset karate --model sgc --beta 1", "model sgc has no setting beta"),
        ("train --dataset karate --model label-sbp --lam 2", "lam must lie in [0, 1], got 2.0"),
        ("train --dataset karate --model sgc --norm col", "norm must be one of sym, row, got col"),
        ("train --dataset karate --model sgc --split two", "must be a number or all, got two"),
        ("train --dataset karate --model sgc --split 9", "split must be an index below 1 for karate, got 9"),
        ("train --dataset karate --model sgc --backend cuda", "backend must be one of"),
        ("train --dataset karate --model sgc --layers x", "--layers: invalid int value: 'x'"),
        ("train --dataset karate --model sgc --lr -1", "learning rate"),
        ("train --dataset karate", "the following arguments are required: --model"),
        ("depth --dataset karate --layers 2,x", "must be numbers with commas between, got 2,x"),
        ("depth --dataset karate --models ,", "depth needs a model and a depth"),
        ("signed --dataset kartae", "unknown dataset 'kartae': did you mean karate"),
        ("signed --dataset karate --split 4", "split must be an index below 1 for karate, got 4"),
        ("signed", "the following arguments are required: --dataset"),
        ("trian", "invalid choice: 'trian'"),
    ],
)
def test_user_errors_are_one_sentence(
    argv: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(argv.split())
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert status == 2 and out == ""
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_missing_files_are_a_user_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(Planetoid, "download", fail)
    assert main(["train", "--dataset", "cora", "--model", "sgc", "--root", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: cora could not be downloaded") and "ind.cora.graph" in err


def test_a_file_at_the_path_of_the_output_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["depth", "--dataset", "karate", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def _python(*argv: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )


def test_module_runs() -> None:
    run = _python("-m", "sbp_study", "train", "--dataset", "karate", "--model", "sgc", "--json", *FAST)
    assert run.returncode == 0 and run.stderr == "" and json.loads(run.stdout)["results"]
    bad = _python("-m", "sbp_study", "train", "--dataset", "karate", "--model", "sgcc")
    assert bad.returncode == 2 and bad.stderr.startswith("error: unknown model 'sgcc'") and bad.stdout == ""


def test_help_does_not_import_torch_and_shows_examples() -> None:
    # Importing torch would take seconds.
    code = """
import sys
from sbp_study.cli.commands import main
status = main([])
assert 'torch' not in sys.modules
sys.exit(status)
"""
    run = _python("-c", code)
    assert run.returncode == 0, run.stderr
    assert "python -m sbp_study train --dataset karate" in run.stdout and "python -m sbp_study depth" in run.stdout


@pytest.mark.parametrize("package", ["filelock", "rich", "torch_geometric", "matplotlib"])
@pytest.mark.parametrize("start", ["runpy.run_module('sbp_study', run_name='__main__')", "run()"], ids=["-m", "script"])
def test_a_missing_package_is_named_in_one_line(package: str, start: str, tmp_path: Path) -> None:
    code = f"""
import runpy, sys
from sbp_study.cli.main import run
sys.modules[{package!r}] = None
{start}
"""
    study = ["depth", "--dataset", "karate", "--models", "sgc", "--layers", "2", "--out", str(tmp_path), *FAST]
    run = _python("-c", code, *(study if package == "matplotlib" else ["list"]))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"error: this command needs the package {package}: pip install 'sbp-kernels[study]'\n"
