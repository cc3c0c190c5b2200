"""Fuzz target "cli": `python -m sbp_study` with one wrong flag or run file ends with one line on stderr."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from ..inputs.choices import Reader
from ..inputs.graphs import Spec
from ..oracle.checks import Problem
from .bad_arguments import INSIDE

BYTES, BATCH = 6, 5
SHRINKS = False
Mark = Callable[[int], None]
SMALL = ["--dataset", "karate", "--seeds", "1", "--quiet", "--epochs", "2"]
BASES: dict[str, list[str]] = {
    "train": [*SMALL, "--model", "label-sbp", "--layers", "2"],
    "depth": [*SMALL, "--models", "sgc", "--layers", "2", "--no-keep", "--out", "OUT"],
    "sweep": [*SMALL, "--setting", "beta", "--values", "0.5", "--models", "label-sbp", "--no-keep", "--out", "OUT"],
    "signed": ["--dataset", "karate"],
    "reproduce": ["no-such-table", "--out", "OUT"],
    "list": [],
}
VALUES = (
    "x",
    "",
    "-1",
    "0",
    "1.5",
    "nan",
    "inf",
    "1e400",
    "9" * 30,
    "1099511627776",
    "1,2",
    "1,,x",
    ",",
    "--",
    "all",
    "True",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "a" * 5000,
    "../..",
    "/dev/null",
    "/proc/1/mem",
    "-0.5",
    "0x10",
    " 1",
    "1_000",
)
FILES: dict[str, bytes] = {
    "empty": b"",
    "{}": b"{}",
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "text": b'"x"',
    "binary": bytes(range(256)),
    "cut": b"",
    "deep": b"[" * 100_000,
    "wrong types": b"",
}


@cache
def flags() -> dict[str, list[str]]:
    """Every flag of every command, and "" for a missing or surplus word."""
    from sbp_study.cli.parser import build_parser

    commands = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = {}
    for name, parser in commands.choices.items():
        found[name] = [a.option_strings[-1] for a in parser._actions if a.option_strings and a.dest != "help"] + [""]
    return found


def decode(data: bytes) -> Spec:
    r = Reader(data)
    if r.chance(18):
        return {"op": "run file", "function": "train", "argument": "run file", "value": r.one_of(tuple(FILES))}
    command = r.one_of(tuple(BASES))
    value = r.one_of((*VALUES, None))
    return {"op": "cli", "function": command, "argument": r.one_of(flags()[command]), "value": value}


def strategy(device: str) -> st.SearchStrategy[Spec]:
    call = st.binary(min_size=BYTES, max_size=BYTES).map(decode)
    return st.lists(call, min_size=BATCH, max_size=BATCH).map(lambda calls: {"target": "cli", "calls": calls})


def run(case: Spec, mark: Mark, device: str = "cpu") -> list[tuple[int, Problem]]:
    torch.set_num_threads(1)
    problems = []
    for index, call in enumerate(case["calls"]):
        mark(index)
        problem = check_file(call) if call["op"] == "run file" else check_flag(call)
        if problem is not None:
            problems.append((index, problem))
    return problems


def words(call: Spec, out: str) -> list[str]:
    """The command line: the flag's value is replaced, or the flag is added behind."""
    base = [out if word == "OUT" else word for word in BASES[call["function"]]]
    flag, value = call["argument"], call["value"]
    given = [] if value is None else [value]
    if flag in base:
        at = base.index(flag)
        base[at : at + 2] = [flag, *given]
    else:
        base += [flag, *given] if flag else given
    return [call["function"], *base]


def invoke(argv: list[str]) -> tuple[int | None, str, Exception | None]:
    """(exit status, stderr, what came out of main)."""
    from sbp_study.cli.commands import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            return main(argv), err.getvalue(), None
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1, err.getvalue(), None
        except Exception as error:
            return None, err.getvalue(), error


def judge(argv: list[str], what: str) -> Problem | None:
    status, text, error = invoke(argv)
    if error is not None:
        where: Any = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{'/'.join(where.filename.split('/')[-2:])}:{where.lineno}"
        return Problem("traceback", f"{type(error).__name__} at {place} from {what}", str(error))
    lines = [line for line in text.strip().splitlines() if line]
    if status not in (0, 2, 130):
        return Problem("exit status", f"{status} from {what}", text)
    if status == 2 and (len(lines) != 1 or INSIDE.search(text) or not lines[0].startswith("error: ")):
        return Problem("unclear message", what, text)
    return None


def check_flag(call: Spec) -> Problem | None:
    with tempfile.TemporaryDirectory() as out:
        return judge(words(call, out), f"sbp {call['function']} {call['argument']} {str(call['value'])[:40]}")


@cache
def finished() -> Path:
    """A folder with the run files of a finished study."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-runs-"))
    status, text, error = invoke(["train", *BASES["train"], "--keep", "--out", str(folder)])
    assert status == 0, (status, text, error)
    return folder


def check_file(call: Spec) -> Problem | None:
    """A broken run file: the run is made again, or the message names the file."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "runs"
        shutil.copytree(finished(), folder)
        files = sorted(folder.rglob("*.json"))
        if not files:
            return Problem("exit status", "no run file was stored", str(list(folder.rglob("*"))))
        whole = files[0].read_bytes()
        broken = FILES[call["value"]]
        if call["value"] == "cut":
            broken = whole[: len(whole) // 2]
        elif call["value"] == "wrong types":
            document = json.loads(whole)
            broken = json.dumps({k: [v] for k, v in document.items()} if isinstance(document, dict) else 1).encode()
        files[0].write_bytes(broken)
        return judge(["train", *BASES["train"], "--keep", "--out", str(folder)], f"a run file of {call['value']}")
