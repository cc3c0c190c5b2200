"""The conformance suite and the kernel tests under Triton's interpreter, in processes of their own.

The interpreter must be chosen before Triton's first import, and excludes compiling in the same process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sbp_kernels.backends import triton as kernels

ROOT = Path(__file__).parents[2]
CONFORMANCE = ["tests/sbp_kernels/test_conformance.py", "-p", "tests.triton.many_rows", "-k", "triton"]
SHARES = {"kernels": ["tests/triton/test_kernels.py"], "conformance": CONFORMANCE}


def run(code: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], cwd=ROOT, env=os.environ | env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None or find_spec("triton").origin is None, reason="triton is not installed")
@pytest.mark.parametrize("share", SHARES)
def test_under_the_interpreter(share):
    # Kernels as a GPU would cut them, then the suite of every backend.
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *SHARES[share]]
    done = run(command, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and " failed" not in done.stdout


def test_a_cpu_tensor_is_refused_with_the_reason():
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter takes CPU tensors")
    assert "triton" in (kernels.unsupported(torch.zeros(1, 1)) or "")


def test_without_triton_the_package_imports_and_says_so():
    code = (
        "import importlib.util as u, sys; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'triton' else real(name, *a)\n"
        "import torch; from sbp_kernels.backends import triton\n"
        "print(triton.unsupported(torch.zeros(1, 1)), 'triton' in sys.modules)"
    )
    done = run(["-c", code])
    assert done.stdout.strip() == "triton is not installed: pip install triton False", done.stdout + done.stderr


def test_importing_the_backend_does_not_import_triton():
    code = "import sys, sbp_kernels.backends.triton; print('triton' in sys.modules)"
    assert run(["-c", code]).stdout.strip() == "False"
