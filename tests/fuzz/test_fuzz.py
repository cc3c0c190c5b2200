"""The fuzzer in the suite: a slice of it with fixed seeds, and faults that it must find."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from sbp_kernels.backends import native
from sbp_kernels.backends._extension import NOT_LOADED

from .inputs.graphs import Spec
from .targets import core

ROOT = Path(__file__).parents[2]
Kernel = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


@pytest.mark.slow
def test_twenty_thousand_calls(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--calls", "20000", "--seed", "0"]
    run = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


@pytest.fixture(scope="module")
def cases() -> list[Spec]:
    drawn: list[Spec] = []

    @seed(7)
    @settings(
        max_examples=40, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(core.strategy("cpu"))
    def draw(case: Spec) -> None:
        drawn.append(case)

    draw()
    return drawn


def problems(cases: list[Spec]) -> int:
    return sum(len(core.run(case, lambda index: None)) for case in cases)


def last_column_twice(y: torch.Tensor) -> None:
    if y.size(1) > 1:
        y[:, -1] = y[:, -2]


def some_units_in_the_last_place(y: torch.Tensor) -> None:
    if y.numel():
        y.view(-1)[y.numel() // 2] *= 1 + 64 * torch.finfo(y.dtype).eps


FAULTS = {
    "a column twice": last_column_twice,
    "one element off": some_units_in_the_last_place,
    "a row of zeros": lambda y: y[:1].zero_(),
}


@pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(cases, fault, monkeypatch):
    """A kernel whose results are off, by little or in one place, does not pass for a right one."""

    def broken(kernel: Kernel) -> Kernel:
        def run(*args: object) -> tuple[torch.Tensor, torch.Tensor | None]:
            y, rstd = kernel(*args)
            FAULTS[fault](y)
            return y, rstd

        return run

    assert problems(cases) == 0
    for name in ("signed_spmm", "merged_spmm"):
        monkeypatch.setattr(native, name, broken(getattr(native, name)))
    assert problems(cases) > 10


@pytest.mark.filterwarnings("ignore")
def test_the_same_seed_makes_the_same_calls(cases):
    again: list[Spec] = []

    @seed(7)
    @settings(
        max_examples=40, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(core.strategy("cpu"))
    def draw(case: Spec) -> None:
        again.append(case)

    draw()
    assert again == cases


@pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
def test_every_width():
    """One instruction set of `python -m tests.fuzz.widths`, whose vectors reach back at most widths."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.widths", "--isa", "avx2"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
