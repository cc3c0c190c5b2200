"""Both signs in one list: when it is read, what is in it, and that it never goes stale."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from sbp_kernels._library import NOT_LOADED
from sbp_kernels.backends import native, reference
from tests.graphs import GRAPHS, plain, weighted_and_scaled

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("make", [plain, weighted_and_scaled], ids=["plain", "weighted"])
def test_it_lists_the_edges_of_both_signs_row_by_row(make, dtype):
    graph = make()
    rowptr, split, col, value = graph.merged(dtype, native)
    assert value.dtype == dtype
    for row in range(graph.num_rows):
        for half, (begin, end) in ((graph.pos, (rowptr[row], split[row])), (graph.neg, (split[row], rowptr[row + 1]))):
            got = torch.zeros(graph.num_cols, dtype=torch.float64).index_add(
                0, col[begin:end].long(), value[begin:end].double()
            )
            torch.testing.assert_close(got, half.to_dense()[row], rtol=1e-6, atol=1e-7)


def test_it_is_made_once_and_only_where_it_is_read():
    graph = plain()
    assert graph.merged(torch.float32, native) is graph.merged(torch.float32, native)
    assert graph.merged(torch.float32, reference) is None
    assert SignedGraph(graph.pos).merged(torch.float32, native) is None
    assert SignedGraph(graph.pos, ClassBlock.mean(graph.num_rows)).merged(torch.float32, native) is None
    assert GRAPHS["int64 columns"]().merged(torch.float32, native) is None


def test_weights_that_learn_are_read_from_their_halves():
    graph = plain()
    weight = torch.rand(graph.pos.num_edges, requires_grad=True)
    learning = graph.with_weights(weight, None)
    assert learning.merged(torch.float32, native) is None
    x = torch.randn(graph.num_cols, 5)
    for _ in range(2):
        want = signed_propagate(x, SignedGraph(graph.pos.with_weight(weight.detach().clone()), graph.neg))
        torch.testing.assert_close(signed_propagate(x, learning).detach(), want)
        with torch.no_grad():
            weight.mul_(-2.0)


def test_weights_written_to_are_read_anew():
    graph = plain()
    weight = torch.rand(graph.pos.num_edges)
    graph, x = SignedGraph(graph.pos.with_weight(weight), graph.neg), torch.randn(graph.num_cols, 5)
    before = signed_propagate(x, graph)
    weight.mul_(3.0)
    after = signed_propagate(x, graph)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, signed_propagate(x, graph, backend="reference"))


@pytest.mark.parametrize("learnt", [False, True], ids=["floats", "tensors"])
def test_a_sign_whose_coefficient_is_zero_is_not_read(learnt):
    row, col = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    graph = SignedGraph(*(CSR.from_edge_index(torch.stack([source, row])) for source in (col, col.roll(1))))
    number = (lambda value: torch.tensor(value)) if learnt else (lambda value: value)
    for zero, one, poisoned in (("beta", "alpha", graph.pos), ("alpha", "beta", graph.neg)):
        x = torch.ones(3, 2)
        # Node 0 is the source of one edge of each sign; only the row of the other sign's may feel it.
        x[0] = torch.nan
        y = signed_propagate(x, graph, **{zero: number(0.0), one: number(1.0)}, backend="native")
        reached = poisoned.to_dense()[:, 0] != 0
        assert torch.equal(y[:, 0].isnan(), reached)


def test_the_list_travels_with_the_transpose_and_keeps_its_gradient():
    graph = weighted_and_scaled()
    x = torch.randn(graph.num_cols, 4, dtype=torch.float64, requires_grad=True)
    assert graph.prepare().T.merged(torch.float64, native) is not None
    torch.autograd.gradcheck(lambda x: signed_propagate(x, graph, beta=0.3, lam=0.6), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_results_that_no_cache_keeps_are_the_same(dtype, num_steps):
    # 40 to 80 MB go past the caches on any machine whose last cache has less than 320 MB; a few columns do not.
    generator = torch.Generator().manual_seed(0)
    n, width = 40_000, 512 if dtype.itemsize == 2 else 256
    pos, neg = (torch.randint(n, (2, m), generator=generator) for m in (90_000, 50_000))
    graph = SignedGraph.from_edge_index(pos, neg, n).normalize("sym")
    x = torch.randn(n, width, generator=generator).to(dtype)
    step = {"beta": 0.7, "lam": 0.4, "num_steps": num_steps}
    whole = signed_propagate(x, graph, **step)
    for columns in (slice(0, 8), slice(width - 8, width)):
        assert torch.equal(whole[:, columns], signed_propagate(x[:, columns].contiguous(), graph, **step))
    normed = signed_propagate(x, graph, **step, layer_norm=True)
    want = signed_propagate(x, graph, **step, layer_norm=True, backend="reference")
    torch.testing.assert_close(
        normed, want, rtol=0.02 if dtype.itemsize == 2 else 1e-4, atol=0.02 if dtype.itemsize == 2 else 1e-4
    )
