"""What was built: every instruction set, one stable ABI, and life without any extension at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

import sbp_kernels
from sbp_kernels.backends._extension import NOT_LOADED
from tests.sbp_kernels.backends.processes import ROOT, python

PACKAGE = Path(sbp_kernels.__file__).parent


def test_the_extension_is_there_when_it_must_be():
    """SBP_BUILD_NATIVE=1 builds or fails; its tests must not pass by skipping."""
    if os.environ.get("SBP_BUILD_NATIVE") == "1":
        assert NOT_LOADED is None, NOT_LOADED


@pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_conformance_of_the_lesser_instruction_sets(isa):
    """The conformance suite once more, on the code that older processors get."""
    if not torch.ops.sbp.cpu_isa().startswith("AVX"):
        pytest.skip("this processor has the baseline only, which the suite ran on already")
    probe = python("-c", "import sbp_kernels, torch; print(torch.ops.sbp.cpu_isa())", SBP_CPU_ISA=isa)
    assert probe.stdout.strip().lower() == isa
    suite = str(ROOT / "tests/sbp_kernels/test_conformance.py")
    run = python("-m", "pytest", "-q", "-x", "-k", "native", suite, SBP_CPU_ISA=isa)
    assert run.returncode == 0 and " passed" in run.stdout, run.stdout[-2000:] + run.stderr[-2000:]


def test_without_an_extension_everything_still_works(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sbp_kernels", ignore=shutil.ignore_patterns("_C*", "__pycache__"))
    code = (
        "import torch, sbp_kernels as s\n"
        "print(s.__file__)\n"
        "g = s.SignedGraph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2], [0]]), 3)\n"
        "x = torch.randn(3, 2, requires_grad=True)\n"
        "s.signed_propagate(x, g.normalize('sym'), lam=0.5).sum().backward()\n"
        "print(s.explain(x, g)['native'])\n"
        "print(s.show_config())\n"
    )
    run = python("-c", code, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert str(tmp_path) in run.stdout and run.stdout.count("was not built") == 2


def test_a_broken_extension_is_a_reason_not_a_crash(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sbp_kernels", ignore=shutil.ignore_patterns("_C*", "__pycache__"))
    (tmp_path / "sbp_kernels" / "_C.abi3.so").write_bytes(b"not a library")
    run = python("-c", "import sbp_kernels as s; print(s.show_config())", cwd=tmp_path)
    assert run.returncode == 0 and "does not load" in run.stdout, run.stderr
