"""The suites of every backend for Triton's kernels under its interpreter, in other processes: 5 minutes of one core.

The interpreter must be set before the first import of Triton and excludes compilation in the same process. Of the slow
suites, a part that runs every kernel is tested here. To run all of one (finite differences take 7 minutes):

    TRITON_INTERPRET=1 python -m pytest -p tests.triton.many_rows -k triton tests/sbp_kernels/test_gradients.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sbp_kernels.backends.triton import ops as kernels

ROOT = Path(__file__).parents[2]
# A file and the selection of its tests, the longest first: the suites of every backend, and the kernels with GPU tiles.
SHARES = {
    "conformance": ("tests/sbp_kernels/test_conformance.py", "triton"),
    "kernels": ("tests/triton/test_kernels.py", ""),
    "gradients": (
        "tests/sbp_kernels/test_gradients.py",
        "triton and (normalized-own-layer_norm or in_every_type or stale or pair or bipartite or save_no or stored)",
    ),
    "torch": (
        "tests/sbp_kernels/test_torch_integration.py",
        "triton and (learn or export or autocast or sparse-static or features-dynamic)",
    ),
}


def run(code: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], cwd=ROOT, env=os.environ | env, capture_output=True, text=True)


def interpret(share: str) -> subprocess.CompletedProcess[str]:
    file, chosen = SHARES[share]
    plugins = ["-p", "no:cacheprovider", *(["-p", "tests.triton.many_rows"] if chosen else [])]
    return run(["-m", "pytest", "-q", *plugins, file, "-k", chosen], TRITON_INTERPRET="1")


@pytest.fixture(scope="module")
def runs(request):
    """Run the selected shares, as many at a time as there are cores."""
    wanted = [item.callspec.params["share"] for item in request.session.items if "runs" in item.fixturenames]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield {share: pool.submit(interpret, share) for share in wanted}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None or find_spec("triton").origin is None, reason="triton is not installed")
@pytest.mark.parametrize("share", SHARES)
def test_under_the_interpreter(runs, share):
    done = runs[share].result()
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
        "import torch; from sbp_kernels.backends.triton import ops as triton\n"
        "print(triton.unsupported(torch.zeros(1, 1)), 'triton' in sys.modules)"
    )
    done = run(["-c", code])
    assert done.stdout.strip() == "triton is not installed: pip install triton False", done.stdout + done.stderr


def test_importing_the_backend_does_not_import_triton():
    code = "import sys, sbp_kernels.backends.triton.ops; print('triton' in sys.modules)"
    assert run(["-c", code]).stdout.strip() == "False"
