"""Streamed softmax adjacencies against the dense definition: over tile borders, and with a cached matrix or without."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import SignedGraph, Similarity, signed_propagate
from sbp_kernels.backends import native, similarity_blas
from sbp_kernels.backends._extension import NOT_LOADED
from tests import oracle

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=[1, 7, 1024], ids="tile={}".format)
def small_tiles(request, monkeypatch):
    monkeypatch.setattr(similarity_blas, "_TILE", request.param)
    monkeypatch.setattr(similarity_blas, "_KEPT", 0)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("flip", [False, True], ids=["", "transposed"])
@pytest.mark.parametrize("width", [1, 5, 300])
def test_tiles_add_up(width, flip, sign):
    x0, x = normal(33, width) / width**0.5, normal(33, 4, seed=1)
    half = Similarity(x0, sign, temperature=0.5)
    half = half.T if flip else half
    got = signed_propagate(x, SignedGraph(neg=half), lam=0.4, backend="native")
    torch.testing.assert_close(got, oracle.propagate(x, SignedGraph(neg=half), 1.0, 1.0, 0.4), rtol=1e-12, atol=1e-12)
    lse = native.similarity_lse(x0, half.scale)
    torch.testing.assert_close(lse, torch.logsumexp(half.scale * (x0 @ x0.T), 1), rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("flip", [False, True], ids=["", "transposed"])
def test_the_gradient_of_x0_over_tiles(flip):
    x0, x = (normal(9, 3) / 2).requires_grad_(), normal(9, 2, seed=1).requires_grad_()

    def run(x0, x):
        half = Similarity(x0, -1.0, 0.7)
        return signed_propagate(x, SignedGraph(neg=half.T if flip else half), lam=0.4, backend="native")

    assert torch.autograd.gradcheck(run, (x0, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_cached_matrix_gives_the_same(dtype, monkeypatch):
    """The second product is that of the matrix; a matrix too large for it goes on being streamed."""
    x0, x = (normal(50, 6) / 2).to(dtype), normal(50, 4, seed=1).to(dtype)
    cached = SignedGraph(neg=Similarity(x0))
    results = [signed_propagate(x, graph, lam=0.4, backend="native") for graph in (cached, cached, cached.T)]
    matrices = [matrix for _, matrix in cached.neg._softmaxes._state[1].values()]
    assert len(matrices) == 1 and matrices[0].shape == (50, 50)
    monkeypatch.setattr(similarity_blas, "_KEPT", 2499)
    streamed = SignedGraph(neg=Similarity(x0))
    for graph, got in ((streamed, results[0]), (streamed, results[1]), (streamed.T, results[2])):
        want = signed_propagate(x, graph, lam=0.4, backend="native")
        oracle.assert_close(got, want, oracle.propagate(x, graph, 1.0, 1.0, 0.4), "cached")
    assert all(matrix is None for _, matrix in streamed.neg._softmaxes._state[1].values())


def test_nothing_square_is_ever_in_memory(monkeypatch):
    """Of 3,000 nodes, no tensor of more than a tile is made (the square has nine million numbers)."""
    monkeypatch.setattr(similarity_blas, "_KEPT", 0)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor))
            return out

    x0, x = normal(3000, 8).float(), normal(3000, 4, seed=1).float()
    half = Similarity(x0)
    with Watch():
        similarity_blas.product(x0, x, similarity_blas.log_sum_exp(x0, half.scale), half.scale, False)
    assert max(sizes) <= 1024 * 1024


def test_opcheck():
    x0, scale = normal(9, 3).float(), torch.tensor(-1.0, dtype=torch.float64)
    ops, lse = torch.ops.sbp_tiles, similarity_blas.log_sum_exp(x0, scale)
    torch.library.opcheck(ops.log_sum_exp, (x0, scale))
    torch.library.opcheck(ops.product, (x0, normal(9, 2).bfloat16(), lse, scale, True))
    torch.library.opcheck(ops.gradient, (x0, x0, x0, lse, scale))


def test_rows_that_do_not_match_are_refused():
    x0, lse, one = torch.randn(5, 3), torch.randn(5), torch.tensor(1.0)
    with pytest.raises(ValueError, match="lse must have the 5 rows of x0, got 1"):
        torch.ops.sbp_tiles.product(x0, x0, lse[:1], one, False)
    with pytest.raises(ValueError, match="b must have the 5 rows of x0, got 4"):
        torch.ops.sbp_tiles.gradient(x0, x0, x0[:4], lse, one)
