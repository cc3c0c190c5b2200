"""The conformance suite over the device code, and tests of its degree bins, hub rows, lanes and barriers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from sbp_kernels import SignedGraph, signed_pair, signed_propagate
from sbp_kernels.dispatch import OpContext, lower_multi_step, run_multi_step
from tests import oracle
from tests.graphs import GRAPHS, edges, hub, values

# Building the device code for the CPU takes a minute.
pytestmark = pytest.mark.slow


def suite(name: str) -> types.ModuleType:
    path = Path(__file__).parents[1] / f"sbp_kernels/{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_of_device_code", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_suite = suite("test_conformance")
# Every test of the suites, collected here with this folder's backend.
for _module in (_suite, suite("test_magnitudes")):
    globals().update({name: test for name, test in vars(_module).items() if name.startswith("test_")})


def dense_graph(n: int = 60) -> SignedGraph:
    """Rows of 0 to 200 edges: every bin, and hubs of many chunks, in both halves."""
    target = torch.repeat_interleave(torch.arange(n), (torch.arange(n) % 10) ** 2 + (torch.arange(n) == 7) * 120)
    source = torch.randint(n, target.shape, generator=torch.Generator().manual_seed(0))
    pos = torch.stack([source, target])
    neg = torch.stack([target.flip(0), source])
    size = target.numel()
    weights = {"pos_edge_weight": values(size, 0), "neg_edge_weight": values(size, 1)}
    return SignedGraph.from_edge_index(pos, neg, n, **weights).normalize("sym")


@pytest.mark.parametrize("width", [1, 4, 8, 19, 32, 64, 100, 128, 256, 512, 602, 1100])
@pytest.mark.parametrize("dtype", _suite.DTYPES, ids=str)
@pytest.mark.parametrize("layer_norm", [False, True], ids=["", "layer_norm"])
def test_every_bin_and_cut(backend, width, dtype, layer_norm):
    graph = dense_graph()
    x = _suite.features(60, width, dtype)
    if layer_norm and width < 8:
        pytest.skip("a row of few features has no variance to speak of")
    call = _suite.COEFFICIENTS | {"layer_norm": layer_norm}
    got = signed_propagate(x, graph, **call, backend=backend)
    reference = signed_propagate(x, graph, **call, backend="reference")
    oracle.assert_close(got, reference, oracle.propagate(x, graph, **call), f"width {width}")


@pytest.mark.parametrize("dtype", _suite.DTYPES, ids=str)
def test_pair_over_hubs(backend, dtype):
    for graph in (dense_graph(), hub()):
        x = _suite.features(graph.num_cols, 72, dtype)
        got, reference = (signed_pair(x, graph, backend=b) for b in (backend, "reference"))
        for half, g, r in zip(oracle.halves(graph), got, reference, strict=True):
            oracle.assert_close(g, r, half @ x.double(), "pair")


@pytest.mark.parametrize("dtype", _suite.DTYPES, ids=str)
@pytest.mark.parametrize("name", [*GRAPHS, "dense"])
def test_dot_and_edge_dot(device_kernels, name, dtype):
    from sbp_kernels import CSR
    from sbp_kernels.backends import reference

    graph = dense_graph() if name == "dense" else GRAPHS[name]()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    for width in (19, 64):
        x, y = _suite.features(graph.num_cols, width, dtype), _suite.features(graph.num_rows, width, dtype, seed=1)
        residual = _suite.features(graph.num_rows, width, dtype, seed=2)
        terms = [None if h is None else h.operand(x, wide, reference) for h in (graph.pos, graph.neg)]
        tolerance = {"rtol": 1e-9, "atol": 1e-9} if wide == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
        torch.testing.assert_close(
            device_kernels.signed_dot(y, x, residual, *terms, graph.degree_bins(device_kernels)),
            reference.signed_dot(y, x, residual, *terms, None),
            **tolerance,
        )
        for half, term in zip((graph.pos, graph.neg), terms, strict=True):
            if isinstance(half, CSR):
                torch.testing.assert_close(
                    device_kernels.edge_dot(y, x, term), reference.edge_dot(y, x, term), **tolerance
                )


def test_without_degree_bins_every_row_gets_a_warp(device_kernels, backend, monkeypatch):
    monkeypatch.setattr(device_kernels, "degree_bins", lambda *_: device_kernels.DegreeBins())
    graph, x = dense_graph(), _suite.features(60, 40, torch.float32)
    got = signed_propagate(x, graph, **_suite.COEFFICIENTS, backend=backend)
    exact = oracle.propagate(x, graph, **_suite.COEFFICIENTS)
    assert (got.double() - exact).abs().max() <= 1e-4


def test_a_plan_has_every_row_once(device_kernels):
    graph = dense_graph()
    degree = graph.pos.rowptr.diff() + graph.neg.rowptr.diff()
    plan = device_kernels.bin_rows(degree, 8, 64, 100)
    hubs = plan.hub[:-1, 0]
    rows = torch.cat([hubs, plan.block_rows, plan.warp_rows, plan.light_rows])
    assert torch.equal(rows.sort().values, torch.arange(60, dtype=torch.int32)) and hubs.numel() > 1
    for h, row in enumerate(hubs.tolist()):
        parts = plan.chunk[plan.hub[h, 1] : plan.hub[h + 1, 1]]
        assert (parts[:, 0] == row).all() and parts[0, 1] == 0 and parts[-1, 2] == degree[row]
        assert torch.equal(parts[1:, 1], parts[:-1, 2])


def test_a_coefficient_of_zero_reads_nothing_of_its_half(backend):
    """NaN in a half with coefficient zero, given as a number or as a tensor, must not reach the result."""
    n = 60
    graph = dense_graph()
    x = _suite.features(n, 24, torch.float32)
    poisoned = SignedGraph(graph.pos.with_weight(graph.pos.weight.clone()), graph.neg)
    poisoned.pos.weight.fill_(torch.nan)
    for alpha in (0.0, torch.tensor(0.0)):
        got = signed_propagate(x, poisoned, alpha=alpha, beta=0.5, backend=backend)
        assert bool(torch.isfinite(got).all())


def test_infinite_features_stay_in_their_half(backend):
    x = torch.ones(3, 8)
    x[0] = torch.inf
    one = torch.tensor([[0], [2]])
    other = torch.tensor([[1], [2]])
    pos, neg = signed_pair(x, SignedGraph.from_edge_index(other, one, 3), backend=backend)
    assert torch.equal(pos[2], torch.ones(8)) and bool((neg[2] == torch.inf).all())


def test_results_repeat_bit_for_bit_in_either_order_of_lanes(backend, tmp_path):
    """A missing barrier, or a sum that depends on the order of threads, would change the bits."""
    if "SBP_SHIM_REVERSED" in os.environ:
        return
    code = Path(__file__).with_name("bits.py")
    outputs = []
    for reversed_lanes in (False, True):
        root = os.environ.get("SBP_ROOT", str(Path(__file__).parents[2]))
        env = os.environ | {"PYTHONPATH": root}
        if reversed_lanes:
            env["SBP_SHIM_REVERSED"] = "1"
        outputs.append(subprocess.run([sys.executable, str(code)], env=env, check=True, capture_output=True).stdout)
    assert outputs[0] == outputs[1] and len(outputs[0]) > 60


def test_large_edge_counts_cross_blocks(backend):
    """Each bin has more rows than one block takes."""
    n = 700
    graph = SignedGraph.from_edge_index(edges(2500, n, n, 0), edges(2500, n, n, 1), n).normalize("row")
    x = _suite.features(n, 16, torch.bfloat16)
    reference = signed_propagate(x, graph, **_suite.COEFFICIENTS, backend="reference")
    got = signed_propagate(x, graph, **_suite.COEFFICIENTS, backend=backend)
    oracle.assert_close(got, reference, oracle.propagate(x, graph, **_suite.COEFFICIENTS), "many rows")


@pytest.mark.parametrize("dtype", _suite.DTYPES, ids=str)
@pytest.mark.parametrize("layer_norm", [False, True], ids=["", "layer_norm"])
@pytest.mark.parametrize("at_once", [True, False], ids=["one launch", "apart"])
@pytest.mark.parametrize("name", ["dense", "labels", "row"])
def test_steps(device_kernels, monkeypatch, name, at_once, layer_norm, dtype):
    """K steps and their weighted sum, in one cooperative launch and in several launches per step."""
    graph = dense_graph() if name == "dense" else GRAPHS[name]()
    if at_once:
        # Rows in chunks need a second launch per step.
        monkeypatch.setattr(device_kernels, "_BLOCK", 10**6)
    monkeypatch.setenv("SBP_SHIM_COOPERATIVE", str(int(at_once)))
    num_steps, eps = 5, 1e-5 if layer_norm else None
    gamma = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.7, -0.4], dtype=torch.float64)
    for width in (24, 40, 600) if dtype == torch.float32 else (24,):
        for fixed in (False, True):
            x, residual = (_suite.features(graph.num_cols, width, dtype, seed=s) for s in (0, 1))
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            op = OpContext(device_kernels, graph, (0.6, 0.44, -0.28), own_residual=not fixed, eps=eps)
            lowered, given = lower_multi_step(op, x, None), residual if fixed else None
            y, total = run_multi_step(op, lowered, x, given, num_steps, gamma.to(wide))
            call = _suite.COEFFICIENTS | {"layer_norm": layer_norm}
            states = [x]
            exact = [x.double()]
            for _ in range(num_steps):
                more = {"residual": residual} if fixed else {}
                states.append(signed_propagate(states[-1], graph, **call, **more, backend="reference"))
                more = {"residual": residual.double()} if fixed else {}
                exact.append(oracle.propagate(exact[-1], graph, **call, **more))
            oracle.assert_close(y, states[-1], exact[-1], f"y, width {width}")
            sum_of = lambda values, to: sum(g * v.to(to) for g, v in zip(gamma.tolist(), values, strict=True))  # noqa: E731
            oracle.assert_close(
                total, sum_of(states, wide).to(dtype), sum_of(exact, torch.float64), f"sum, width {width}"
            )


@pytest.mark.slow
def test_memory_is_clean():
    """The suite once more under AddressSanitizer and UBSan, with lanes in reverse order."""
    if "SBP_SHIM_SANITIZE" in os.environ:
        pytest.skip("this is that process")
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={n}"], capture_output=True, text=True, check=True).stdout.strip()
        for n in ("libasan.so", "libubsan.so", "libstdc++.so")
    ]
    env = os.environ | {
        "SBP_SHIM_SANITIZE": "address,undefined",
        "SBP_SHIM_REVERSED": "1",
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    chosen = "bin_and_cut or test_pair or dot_and or test_steps or test_forward or test_large or every_width_of"
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-x", "-p", "no:cacheprovider", __file__, "-k", chosen]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
