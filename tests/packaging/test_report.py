"""`python -m sbp_kernels` prints its report, whatever is broken."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import sbp_kernels
from sbp_kernels import __main__ as report

ROOT = Path(__file__).parents[2]


def run(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sbp_kernels"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_report_names_versions_and_kernels():
    text = run(SBP_CPU_ISA="avx2")
    assert sbp_kernels.__version__ in text and "SBP_CPU_ISA=avx2" in text
    for name in ("torch", "triton", "C++ compiler", "nvcc", "native", "processor"):
        assert name in text


def test_report_survives_a_torch_that_does_not_import(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')\n")
    text = run(PYTHONPATH=str(tmp_path))
    assert "failed: OSError: libtorch_cpu.so: cannot open shared object file" in text
    assert sbp_kernels.__version__ in text and "processor" in text


def test_every_probe_is_guarded(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise RuntimeError("no\nsuch probe")

    for name in ("source", "system", "processor", "first_line", "nvcc", "package", "variables", "kernels"):
        monkeypatch.setattr(report, name, fail)
    assert report.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("failed: RuntimeError: no such probe" in line for line in lines) == len(lines) - 1


def test_report_imports_only_the_standard_library():
    tree = ast.parse(Path(report.__file__).read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
