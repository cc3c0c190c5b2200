"""Weights, scales and features of any magnitude: results that float64 has do not get lost in float32."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, SignedGraph, signed_propagate
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e17, 1e20, 1e30, 3e37])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_layer_norm_of_rows_of_any_magnitude(backend, size, dtype, eps):
    """Squares of a row may overflow, or vanish, where the row itself does not."""
    if backend == "triton" and (size != 1.0 or eps == 0.0):
        pytest.skip("triton: LayerNorm sums the squares in the accumulation type (README, Limits)")
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


def test_float64_rows_beyond_the_root_of_their_range():
    """On the CPU kernels only: plain torch's own squares overflow here."""
    index = torch.stack([torch.arange(4), torch.arange(4)])
    graph = SignedGraph(CSR.from_edge_index(index, num_nodes=4))
    x = torch.randn(4, 19, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (1e-200, 1e200):
        norm = torch.nn.LayerNorm(19, eps=0.0, elementwise_affine=False)
        got = signed_propagate(x * size, graph, layer_norm=norm)
        torch.testing.assert_close(got, torch.nn.functional.layer_norm(x, (19,), eps=0.0))
