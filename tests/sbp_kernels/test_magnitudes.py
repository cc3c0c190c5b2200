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
