"""First and second derivatives of everything that can take one, by finite differences in float64."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair, signed_propagate
from sbp_kernels.backends import BACKENDS
from tests.graphs import edges, feature, labelled, mean_centring, plain, values

POS, NEG = edges(8, 4, 4, 0), edges(5, 4, 4, 1)


def leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def check(function, *inputs: torch.Tensor) -> None:
    assert torch.autograd.gradcheck(function, inputs)
    # One random direction: every direction of every input would take minutes.
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("layer_norm", [False, True], ids=["linear", "layer_norm"])
@pytest.mark.parametrize("with_residual", [False, True], ids=["own", "residual"])
@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "normalized"])
def test_everything_at_once(backend, layer_norm, with_residual, normalized):
    def step(x, residual, alpha, beta, lam, pos_weight, neg_weight):
        graph = SignedGraph.from_edge_index(POS, NEG, 4, pos_edge_weight=pos_weight, neg_edge_weight=neg_weight)
        return signed_propagate(
            x,
            graph.normalize("sym") if normalized else graph,
            alpha=alpha,
            beta=beta,
            lam=lam,
            residual=residual if with_residual else None,
            layer_norm=layer_norm,
            num_steps=2,
            backend=backend,
        )

    weights = [values(8, 0).requires_grad_(), values(5, 1).requires_grad_()]
    check(step, leaf(4, 3), leaf(4, 3, seed=1), scalar(1.1), scalar(0.7), scalar(0.4), *weights)


def test_pair(backend):
    def pair(x, pos_weight, neg_weight):
        graph = SignedGraph.from_edge_index(POS, NEG, 4, pos_edge_weight=pos_weight, neg_edge_weight=neg_weight)
        return signed_pair(x, graph, backend=backend)

    check(pair, leaf(4, 3), values(8, 0).requires_grad_(), values(5, 1).requires_grad_())


def test_bipartite(backend):
    graph = SignedGraph.from_edge_index(edges(14, 7, 4, 0), edges(9, 7, 4, 1), size=(7, 4))

    def step(x, residual, lam):
        return signed_propagate(x, graph, lam=lam, residual=residual, backend=backend)

    check(step, leaf(7, 3), leaf(4, 3, seed=1), scalar(0.4))
    check(lambda x: signed_pair(x, graph, backend=backend), leaf(7, 3))


@pytest.mark.parametrize(
    "make", [lambda: labelled(0.5), mean_centring, lambda: feature(-1.0)], ids=["labels", "mean", "features"]
)
def test_implicit(backend, make):
    graph = make()

    def step(x, alpha, beta, lam):
        return signed_propagate(x, graph, alpha=alpha, beta=beta, lam=lam, backend=backend)

    check(step, leaf(23, 2), scalar(1.1), scalar(0.7), scalar(0.4))


@pytest.mark.parametrize("layer_norm", [False, True], ids=["linear", "layer_norm"])
@pytest.mark.parametrize("negative", [False, True], ids=["attract", "repel"])
def test_features_that_learn(backend, negative, layer_norm):
    """The x0 of a Similarity: first derivatives of everything at once, transposed graphs too."""

    def step(x, x0, alpha, beta):
        half, sparse = Similarity(x0, -1.0 if negative else 1.0, 0.7), plain(7).pos
        graph = SignedGraph(sparse, half) if negative else SignedGraph(half, sparse)
        call = {"alpha": alpha, "beta": beta, "lam": 0.4, "layer_norm": layer_norm, "backend": backend}
        return signed_propagate(signed_propagate(x, graph, num_steps=2, **call), graph.T, **call)

    assert torch.autograd.gradcheck(step, (leaf(7, 3), leaf(7, 4, seed=1), scalar(1.1), scalar(0.7)))
    assert torch.autograd.gradcheck(
        lambda x, x0: signed_pair(x, SignedGraph(Similarity(x0), Similarity(x0.flip(1), 1.0).T), backend=backend),
        (leaf(7, 3), leaf(7, 4, seed=1)),
    )


def test_features_that_learn_in_every_type(backend):
    """Against autograd through the dense softmax; x0 short and long, of any layout, more nodes than a tile."""
    n, options = 150, {"lam": 0.4, "backend": backend}
    exact = None
    for dtype, slack in ((torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)):
        x = leaf(n, 19).detach().to(dtype).requires_grad_()
        x0 = leaf(40, n, seed=1).detach().div(3).to(dtype).requires_grad_()
        signed_propagate(x, SignedGraph(Similarity(x0.T, 1.0)), **options).backward(leaf(n, 19, seed=2).to(dtype))
        if exact is None:
            wide, wide0 = leaf(n, 19), leaf(40, n, seed=1)
            y = 0.6 * wide + 0.4 * torch.softmax((wide0.T / 3) @ (wide0 / 3), 1) @ wide
            exact = torch.autograd.grad(y, (wide, wide0), leaf(n, 19, seed=2))
        assert x0.grad.dtype == x.grad.dtype == dtype
        for got, want in zip((x.grad, x0.grad), (exact[0], exact[1] * 3), strict=True):
            assert (got.double() - want).abs().max() <= slack * want.abs().max(), dtype


def test_features_that_learn_are_never_stale(backend):
    x, x0 = torch.randn(9, 2), torch.randn(9, 3)
    graph = SignedGraph(Similarity(x0))
    signed_propagate(x, graph, backend=backend)
    for learnable in (True, False):
        x0.requires_grad_(learnable)
        y = signed_propagate(x, graph, backend=backend)
        with torch.no_grad():
            want = signed_propagate(x, SignedGraph(Similarity(x0.clone())), backend=backend)
            torch.testing.assert_close(y.detach(), want)
            torch.testing.assert_close(signed_propagate(x, graph, backend=backend), want)
            if learnable:
                x0.mul_(2.0)


def test_signed_edge_weights_keep_their_gradient(backend):
    index = edges(14, 6, 6, 2)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(7)

    def step(x, strength):
        return signed_propagate(x, SignedGraph.from_edge_weight(index, sign * strength, 6), backend=backend)

    check(step, leaf(6, 3), values(14, 3).requires_grad_())


def test_fixed_linear_steps_save_no_features(backend):
    """Memory that does not grow with depth: nothing of size [n, d] is saved for backward."""
    saved = []
    x = torch.randn(23, 50, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        signed_propagate(x, plain(), lam=0.5, num_steps=8, backend=backend)
    assert not [t for t in saved if t.shape == x.shape]


def test_no_message_is_ever_stored(backend):
    """Gradients of edge weights and coefficients come without anything of size E x d."""
    if backend == "reference":
        pytest.skip("reference: stores messages by design")
    n, num_edges, width = 50, 20_000, 64
    weight = torch.rand(num_edges, requires_grad=True)
    alpha = torch.tensor(1.0, requires_grad=True)
    graph = SignedGraph(CSR.from_edge_index(edges(num_edges, n, n, 0), weight, n), ClassBlock.mean(n)).prepare()
    x = torch.randn(n, width, requires_grad=True)
    with torch.profiler.profile(profile_memory=True) as profile:
        signed_propagate(x, graph, alpha=alpha, lam=0.5, backend=backend).sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < num_edges * width * 4 / 8


@pytest.mark.parametrize("backend", ["native"])
def test_the_softmax_of_features_is_streamed(backend):
    """No [n, n] matrix, forward or backward."""
    if BACKENDS[backend].unsupported(torch.zeros(1, 1)):
        pytest.skip(BACKENDS[backend].unsupported(torch.zeros(1, 1)))
    n = 4000
    x, x0 = torch.randn(n, 8, requires_grad=True), torch.randn(n, 16, requires_grad=True)
    with torch.profiler.profile(profile_memory=True) as profile:
        signed_propagate(x, SignedGraph(Similarity(x0)), backend=backend).sum().backward()
    assert max(event.cpu_memory_usage for event in profile.events()) < n * n * 4 / 4


def test_half_precision_gradients_have_the_type_of_their_input(backend):
    graph = plain()
    for dtype in (torch.bfloat16, torch.float16):
        x = torch.randn(23, 8, dtype=dtype, requires_grad=True)
        alpha = torch.tensor(1.0, requires_grad=True)
        residual = torch.randn(23, 8, dtype=dtype, requires_grad=True)
        y = signed_propagate(x, graph, alpha=alpha, lam=0.5, residual=residual, layer_norm=True, backend=backend)
        y.sum().backward()
        assert x.grad.dtype == residual.grad.dtype == dtype and alpha.grad.dtype == torch.float32
