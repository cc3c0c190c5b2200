"""`precompute` gives what one call would give, with little memory, and resumes after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sbp_kernels import signed_propagate
from sbp_kernels.distributed import precompute, streaming
from tests.graphs import GRAPHS


@pytest.fixture
def arrays(tmp_path):
    """Return features and an output of 23 nodes and 50 columns, as memory maps."""
    x = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(23, 50))
    x[:] = torch.randn(23, 50, generator=torch.Generator().manual_seed(0)).numpy()
    return x, np.memmap(tmp_path / "out", dtype=np.float32, mode="w+", shape=(23, 50))


@pytest.mark.parametrize("name", ["sym", "weighted", "labels", "features"])
@pytest.mark.parametrize("columns", [1, 7, 20, 500])
def test_equal_to_one_call(arrays, name, columns, monkeypatch):
    monkeypatch.setattr(streaming, "_ROW_BYTES", 1000)
    x, out = arrays
    graph = GRAPHS[name]()
    assert precompute(x, graph, 3, out, lam=0.5, alpha=0.8, memory_bytes=columns * 23 * 16) is out
    expected = signed_propagate(torch.from_numpy(np.array(x)), graph, num_steps=3, lam=0.5, alpha=0.8)
    torch.testing.assert_close(torch.from_numpy(np.array(out)), expected, rtol=1e-5, atol=1e-5)
    assert not Path(f"{out.filename}.progress").exists()


def test_resumes(arrays, monkeypatch):
    x, out = arrays
    graph, steps = GRAPHS["sym"](), []

    def interrupted(block, *args, **options):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(block.size(1))
        return signed_propagate(block, *args, **options)

    monkeypatch.setattr(streaming, "signed_propagate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        precompute(x, graph, 2, out, memory_bytes=7 * 23 * 16)
    with pytest.raises(ValueError, match="got other num_steps; delete it to start again"):
        precompute(x, graph, 3, out, memory_bytes=7 * 23 * 16)
    steps[:] = [0, 0, 0]
    precompute(x, graph, 2, out, memory_bytes=7 * 23 * 16)
    # 14 of 50 columns were done.
    assert sum(steps) == 36
    expected = signed_propagate(torch.from_numpy(np.array(x)), graph, num_steps=2)
    torch.testing.assert_close(torch.from_numpy(np.array(out)), expected, rtol=1e-5, atol=1e-5)


def test_bad_arguments(arrays):
    x, out = arrays
    graph = GRAPHS["sym"]()
    read_only = np.memmap(out.filename, dtype=np.float32, mode="r", shape=(23, 50))
    for bad, match in (
        ((x[:3], graph, 1, out), "x must be a float array"),
        ((x, graph, 1, np.zeros((23, 50))), "out must be a writable"),
        ((x, graph, 1, read_only), "out must be a writable"),
        ((x, GRAPHS["bipartite"](), 1, out), "graph must be a square"),
        ((x.astype(int), graph, 1, out), "x must be a float array"),
    ):
        with pytest.raises(ValueError, match=match):
            precompute(*bad)
    with pytest.raises(ValueError, match="memory_bytes must hold one column, 368 bytes, got 10"):
        precompute(x, graph, 1, out, memory_bytes=10)


_PROGRAM = """
import resource, sys
import numpy as np, torch
from sbp_kernels import CSR, SignedGraph
from sbp_kernels.distributed import precompute
n, d, folder = 200_000, 256, sys.argv[1]
source = torch.arange(n)
graph = SignedGraph(CSR.from_edge_index(torch.stack([source, (source + 1) % n]), num_nodes=n))
x = np.memmap(folder + "/x", dtype=np.float32, mode="r", shape=(n, d))
out = np.memmap(folder + "/out", dtype=np.float32, mode="r+", shape=(n, d))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
precompute(x, graph, 3, out, memory_bytes=4 * 4 * n * 16)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_killed_and_resumed_in_little_memory(tmp_path):
    """205 MB of features, and as much output, in less than 160 MB; SIGKILL after the first block."""
    n, d = 200_000, 256
    x = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(n, d))
    # A sparse file: three rows have values.
    x[[0, 1, n - 1]] = np.arange(3 * d).reshape(3, d)
    x.flush()
    np.memmap(tmp_path / "out", dtype=np.float32, mode="w+", shape=(n, d)).flush()
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    progress = tmp_path / "out.progress"
    with subprocess.Popen(command) as process:
        end = time.monotonic() + 100
        while not progress.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert progress.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    out = np.memmap(tmp_path / "out", dtype=np.float32, mode="r", shape=(n, d))
    # Row i is row i - 3 of x.
    assert np.array_equal(out[[3, 4, 2]], x[[0, 1, n - 1]]) and not out[5:].any() and not out[:2].any()
    assert int(again.stdout) < 160, f"{again.stdout} MB"
