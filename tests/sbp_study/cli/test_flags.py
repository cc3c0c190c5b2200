"""Every flag of every command with bad values of its type: one sentence, before any data is read."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sbp_study import Options, UserError, depth, sweep, train
from sbp_study.cli.commands import main
from sbp_study.cli.parser import build_parser
from sbp_study.config import COUNTS, OPTIONS, resolve
from sbp_study.presets import MODEL_PRESETS
from sbp_study.training import runner
from tests.sbp_study.commands import refused

COMMANDS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
)
# Valid commands, to which a flag is added.
RIGHT = {
    "train": ("--dataset", "karate", "--model", "sgc"),
    "depth": ("--dataset", "karate", "--models", "sgc"),
    "sweep": ("--dataset", "karate", "--setting", "lr", "--values", "1"),
    "signed": ("--dataset", "karate"),
    "reproduce": ("fig3",),
    "list": (),
}
# Invalid words for flags with choices, and the expected message.
WORDS: dict[str, list[tuple[str, str]]] = {
    "dataset": [("kartae", "did you mean karate"), ("", "unknown dataset ''"), ("../karate", "unknown dataset")],
    "model": [("gnc", "did you mean"), ("", "unknown model ''"), ("SGC", "did you mean sgc")],
    "models": [("sgc,gnc", "unknown model 'gnc'"), ("", "needs a model"), (",,", "needs a model")],
    "backbone": [("gnc", "backbone must be one of"), ("", "backbone must be one of")],
    "setting": [("bta", "did you mean beta"), ("", "unknown setting ''"), ("seeds", "unknown setting 'seeds'")],
    "values": [("", "and values of lr"), ("x", "values of type float"), ("nan", "lr must be finite")],
    "split": [("-1", "number or all"), ("1.5", "number or all"), ("1", "below 1 for karate"), ("9" * 99, "number")],
    "datasets": [("karate", "has no dataset karate"), ("kartae", "has no dataset kartae")],
    "backend": [("cuda", "backend must be one of"), ("", "backend must be one of")],
    "device": [("gpu", "device gpu cannot be used"), ("meta", "it holds no numbers"), ("cpu:x", "cannot be used")],
}
# The same for commands that take several depths.
DEPTHS = [
    *(("", "got nothing"), ("2,,5", "numbers with commas"), ("2,x", "numbers with commas"), ("nan", "numbers with")),
    *(("-1", "layers must be >= 0, got -1"), ("1000000000", "layers must be <= 100,000, got 1e+09")),
    *(("2,100001", "layers must be <= 100,000"), (",".join(map(str, range(1001))), "depths must be at most 1,000")),
]


def _flags() -> list[tuple[str, str, argparse.Action]]:
    """Return every flag of every command that takes a value."""
    actions = [(command, action) for command, parser in COMMANDS.items() for action in parser._actions]
    return [
        (command, action.dest, action) for command, action in actions if action.option_strings and action.nargs != 0
    ]


def _bad(command: str, name: str, action: argparse.Action) -> list[tuple[str, str]]:
    """Return bad values of a flag, each with its expected message."""
    if name == "split" and command == "signed":
        return [("x", "invalid int"), ("-1", "below 1 for karate"), ("9" * 20, "below 1 for karate")]
    if name == "layers" and command in ("depth", "reproduce"):
        return DEPTHS if command == "depth" else [case for case in DEPTHS if "depths" not in case[1]]
    if name == "backbone" and command == "train":
        return [("gnc", "model sgc runs on the backbone sgc, got gnc"), ("", "runs on the backbone sgc")]
    if name in WORDS:
        return WORDS[name]
    option = OPTIONS.get(name)
    if option is not None and option.choices:
        return [("", f"{name} must be one of"), ("nonsense", f"{name} must be one of")]
    if name in COUNTS:
        low, high = COUNTS[name]
        sizes = [(str(low - 1), f"{name} must be >= {low}"), (str(high + 1), f"{name} must be <= {high:,}")]
        huge = [(str(10**12), f"{name} must be <= {high:,}"), (str(10**30), f"{name} must be <= {high:,}")]
        return [*sizes, *huge, *((bad, "invalid int value") for bad in ("", "x", "1.5", "1e3", "inf", "9" * 5000))]
    if option is not None and option.type is float:
        ends = [(bad, f"{name} must ") for bad in ("nan", "inf", "-inf", "1e39", "-1e39")]
        return [*ends, *((bad, "invalid float value") for bad in ("", "x", "1,5"))]
    return []


def _base(command: str, name: str) -> list[str]:
    """Return the command with a model that has the setting."""
    argv = ["weight_decay" if (name, word) == ("lr", "lr") else word for word in RIGHT[command]]
    if (name in OPTIONS and "--models" in argv) or "--model" in argv:
        at = argv.index("--models" if "--models" in argv else "--model")
        own = [model for model, entry in MODEL_PRESETS.items() if name in entry.settings]
        argv[at + 1] = own[0] if own else "gcn" if name in ("hidden", "dropout") else argv[at + 1]
        argv[at + 1] = "gcnii" if name == "theta" else argv[at + 1]
    elif command == "sweep" and name in OPTIONS:
        argv += ["--models", next((m for m, e in MODEL_PRESETS.items() if name in e.settings), "gcnii")]
    return argv


CASES = [(command, action, bad, why) for command, name, action in _flags() for bad, why in _bad(command, name, action)]


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a command reads data: a bad flag must be reported before."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("data was read")

    monkeypatch.setattr(runner, "load_dataset", refuse)
    monkeypatch.setattr("sbp_study.paper.reproduce.load", refuse)


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    ("command", "action", "bad", "why"), CASES, ids=[f"{c} {a.option_strings[0]}={b[:20]}" for c, a, b, _ in CASES]
)
def test_bad_values(
    command: str,
    action: argparse.Action,
    bad: str,
    why: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    message = refused(capsys, command, *_base(command, action.dest), f"{action.option_strings[0]}={bad}")
    assert why in message and time.monotonic() - start < 5
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing"


def test_every_flag_with_a_value_is_in_the_table() -> None:
    free = {"root", "out"}
    known = {(command, action.dest) for command, action, _, _ in CASES}
    assert {(command, name) for command, name, _ in _flags() if name not in free} == known


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_unknown_and_abbreviated_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--nonsense", "--jso", "extra"):
        assert f"unrecognized arguments: {flag}" in refused(capsys, command, *RIGHT[command], flag)


@pytest.mark.parametrize(
    ("argv", "near"),
    [
        (["trian"], "did you mean train?"),
        (["reprodcue", "fig3"], "did you mean reproduce?"),
        (["reproduce", "tabel2"], "did you mean table2?"),
        (["train", *RIGHT["train"], "--layer", "3"], "did you mean --layers?"),
        (["depth", *RIGHT["depth"], "--modles=sgc"], "did you mean --models?"),
        (["--lsit"], "did you mean --list?"),
    ],
)
def test_nearest_commands_and_flags(argv: list[str], near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *argv).rstrip().endswith(near)


@pytest.mark.parametrize("columns", ["60", "100", "200", "0", "x", ""])
def test_tables_have_the_width_of_columns_when_piped(columns: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    main(["list"])
    widest = max(len(line) for line in capsys.readouterr().out.splitlines())
    assert widest <= (int(columns) if columns in ("60", "100", "200") else 120)


def test_json_documents_have_a_version(capsys: Any) -> None:
    main(["list", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert list(document)[:2] == ["version", "command"] and document["version"] == 1


@pytest.mark.parametrize("command", ["depth", "sweep", "reproduce", "train"])
@pytest.mark.parametrize("out", ["file", "file/below", "dangling/below"])
@pytest.mark.usefixtures("no_data")
def test_an_output_folder_that_is_a_file(command: str, out: str, capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "file")
    keep = ["--keep"] if command == "train" else []
    message = refused(capsys, command, *RIGHT[command], "--out", str(tmp_path / out), *keep)
    assert "the output folder must be a folder" in message and str(tmp_path / out) in message
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("no_data")
def test_an_output_folder_without_permission(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere, so the answer of the system is mocked.
    monkeypatch.setattr("sbp_study.training.files.os.access", lambda path, mode: False)
    message = refused(capsys, "depth", *RIGHT["depth"], "--out", str(tmp_path / "new"))
    assert f"must be writable, got {tmp_path / 'new'}: permission denied in {tmp_path}" in message


@pytest.mark.parametrize("hidden", ["1000000"])
def test_a_network_that_exceeds_memory_raises_before_it_is_built(hidden: str, capsys: Any) -> None:
    start = time.monotonic()
    message = refused(capsys, "train", "--dataset", "karate", "--model", "gcn", "--hidden", hidden, "--layers", "9")
    assert "gcn with 9 layers is too large: " in message and "hidden = 1,000,000" in message
    assert time.monotonic() - start < 10


def test_the_last_of_many_models_is_checked_before_the_first_runs(capsys: Any, tmp_path: Path) -> None:
    argv = ("depth", "--dataset", "karate", "--models", "sgc,gcn", "--layers", "0,2", "--out", str(tmp_path / "out"))
    assert "layers must be >= 1 on the backbone gcn, got 0" in refused(capsys, *argv)
    assert not (tmp_path / "out").exists()
    quick = ("--quick", "--out", str(tmp_path / "out"))
    assert "layers must be >= 1 on the backbone gcn" in refused(capsys, "reproduce", "table11", "--layers", "0", *quick)


def test_a_sweep_parses_switches_as_booleans(capsys: Any, tmp_path: Path) -> None:
    argv = ("sweep", "--dataset", "karate", "--models", "sgc", "--setting", "self_loops", "--epochs", "1")
    assert main([*argv, "--values", "false,True", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert [result["config"]["self_loops"] for result in found] == [False, True]
    assert "self_loops takes values of type bool, got 0,yes" in refused(capsys, *argv, "--values", "0,yes")


def test_messages_stay_on_one_line(capsys: Any) -> None:
    message = refused(capsys, "train", "--dataset", "a\nb", "--model", "sgc")
    assert "unknown dataset 'a b'" in message
    assert "got 2 x" in refused(capsys, "depth", "--dataset", "karate", "--layers", "2\nx")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "2"}, "layers must be a whole number, got '2'"),
        ({"layers": 2.0}, "layers must be a whole number, got 2.0"),
        ({"layers": True}, "layers must be a whole number, got True"),
        ({"seeds": 1.5}, "seeds must be a whole number, got 1.5"),
        ({"first_seed": None, "seeds": "1"}, "seeds must be a whole number, got '1'"),
        ({"split": 0.5}, "split must be an index below 1 for karate, got 0.5"),
        ({"split": "first"}, "split must be an index below 1 for karate, got first"),
        ({"lam": "x"}, "lam must be a number, got 'x'"),
        ({"lam": None}, "lam must be a number, got None"),
        ({"beta": True}, "beta must be a number, got True"),
        ({"norm": 3}, "norm must be of type str, got 3"),
        ({"self_loops": 1}, "self_loops must be of type bool, got 1"),
        ({"temperature": 0.0, "model": "feature-sbp"}, "temperature must be finite in float32 and >= 1e-30, got 0.0"),
        ({"device": 3}, "device must be of type str, got 3"),
    ],
)
@pytest.mark.usefixtures("no_data")
def test_wrong_types_from_python(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        train(**{"dataset": "karate", "model": "label-sbp", **settings})
    assert message in str(error.value)


def test_lists_that_are_too_long_raise() -> None:
    with pytest.raises(UserError, match="depths must be at most 1,000, got 1,001"):
        depth("karate", ["sgc"], range(1001), options=Options())
    with pytest.raises(UserError, match="values must be at most 1,000, got 1,001"):
        sweep("karate", ["label-sbp"], "beta", [k / 1e4 for k in range(1001)])


def test_the_largest_counts_resolve_at_once() -> None:
    start = time.monotonic()
    config = resolve("karate", "label-sbp", COUNTS["layers"][1], seeds=COUNTS["seeds"][1], first_seed=2**32 - 1)
    assert len(config.seeds) == 10_000 and time.monotonic() - start < 1


def test_a_sweep_does_not_ignore_its_own_setting(capsys: Any) -> None:
    argv = ("sweep", "--dataset", "karate", "--setting", "lr", "--values", "0.1", "--lr", "0.2")
    assert "sweep varies lr: it must not be set as well, got 0.2" in refused(capsys, *argv)


def test_a_missing_compiler_is_reported(capsys: Any) -> None:
    config = pytest.importorskip("torch._inductor.config")
    torch.compiler.reset()
    with config.patch({"cpp.cxx": (None, "/no/compiler")}):
        message = refused(capsys, "train", "--dataset", "karate", "--model", "gcn", "--compile", "--epochs", "3")
    assert "compile cannot be used here: " in message and "/no/compiler" in message


@pytest.mark.parametrize("settings", ["--model jknet --jump cat"])
def test_saved_steps_count_as_memory(settings: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine with 1 GiB of memory.
    monkeypatch.setattr("sbp_study.training.limits.os.sysconf", lambda name: 2**15)
    argv = ("train", "--dataset", "karate", *settings.split(), "--layers", "100000")
    assert "with 100000 layers is too large: " in refused(capsys, *argv)
