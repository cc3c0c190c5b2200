"""mypy sees the package's types from outside: both packages have a py.typed file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """\
import torch
from sbp_kernels import ClassBlock, SignedGraph, signed_propagate
from sbp_study import train

graph = SignedGraph.from_edge_index(torch.ones(2, 3), torch.ones(2, 3), num_nodes=4)
reveal_type(signed_propagate(torch.ones(4, 8), graph, lam=0.5))
reveal_type(ClassBlock.mean(4))
reveal_type(train)
signed_propagate(torch.ones(4, 8), graph, num_steps="3")
"""


def test_types_are_seen_from_outside(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "python")])
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent", "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"MYPYPATH": paths}, capture_output=True, text=True, check=False
    )
    assert 'Revealed type is "torch._tensor.Tensor"' in done.stdout, done.stdout
    assert 'Revealed type is "sbp_kernels.adjacency.class_block.ClassBlock"' in done.stdout
    assert 'Argument "num_steps"' in done.stdout and "Found 1 error in 1 file" in done.stdout


@pytest.mark.parametrize("package", ["sbp_kernels", "python/sbp_study"])
def test_marker_is_packaged(package):
    assert (ROOT / package / "py.typed").exists()
    assert f'{Path(package).name} = ["py.typed"]' in (ROOT / "pyproject.toml").read_text()
