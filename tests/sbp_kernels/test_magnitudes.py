"""Weights, scales and features of any magnitude: results that float64 has do not get lost in float32."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from tests.graphs import edges

ROWPTR, COL = torch.tensor([0, 1, 2]), torch.tensor([0, 1], dtype=torch.int32)


@pytest.mark.parametrize("size", [1e-41, 1e-38, 1e-30, 1.0, 1e30, 1e38])
@pytest.mark.parametrize("mode", ["row", "sym"])
@pytest.mark.parametrize("joint", [False, True])
def test_weights_of_any_magnitude_are_normalized(backend, size, mode, joint):
    index, other = edges(60, 12, 12, 0), edges(40, 12, 12, 1)
    weight = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    pos, neg = weight.split([60, 40])
    unit, scaled = (
        SignedGraph.from_edge_index(index, other, 12, pos_edge_weight=pos * s, neg_edge_weight=neg * s).normalize(
            mode, joint=joint
        )
        for s in (1.0, size)
    )
    x = torch.randn(12, 5)
    want, got = (signed_propagate(x, graph, beta=0.5, lam=0.5, backend=backend) for graph in (unit, scaled))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_node_scales_that_float32_cannot_hold(backend):
    scale = torch.full((2,), 1e60, dtype=torch.float64)
    graph = SignedGraph(CSR(ROWPTR, COL.flip(0), row_scale=scale, col_scale=1.0 / scale))
    x = torch.randn(2, 3)
    torch.testing.assert_close(signed_propagate(x, graph, backend=backend), x.flip(0))


@pytest.mark.parametrize("mode", ["row", "sym"])
def test_large_features_times_large_normalized_weights(backend, mode):
    """The factor of an edge is a product of its weight and its scales, before it meets the features."""
    index = edges(60, 12, 12, 0)
    weight = torch.rand(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    graphs = [
        SignedGraph(CSR.from_edge_index(index, weight * size, num_nodes=12).normalize(mode)) for size in (1.0, 1e41)
    ]
    x = torch.rand(12, 5, dtype=torch.float64) * 1e300
    want, got = (signed_propagate(x, graph, backend=backend) for graph in graphs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e17, 1e20, 1e30, 8e37])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_layer_norm_of_rows_of_any_magnitude(backend, size, dtype, eps):
    """Squares of a row may overflow, or vanish, where the row itself does not."""
    index = torch.stack([torch.arange(4), torch.arange(4)])
    graph = SignedGraph(CSR.from_edge_index(index, num_nodes=4))
    base = torch.randn(4, 19, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (base * size).to(dtype)
    norm = torch.nn.LayerNorm(19, eps=eps, elementwise_affine=False)
    for num_steps in (1, 3):
        got = signed_propagate(x, graph, layer_norm=norm, num_steps=num_steps, backend=backend)
        want = x.double()
        for _ in range(num_steps):
            want = torch.nn.functional.layer_norm(want, (19,), eps=eps).to(dtype).double()
        rounding = torch.finfo(dtype).eps
        torch.testing.assert_close(got.double(), want, rtol=20 * rounding, atol=20 * rounding)
    if dtype != torch.float64:
        # A sum that overflows where no number does.
        large = torch.full_like(x, 3e38)
        assert bool(signed_propagate(large, graph, layer_norm=True, backend=backend).isfinite().all())


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e200, 5e307])
@pytest.mark.parametrize("width", [19, 700])
def test_layer_norm_of_float64_rows_beyond_the_root_of_their_range(backend, size, width):
    graph = SignedGraph(CSR(torch.arange(5), torch.arange(4, dtype=torch.int32)))
    x = torch.rand(4, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    norm = torch.nn.LayerNorm(width, eps=0.0, elementwise_affine=False)
    got = signed_propagate(x * size, graph, layer_norm=norm, backend=backend)
    # Numbers near 1e-310 have 13 binary digits fewer.
    tolerance = 1e-9 if size < 1e-300 else 1e-12
    torch.testing.assert_close(got, torch.nn.functional.layer_norm(x, (width,), eps=0.0), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [1, 7, 19, 33, 700])
def test_layer_norm_of_constant_rows(backend, dtype, width):
    """The variance of a constant row is exactly 0: without an epsilon there is no result, with one it is 0."""
    graph = SignedGraph(CSR(torch.arange(6), torch.arange(5, dtype=torch.int32)))
    x = torch.tensor([0.0, 0.1, -3.3, 1e-38, 3e38]).to(dtype)[:, None].expand(5, width)
    for eps in (0.0, 1e-30):
        norm = torch.nn.LayerNorm(width, eps=eps, elementwise_affine=False)
        got = signed_propagate(x, graph, layer_norm=norm, backend=backend)
        # Forward mode computes its value along with the tangent.
        step = lambda v, norm=norm: signed_propagate(v, graph, layer_norm=norm, backend=backend)  # noqa: E731
        for y in (got, torch.func.jvp(step, (x.contiguous(),), (torch.ones(x.shape, dtype=dtype),))[0]):
            assert bool(torch.isnan(y).all() if eps == 0.0 else (y.abs() < 1e-20).all())


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e17, 1e30])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_gradient_of_layer_norm_of_rows_of_any_magnitude(backend, size, eps):
    """The square of 1/std overflows for rows of 1e-20; only derivatives of second order need it."""
    index = torch.stack([torch.arange(4), torch.arange(4)])
    graph = SignedGraph(CSR.from_edge_index(index, num_nodes=4))
    x = (torch.randn(4, 19, generator=torch.Generator().manual_seed(0)) * size).requires_grad_()
    g = torch.randn(4, 19, generator=torch.Generator().manual_seed(1))
    norm = torch.nn.LayerNorm(19, eps=eps, elementwise_affine=False)
    got = torch.autograd.grad(signed_propagate(x, graph, layer_norm=norm, backend=backend), x, g)[0]
    wide = x.detach().double().requires_grad_()
    want = torch.autograd.grad(torch.nn.functional.layer_norm(wide, (19,), eps=eps), wide, g.double())[0]
    torch.testing.assert_close(got.double() * size, want * size, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("huge", [torch.inf, torch.nan])
def test_a_coefficient_of_zero_reads_nothing(backend, tensor, huge):
    """Whatever a zero multiplies may be infinite: features behind a half, a residual, sums of classes."""
    zero = torch.tensor(0.0) if tensor else 0.0
    x, endless = torch.randn(5, 6), torch.full((5, 6), huge)
    eye = CSR(torch.arange(6), torch.arange(5, dtype=torch.int32))
    # Features 3 and 4 are read by the negative half alone.
    x[3:] = huge
    pos = CSR(torch.tensor([0, 1, 2, 3, 3, 3]), torch.arange(3, dtype=torch.int32), num_cols=5)
    labels = ClassBlock(torch.tensor([0, 0, 1, 1, 1]), torch.eye(2))
    for neg in (eye, labels):
        got = signed_propagate(x, SignedGraph(pos, neg), alpha=1.0, beta=zero, lam=1.0, backend=backend)
        torch.testing.assert_close(got[:3], x[:3])
        assert bool((got[3:] == 0).all())
    lam = torch.tensor(1.0) if tensor else 1.0
    got = signed_propagate(x, SignedGraph(pos), lam=lam, residual=endless, backend=backend)
    torch.testing.assert_close(got[:3], x[:3])
