"""Both signs in one list: what is in it, when it is read, and that it follows the weights."""

from __future__ import annotations

import pickle
from copy import deepcopy as copy_of

import pytest
import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from sbp_kernels.backends import native, reference
from sbp_kernels.backends._extension import NOT_LOADED
from tests.graphs import GRAPHS, plain, weighted_and_scaled

STEP = (0.5, 0.5, -0.25)


def merged(graph, dtype, kernels, coefs):
    return None if graph.merged is None else graph.merged.find(dtype, kernels, coefs)


pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("make", [plain, weighted_and_scaled], ids=["plain", "weighted"])
@pytest.mark.parametrize("coefs", [STEP, (0.0, 0.2, -0.7), (1.0, 0.0, -3.0), (1.0, 3.0, 0.0)], ids=str)
def test_it_lists_the_edges_of_both_signs_row_by_row(make, dtype, coefs):
    graph = make()
    (rowptr, col, value), left = merged(graph, dtype, native, coefs)
    r, *left = left.tolist()
    assert value.dtype == dtype and r == coefs[0]
    assert 0.0 in coefs or left[0] == left[1]
    for row in range(graph.num_rows):
        for sign, half in enumerate((graph.pos, graph.neg)):
            begin, end = rowptr[2 * row + sign : 2 * row + sign + 2]
            got = torch.zeros(graph.num_cols, dtype=torch.float64).index_add(
                0, col[begin:end].long(), left[sign] * value[begin:end].double()
            )
            torch.testing.assert_close(got, coefs[1 + sign] * half.to_dense()[row], rtol=1e-6, atol=1e-7)


def test_it_is_made_once_and_only_where_it_is_read():
    graph = plain()
    assert merged(graph, torch.float32, native, STEP)[0] is merged(graph, torch.float32, native, STEP)[0]
    assert merged(graph, torch.float32, reference, STEP) is None
    assert merged(SignedGraph(graph.pos), torch.float32, native, STEP) is None
    assert merged(SignedGraph(graph.pos, ClassBlock.mean(graph.num_rows)), torch.float32, native, STEP) is None
    assert merged(GRAPHS["int64 columns"](), torch.float32, native, STEP) is None


