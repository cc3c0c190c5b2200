"""Tests that need a GPU; `make gpu-check` runs them. Without a GPU they are skipped, with the reason."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, SignedGraph, signed_pair, signed_propagate
from sbp_kernels.backends import BACKENDS, native
from sbp_kernels.dispatch import OpContext, lower_multi_step, run_multi_step
from tests import oracle
from tests.graphs import GRAPHS, edges, labelled, weighted_and_scaled

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU, or a torch without CUDA"),
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    32,
    33,
    48,
    63,
    64,
    65,
    100,
    127,
    128,
    129,
    256,
    257,
    300,
    512,
    602,
    1433,
]
COEFS = {"alpha": 1.1, "beta": 0.7, "lam": 0.4}


@pytest.fixture(autouse=True)
def _needs_kernels():
    if torch.cuda.is_available() and native.unsupported(torch.zeros(1, 1, device="cuda")):
        pytest.fail(native.unsupported(torch.zeros(1, 1, device="cuda")))


@pytest.fixture(params=["native", "triton"])
def backend(request):
    """Both GPU backends in turn; Triton if it is installed."""
    reason = BACKENDS[request.param].unsupported(torch.zeros(1, 1, device="cuda"))
    if reason is not None:
        pytest.skip(f"{request.param}: {reason}")
    return request.param


def features(rows, width, dtype, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def coefficients(graph):
    return COEFS if graph.num_rows == graph.num_cols else COEFS | {"lam": 1.0}


def medium(dtype=torch.float32, device="cuda", n=5000, width=64):
    """Return a graph with power-law degrees, so with rows in every degree bin, and edge weights."""
    source = (torch.rand(60_000, generator=torch.Generator().manual_seed(0)) ** 3 * n).long()
    hub = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.int64)])
    pos = torch.cat([torch.stack([source, source.flip(0)]), hub], 1)
    weight = torch.rand(pos.size(1), generator=torch.Generator().manual_seed(1))
    graph = SignedGraph.from_edge_index(pos, edges(20_000, n, n, 2), n, pos_edge_weight=weight).normalize("sym")
    return graph.to(device), features(n, width, dtype).to(device)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_conformance(backend, name, dtype):
    """Forward with and without LayerNorm, gradient, and pair, on every graph of the zoo."""
    graph = GRAPHS[name]()
    there = graph.to("cuda")
    x = features(graph.num_cols, 19, dtype)
    call = coefficients(graph)
    for norm in (False, True):
        got = signed_propagate(x.cuda(), there, **call, layer_norm=norm, backend=backend)
        reference = signed_propagate(x, graph, **call, layer_norm=norm, backend="reference")
        oracle.assert_close(got.cpu(), reference, oracle.propagate(x, graph, **call, layer_norm=norm), name)
    grad = features(graph.num_rows, 19, dtype, seed=1)
    leaf, leaf64, leaf_there = x.clone().requires_grad_(), x.double().requires_grad_(), x.cuda().requires_grad_()
    got = torch.autograd.grad(signed_propagate(leaf_there, there, **call, backend=backend), leaf_there, grad.cuda())[0]
    reference = torch.autograd.grad(signed_propagate(leaf, graph, **call, backend="reference"), leaf, grad)[0]
    exact = torch.autograd.grad(oracle.propagate(leaf64, graph, **call), leaf64, grad.double())[0]
    oracle.assert_close(got.cpu(), reference, exact, name)
    for half, g, r in zip(
        oracle.halves(graph),
        signed_pair(x.cuda(), there, backend=backend),
        signed_pair(x, graph, backend="reference"),
        strict=True,
    ):
        oracle.assert_close(g.cpu(), r, half @ x.double(), name)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_width(backend, width, dtype):
    for graph in (weighted_and_scaled(), labelled(0.5)):
        x, there = features(23, width, dtype), graph.to("cuda")
        for norm in (False, True) if width > 8 else (False,):
            call = COEFS | {"layer_norm": norm}
            got = signed_propagate(x.cuda(), there, **call, backend=backend).cpu()
            reference = signed_propagate(x, graph, **call, backend="reference")
            oracle.assert_close(got, reference, oracle.propagate(x, graph, **call), f"width {width}")


@pytest.mark.parametrize("width", [1, 19, 64, 300])
def test_gradients_of_learnable_coefficients_and_weights(backend, width):
    """Coefficients and edge weights, read on the device, against plain torch."""
    results = []
    for kernels in (backend, "reference"):
        x = features(23, width, torch.float64).cuda()
        weight = weighted_and_scaled().pos.weight.clone().cuda().requires_grad_()
        learnable = [torch.tensor(v, dtype=torch.float64, device="cuda", requires_grad=True) for v in (1.1, 0.7, 0.4)]
        graph = SignedGraph(
            CSR.from_edge_index(edges(90, 23, 23, 2).cuda(), weight, 23), weighted_and_scaled().neg.to("cuda")
        )
        y = signed_propagate(x, graph, alpha=learnable[0], beta=learnable[1], lam=learnable[2], backend=kernels)
        results.append(torch.autograd.grad(y, [*learnable, weight], torch.ones_like(y)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype", DTYPES[:1] + DTYPES[2:], ids=str)
def test_a_hundred_runs_are_equal_bit_for_bit(backend, dtype):
    graph, x = medium(dtype)

    def run():
        leaf = x.clone().requires_grad_()
        alpha = torch.tensor(1.1, device="cuda", requires_grad=True)
        y = signed_propagate(leaf, graph, alpha=alpha, lam=0.4, layer_norm=True, backend=backend)
        return (y.detach(), *torch.autograd.grad(y, [leaf, alpha], torch.ones_like(y)))

    first = run()
    for _ in range(99):
        assert all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))


def test_a_large_graph_against_the_cpu(backend):
    graph, x = medium()
    got = signed_propagate(x, graph, **COEFS, num_steps=3, backend=backend)
    exact = signed_propagate(x.double(), graph, **COEFS, num_steps=3, backend="reference")
    assert (got.double() - exact).abs().max() <= 1e-4 * exact.abs().max()


def test_capture_and_replay(backend):
    graph, x = medium()
    graph.prepare()
    learnable = torch.tensor(1.1, device="cuda")
    run = lambda: signed_propagate(x, graph, alpha=learnable, lam=0.4, layer_norm=True, backend=backend)  # noqa: E731
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        out = run()
    x.copy_(features(*x.shape, torch.float32, seed=5))
    learnable.fill_(0.3)
    recorded.replay()
    assert torch.equal(out, run())


def test_the_call_path_neither_waits_nor_reads_back(backend):
    graph, x = medium()
    learnable = torch.tensor(1.1, device="cuda", requires_grad=True)
    grad = torch.ones_like(x)

    def run():
        y = signed_propagate(x, graph, alpha=learnable, lam=0.4, backend=backend)
        return torch.autograd.grad(y, learnable, grad)

    run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_two_streams_work_side_by_side(backend):
    graph, x = medium()
    want = [signed_propagate(x * scale, graph, **COEFS, backend=backend) for scale in (1, 2)]
    torch.cuda.synchronize()
    streams, got = [torch.cuda.Stream() for _ in range(2)], [[], []]
    for _ in range(20):
        for i, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                got[i].append(signed_propagate(x * (i + 1), graph, **COEFS, backend=backend))
    torch.cuda.synchronize()
    assert all(torch.equal(y, want[i]) for i in range(2) for y in got[i])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU only")
def test_another_device_than_the_current_one():
    graph, x = medium(device="cuda:1")
    here, there = medium(device="cuda:0")
    with torch.cuda.device(0):
        got = signed_propagate(x, graph, **COEFS, backend="native")
    assert got.device == x.device
    torch.testing.assert_close(got.cpu(), signed_propagate(there, here, **COEFS, backend="native").cpu())


@pytest.mark.parametrize("layer_norm", [False, True], ids=["", "layer_norm"])
@pytest.mark.parametrize("width", [19, 64, 128])
def test_steps_in_one_launch(width, layer_norm):
    for graph in (GRAPHS["row"](), labelled(0.5)):
        graph = graph.to("cuda")
        x = features(23, width, torch.float32).cuda()
        gamma = torch.linspace(1, 0.1, 9, device="cuda")
        op = OpContext(native, graph, (0.6, 0.44, -0.28), own_residual=True, eps=1e-5 if layer_norm else None)
        got, total = run_multi_step(op, lower_multi_step(op, x, None), x, None, 8, gamma)
        states = [x]
        for _ in range(8):
            states.append(signed_propagate(states[-1], graph, **COEFS, layer_norm=layer_norm, backend="native"))
        torch.testing.assert_close(got, states[-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(total, sum(g * s for g, s in zip(gamma, states, strict=True)), rtol=1e-4, atol=1e-4)


def test_gradients_through_steps():
    """One launch forward and one backward, against steps one by one."""
    graph, x = medium()
    residual, grad = features(*x.shape, torch.float32, seed=3).cuda(), features(*x.shape, torch.float32, seed=4).cuda()
    for fixed in (None, residual):
        results = []
        for at_once in (True, False):
            leaves = [t.clone().requires_grad_() for t in ((x,) if fixed is None else (x, fixed))]
            more = {"backend": "native"} | ({} if fixed is None else {"residual": leaves[1]})
            y = leaves[0]
            for _ in range(1 if at_once else 4):
                y = signed_propagate(y, graph, **COEFS, num_steps=4 if at_once else 1, **more)
            results.append((y.detach(), *torch.autograd.grad(y, leaves, grad)))
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
