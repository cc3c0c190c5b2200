"""The build backend asks for torch only where it is needed, and a package without kernels says so at its first use."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import pytest
import torch

import sbp_kernels
from sbp_kernels import CSR, SignedGraph, backends, signed_propagate

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("sbp_build_backend", ROOT / "build_tools/backend.py")
backend = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(backend)


@pytest.fixture
def installed(monkeypatch):
    """Return a function that pretends that a version of torch is installed, or that none is."""
    monkeypatch.delenv("SBP_BUILD_NATIVE", raising=False)
    monkeypatch.setattr(backend, "has_compiler", lambda: True)

    def pretend(version):
        def found(name):
            if version is None:
                raise metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(backend.metadata, "version", found)

    return pretend


@pytest.mark.parametrize(
    ("version", "wanted"),
    [(None, True), ("2.9.1", True), ("1.13", True), ("2.10.0", False), ("2.13.0+cpu", False), ("3.0.0a0+git1", False)],
)
def test_torch_is_required_only_without_a_usable_one(installed, version, wanted):
    installed(version)
    expected = ["torch>=2.10"] if wanted else []
    assert backend.torch_requirement() == expected
    for hook in (backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable):
        assert [r for r in hook() if r.startswith("torch")] == expected


def test_torch_is_not_required_without_a_build(installed, monkeypatch):
    installed(None)
    monkeypatch.setenv("SBP_BUILD_NATIVE", "0")
    assert backend.torch_requirement() == []
    monkeypatch.delenv("SBP_BUILD_NATIVE")
    monkeypatch.setattr(backend, "has_compiler", lambda: False)
    assert backend.torch_requirement() == []


def test_compiler_is_that_of_cxx_or_on_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not backend.has_compiler()
    program = tmp_path / "my-c++"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", "my-c++ -m64")
    assert backend.has_compiler()
    monkeypatch.setenv("CXX", "other-c++")
    assert not backend.has_compiler()


def test_first_call_without_kernels_warns_once(monkeypatch):
    monkeypatch.setattr(backends, "NOT_LOADED", "the C++ extension was not built")
    monkeypatch.setattr(backends.native, "NOT_LOADED", "the C++ extension was not built")
    monkeypatch.setattr(backends.triton, "unsupported", lambda x: "not here")
    backends._warn_without_kernels.cache_clear()
    edges = torch.tensor([[0, 1], [1, 0]])
    graph = SignedGraph(CSR.from_edge_index(edges, num_nodes=2), CSR.from_edge_index(edges, num_nodes=2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            signed_propagate(torch.randn(2, 4), graph)
    assert [str(w.message) for w in caught if w.category is RuntimeWarning] == [
        "sbp_kernels runs on plain PyTorch, which is many times slower: the C++ extension was not built"
    ]
    backends._warn_without_kernels.cache_clear()


def test_a_build_without_a_compiler_leaves_out_the_extension(tmp_path):
    """setup.py says so on stderr, and SBP_BUILD_NATIVE=1 makes it an error."""
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "setup.py", "--name"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "there is no C++ compiler" in done.stderr
    environment["SBP_BUILD_NATIVE"] = "1"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "SBP_BUILD_NATIVE=1, but there is no C++ compiler" in done.stderr


def test_version_comes_from_one_place():
    text = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in text and "sbp_kernels.__version__" in text
    for name in ("CITATION.cff", "CHANGELOG.md"):
        assert sbp_kernels.__version__ in (ROOT / name).read_text(), f"{name} names another version"