def test_steps_of_another_size_share_it_and_a_frequent_ratio_rebuilds_it():
    graph, alpha, beta = plain(), 0.7, 0.3
    first, _ = merged(graph, torch.float32, native, (0.0, alpha, -beta))
    for lam in torch.linspace(0.03, 1.0, 50).tolist():
        edges, coefs = merged(graph, torch.float32, native, (1.0 - lam, lam * alpha, -lam * beta))
        assert edges is first and coefs.tolist() == [1.0 - lam, lam * alpha, lam * alpha]
    swapped = (0.0, beta, -alpha)
    for _ in range(32):
        # A ratio that is seldom finds edges without factors, and the first one its own.
        edges, coefs = merged(graph, torch.float32, native, swapped)
        assert coefs.tolist() == list(swapped) and bool((edges.value > 0).all())
        assert merged(graph, torch.float32, native, (0.0, alpha, -beta))[0] is first
    edges, coefs = merged(graph, torch.float32, native, swapped)
    assert coefs.tolist() == [0.0, -alpha, -alpha] and not torch.equal(edges.value, first.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_result_does_not_tell_how_the_graph_was_used_before(dtype, num_steps):
    graph = weighted_and_scaled()
    x = torch.randn(graph.num_cols, 21).to(dtype)
    once = signed_propagate(x, weighted_and_scaled(), beta=0.3, lam=0.6, num_steps=num_steps)
    for alpha, beta in ((1.0, 1.0), (0.0, 0.5), (0.2, 0.9)):
        for _ in range(20):
            signed_propagate(x, graph, alpha=alpha, beta=beta)
        assert torch.equal(signed_propagate(x, graph, beta=0.3, lam=0.6, num_steps=num_steps), once)
    number = torch.tensor([1.0, 0.3, 0.6], dtype=torch.float64)
    if dtype == torch.float64:
        learnable = dict(zip(("alpha", "beta", "lam"), number, strict=True))
        assert torch.equal(signed_propagate(x, graph, **learnable, num_steps=num_steps), once)


def test_weights_that_learn_are_read_from_their_halves():
    graph = plain()
    weight = torch.rand(graph.pos.num_edges, requires_grad=True)
    learning = graph.with_weights(weight, None)
    assert merged(learning, torch.float32, native, STEP) is None
    x = torch.randn(graph.num_cols, 5)
    for _ in range(2):
        want = signed_propagate(x, SignedGraph(graph.pos.with_weight(weight.detach().clone()), graph.neg))
        torch.testing.assert_close(signed_propagate(x, learning).detach(), want)
        with torch.no_grad():
            weight.mul_(-2.0)


def weighted() -> tuple[SignedGraph, torch.Tensor, torch.Tensor]:
    graph = plain()
    weight = torch.rand(graph.pos.num_edges)
    return SignedGraph(graph.pos.with_weight(weight), graph.neg), weight, torch.randn(graph.num_cols, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_written_to_are_read_again_in_both_directions(dtype):
    graph, weight, x = weighted()
    x = x.to(dtype).requires_grad_()
    for _ in range(2):
        fresh = SignedGraph(graph.pos.with_weight(weight.clone()), graph.neg)
        got, want = (signed_propagate(x, g, beta=0.3, lam=0.6) for g in (graph, fresh))
        assert torch.equal(got, want)
        assert torch.equal(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (got, want)))
        weight.mul_(3.0)


@pytest.mark.parametrize("num_steps", [1, 2])
def test_weights_may_begin_and_cease_to_learn(num_steps):
    graph, weight, x = weighted()
    want = signed_propagate(x, graph, num_steps=num_steps)
    weight.requires_grad_(True)
    y = signed_propagate(x, graph, num_steps=num_steps)
    torch.testing.assert_close(y.detach(), want)
    assert torch.autograd.grad(y.sum(), weight)[0].abs().sum() > 0
    weight.requires_grad_(False)
    assert torch.equal(signed_propagate(x, graph, num_steps=num_steps), want)


def test_inference_mode():
    edges = torch.randint(9, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        graph = SignedGraph.from_edge_weight(edges, torch.randn(30), 9)
        x = torch.randn(9, 4)
        torch.testing.assert_close(signed_propagate(x, graph), signed_propagate(x, graph, backend="reference"))


def test_copies_make_their_own():
    graph, _, x = weighted()
    want = signed_propagate(x, graph)
    for copy in (copy_of(graph), pickle.loads(pickle.dumps(graph))):
        assert (
            not len(copy.merged._plain)
            and not len(copy.merged._folded)
            and torch.equal(signed_propagate(x, copy), want)
        )
        copy.pos.weight.mul_(2.0)
        assert not torch.equal(signed_propagate(x, copy), want)
    assert torch.equal(signed_propagate(x, graph), want)


def test_no_list_is_made_for_a_single_use(monkeypatch):
    graph, weight, x = weighted()
    weight.requires_grad_(True)
    made = []
    monkeypatch.setattr(native, "merge_signs", lambda *args: made.append(args))
    y = signed_propagate(x.requires_grad_(), graph)
    torch.autograd.grad(y.square().sum(), [x, weight])
    assert not made


@pytest.mark.parametrize("learnable", [False, True], ids=["floats", "tensors"])
def test_a_sign_whose_coefficient_is_zero_is_not_read(learnable):
    row, col = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    graph = SignedGraph(*(CSR.from_edge_index(torch.stack([source, row])) for source in (col, col.roll(1))))
    number = (lambda value: torch.tensor(value)) if learnable else (lambda value: value)
    for zero, one, poisoned in (("beta", "alpha", graph.pos), ("alpha", "beta", graph.neg)):
        x = torch.ones(3, 2)
        # Node 0 is the source of one edge of each sign; only the row of the other sign may be affected.
        x[0] = torch.nan
        y = signed_propagate(x, graph, **{zero: number(0.0), one: number(1.0)}, backend="native")
        reached = poisoned.to_dense()[:, 0] != 0
        assert torch.equal(y[:, 0].isnan(), reached)


def test_the_list_travels_with_the_transpose_and_keeps_its_gradient():
    graph = weighted_and_scaled()
    x = torch.randn(graph.num_cols, 4, dtype=torch.float64, requires_grad=True)
    assert merged(graph.prepare().T, torch.float64, native, STEP) is not None
    torch.autograd.gradcheck(lambda x: signed_propagate(x, graph, beta=0.3, lam=0.6), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_results_larger_than_the_cache_are_the_same(dtype, num_steps):
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
