"""Tests of the CUDA build that need no GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("cuda_build", ROOT / "csrc/cuda/nvcc_build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)
needs_nvcc = pytest.mark.skipif(build.find_nvcc() is None, reason="no nvcc (set CUDA_HOME)")

OPS = "signed_spmm signed_spmm_norm signed_spmm_steps signed_pair signed_dot edge_dot group_sum mix_groups"
LOADED = f"""
import sys, torch
torch.ops.load_library(sys.argv[1])
has = torch._C._dispatch_has_kernel_for_dispatch_key
print([op for op in {OPS.split()} if not (has("sbp::" + op, "CUDA") and has("sbp::" + op, "CPU"))])
print(torch.ops.sbp.cuda_archs())
print(torch.ops.sbp.mix_groups(torch.eye(3), torch.ones(3, 2)).sum().item())
"""


def build_ext(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    where = ["--build-lib", str(folder), "--build-temp", str(folder / "temp")]
    command, env = [sys.executable, "setup.py", "-q", "build_ext", *where], os.environ | {"SBP_BUILD_NATIVE": "1"} | env
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@needs_nvcc
@pytest.mark.slow
def test_builds_links_and_registers(tmp_path):
    """With any torch: the binary needs no CUDA library to load, and its CPU kernels run."""
    run = build_ext(tmp_path, SBP_BUILD_CUDA="1", TORCH_CUDA_ARCH_LIST="9.0")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    library = next((tmp_path / "sbp_kernels").glob("_C*"))
    run = subprocess.run([sys.executable, "-c", LOADED, library], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == ["[]", "900", "6.0"], run.stdout + run.stderr
    assert library.stat().st_size < 20e6


@needs_nvcc
def test_architectures_as_torch_names_them(monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
    assert build.architectures() == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9")
    with pytest.raises(SystemExit, match=r'must list numbers such as "9.0" or "9.0\+PTX", got \'9\''):
        build.architectures()
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "3.5")
    with pytest.raises(SystemExit, match="does not know"):
        build.architectures()
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    assert "-gencode=arch=compute_90,code=sm_90" in build.architectures()
    assert any(arch.endswith("code=compute_120") for arch in build.architectures())


def test_a_missing_compiler_is_named(tmp_path):
    """SBP_BUILD_CUDA=1 without nvcc stops the build with one sentence."""
    run = build_ext(tmp_path, SBP_BUILD_CUDA="1", CUDA_HOME=str(tmp_path))
    assert run.returncode != 0 and "SBP_BUILD_CUDA=1, but no nvcc was found; set CUDA_HOME" in run.stderr


def test_without_a_gpu_the_check_says_what_it_needs():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    run = subprocess.run(
        [sys.executable, "benchmarks/gpu/check.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2 and "needs a GPU and a CUDA build of torch" in run.stderr
