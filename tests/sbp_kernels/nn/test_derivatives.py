"""Derivatives of every layer in float64 against PyG's layer: reverse, forward, torch.func and second derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor
from torch.autograd import forward_ad

import sbp_kernels.nn as ours
from tests.sbp_kernels.nn.layers import edges

pygsd = pytest.importorskip("torch_geometric_signed_directed.nn", reason="PyGSD is not installed")
import sbp_kernels.nn.signed_directed as ours_directed  # noqa: E402

N, D = 7, 4
POS, NEG = edges(0, 24, N), edges(1, 16, N)


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def strengths(edge_index: Tensor, seed: int) -> Tensor:
    return values(edge_index.size(1), seed=seed).abs() + 0.1


X, X_0, X_2, X_3 = (values(N, D, seed=seed) for seed in range(4))
W, W_NEG = strengths(POS, 5), strengths(NEG, 6)


class Dense(torch.nn.Module):
    """`SBPConv` or `ContraNorm` by their definitions, because PyG has no such layers."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        # A tuple hides the layer from `parameters`, which would otherwise list its parameters twice.
        self.layers = (layer,)
        for name, value in layer.named_parameters():
            self.register_parameter(name, torch.nn.Parameter(value.detach().clone()))

    @property
    def layer(self) -> Any:
        return self.layers[0]

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        return (self.contra if isinstance(self.layer, ours.ContraNorm) else self.sbp)(x, *given)

    def contra(self, x: Tensor) -> Tensor:
        x0 = F.normalize(x, dim=1) if self.layer.normalize else x
        softmax = torch.softmax(x0 @ x0.T / self.layer.temperature, 1)
        return (1 + self.layer.scale) * x - self.layer.scale * softmax @ x

    def sbp(self, x: Tensor, weight: Tensor) -> Tensor:
        pos = torch.zeros(N, N, dtype=x.dtype).index_put((POS[1], POS[0]), weight, accumulate=True)
        pos = pos + torch.diag((torch.zeros(N, N).index_put((POS[1], POS[0]), torch.ones(1)).diagonal() == 0).double())
        neg = torch.zeros(N, N, dtype=x.dtype).index_put(
            (NEG[1], NEG[0]), torch.ones((), dtype=x.dtype), accumulate=True
        )
        pos, neg = (a / a.abs().sum(1, keepdim=True).clamp(min=1e-300) for a in (pos, neg))
        lam = self.lam
        for _ in range(self.layer.num_steps):
            x = (1 - lam) * x + lam * (self.layer.alpha * pos @ x - self.layer.beta * neg @ x)
        return x


def sbp_conv() -> torch.nn.Module:
    return ours.SBPConv(0.9, 0.5, 0.3, num_steps=2, learnable=["lam"], normalize="row")


# A function that builds PyG's or the accelerated layer, the arguments, and which of them are differentiable.
Make = Callable[[bool], torch.nn.Module]


def of(name: str, *args: Any, **kwargs: Any) -> Make:
    directed = hasattr(ours_directed, name)
    theirs, mine = (pygsd, ours_directed) if directed else (pyg, ours)
    return lambda is_ours: getattr(mine if is_ours else theirs, name)(*args, **kwargs)


def with_definition(make: Callable[[], torch.nn.Module]) -> Make:
    return lambda is_ours: make() if is_ours else Dense(make())


class Losses(torch.nn.Module):
    """The parts of `SignedGCN.loss`, with and without random samples, from one seed."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(3)
        z = self.model(x, POS, NEG)
        with torch.random.fork_rng():
            near = self.model.pos_embedding_loss(z, POS)
            far = self.model.neg_embedding_loss(z, NEG)
        return torch.stack([near, far, *self.model.discriminate(z, POS).mean(0)])


def losses(is_ours: bool) -> torch.nn.Module:
    return Losses((ours if is_ours else pyg).SignedGCN(D, 4, 1))


CASES: dict[str, tuple[Make, list[Any], tuple[int, ...]]] = {
    "GCNConv": (of("GCNConv", D, 3), [X, POS, W], (0, 2)),
    "GCNConv unweighted": (of("GCNConv", D, 3, improved=True, bias=False), [X, POS], (0,)),
    "GCNConv plain": (of("GCNConv", D, 3, normalize=False), [X, POS, W], (0, 2)),
    "GCNConv cached": (of("GCNConv", D, 3, cached=True), [X, POS, W], (0,)),
    "GCNConv batched": (of("GCNConv", D, 3), [values(2, N, D), POS, W], (0, 2)),
    "SGConv": (of("SGConv", D, 3, K=2), [X, POS, W], (0, 2)),
    "SGConv more features": (of("SGConv", D, 6, K=2), [X, POS, W], (0, 2)),
    "LGConv": (of("LGConv"), [X, POS, W], (0, 2)),
    "APPNP": (of("APPNP", K=3, alpha=0.2), [X, POS, W], (0, 2)),
    "APPNP unweighted": (of("APPNP", K=3, alpha=0.2), [X, POS], (0,)),
    "APPNP dropout": (of("APPNP", K=2, alpha=0.2, dropout=0.4), [X, POS, W], (0, 2)),
    "GCN2Conv": (of("GCN2Conv", D, 0.2, 0.5, 2), [X, X_0, POS, W], (0, 1, 3)),
    "GCN2Conv apart": (of("GCN2Conv", D, 0.2, shared_weights=False), [X, X_0, POS, W], (0, 1, 3)),
    "FAConv": (of("FAConv", D), [X, X_0, POS], (0, 1)),
    "FAConv plain": (of("FAConv", D, normalize=False, eps=0.0), [X, X_0, POS, W], (0, 3)),
    "SignedConv first": (of("SignedConv", D, 3, True), [X, POS, NEG], (0,)),
    "SignedConv later": (of("SignedConv", D // 2, 3, False), [X, POS, NEG], (0,)),
    "SignedGCN": (of("SignedGCN", D, 4, 2), [X, POS, NEG], (0,)),
    "SignedGCN losses": (losses, [X], (0,)),
    "PairNorm": (of("PairNorm"), [X], (0,)),
    "SBPConv": (with_definition(sbp_conv), [X, POS, NEG, W], (0, 3)),
    "ContraNorm": (with_definition(lambda: ours.ContraNorm(0.3, 0.7)), [X], (0,)),
    "SGCNConv first": (of("SGCNConv", D, 3, True), [X, POS, NEG], (0,)),
    "SGCNConv more features": (of("SGCNConv", D, 6, True), [X, POS, NEG], (0,)),
    "SGCNConv later": (of("SGCNConv", D // 2, 3, False), [X, POS, NEG], (0,)),
    "SNEAConv first": (of("SNEAConv", D, 3, True), [X, POS, NEG], (0,)),
    "SNEAConv later": (of("SNEAConv", D // 2, 3, False), [X, POS, NEG], (0,)),
    "SIMPA": (of("SIMPA", 2, 0.5), [POS, W, NEG, W_NEG, X, X_0], (1, 3, 4, 5)),
    "SIMPA directed": (of("SIMPA", 2, 0.5, True), [POS, W, NEG, W_NEG, X, X_0, X_2, X_3], (1, 3, 4, 5, 6, 7)),
    "MSConv": (of("MSConv", D, 3, 2, 0.1, False), [X, X_0, POS, W], (0, 1, 3)),
    "MSConv q": (of("MSConv", D, 3, 2, 0.1, True), [X, X_0, POS, W], (0, 1, 3)),
}


def both(name: str) -> tuple[Any, Any, list[Any], tuple[int, ...]]:
    """Return (PyG's layer, an accelerated one with equal parameters, arguments, indices of differentiable ones)."""
    make, args, places = CASES[name]
    layers = []
    for is_ours in (False, True):
        torch.manual_seed(1)
        layers.append(make(is_ours).double())
    return layers[0], layers[1], args, places


def flat(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else torch.cat(tuple(out), -1)


def call(layer: Any, args: list[Any], parameters: dict[str, Tensor] | None = None) -> Tensor:
    """Return the output for a fixed seed."""
    torch.manual_seed(7)
    if isinstance(layer, (Dense, ours.SBPConv)):
        x, _, _, *weight = args if len(args) == 4 else (args[0], None, None)
        args, kwargs = ([x, *weight], {}) if isinstance(layer, Dense) else ([x, POS, NEG], {"edge_weight": weight[0]})
    else:
        kwargs = {}
    return flat(
        layer(*args, **kwargs)
        if parameters is None
        else torch.func.functional_call(layer, parameters, tuple(args), kwargs)
    )


def function(layer: Any, args: list[Any], places: tuple[int, ...]) -> Callable[..., Tensor]:
    def run(*given: Tensor) -> Tensor:
        filled = list(args)
        for place, value in zip(places, given, strict=True):
            filled[place] = value
        return call(layer, filled)

    return run


def scalar(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a loss whose second derivatives are not zero, even if f is linear."""
    return lambda *given: f(*given).sin().sum()


def tangents(given: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(values(*t.shape, seed=20 + i) for i, t in enumerate(given))


def reverse(f: Any, layer: Any, given: list[Tensor]) -> Any:
    leaves = [t.clone().requires_grad_() for t in given]
    wanted = [*leaves, *layer.parameters()]
    return [g for g in torch.autograd.grad(scalar(f)(*leaves), wanted, allow_unused=True) if g is not None]


def twice(f: Any, layer: Any, given: list[Tensor]) -> Any:
    leaves = [t.clone().requires_grad_() for t in given]
    wanted = [*leaves, *(p for p in layer.parameters() if p.requires_grad)]
    first = torch.autograd.grad(scalar(f)(*leaves), wanted, create_graph=True, allow_unused=True)
    total = sum((g * values(*g.shape, seed=30 + i)).sum() for i, g in enumerate(first) if g is not None)
    second = torch.autograd.grad(total, wanted, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, second, strict=True)]


def grad(f: Any, layer: Any, given: list[Tensor]) -> Any:
    return torch.func.grad(scalar(f), argnums=tuple(range(len(given))))(*given)


def jacrev(f: Any, layer: Any, given: list[Tensor]) -> Any:
    return torch.func.jacrev(f, argnums=tuple(range(len(given))))(*given)


def jacfwd(f: Any, layer: Any, given: list[Tensor]) -> Any:
    return torch.func.jacfwd(f, argnums=tuple(range(len(given))), randomness="same")(*given)


def jvp(f: Any, layer: Any, given: list[Tensor]) -> Any:
    return torch.func.jvp(f, tuple(given), tangents(given))


def duals(f: Any, layer: Any, given: list[Tensor]) -> Any:
    with forward_ad.dual_level():
        made = [forward_ad.make_dual(t, tangent) for t, tangent in zip(given, tangents(given), strict=True)]
        return list(forward_ad.unpack_dual(f(*made)))


def hessian(f: Any, layer: Any, given: list[Tensor]) -> Any:
    places = tuple(range(len(given)))
    return torch.func.jacfwd(torch.func.jacrev(scalar(f), places), places, randomness="same")(*given)


def jvp_of_grad(f: Any, layer: Any, given: list[Tensor]) -> Any:
    gradient = torch.func.grad(scalar(f), argnums=tuple(range(len(given))))
    return torch.func.jvp(gradient, tuple(given), tangents(given))[1]


def vmapped(f: Any, layer: Any, given: list[Tensor]) -> Any:
    return torch.func.vmap(f, randomness="same")(*(torch.stack([t, 0.5 * t, t + 0.1]) for t in given))


def vmapped_first(f: Any, layer: Any, given: list[Tensor]) -> Any:
    return torch.func.vmap(lambda x: f(x, *given[1:]), randomness="same")(torch.stack([given[0], 0.5 * given[0]]))


def grad_per_sample(f: Any, layer: Any, given: list[Tensor]) -> Any:
    gradient = torch.func.grad(scalar(f))
    stacked = torch.stack([given[0], 0.5 * given[0]])
    return torch.func.vmap(lambda x: gradient(x, *given[1:]), randomness="same")(stacked)


MODES = [
    reverse,
    twice,
    grad,
    jacrev,
    jacfwd,
    jvp,
    duals,
    hessian,
    jvp_of_grad,
    vmapped,
    vmapped_first,
    grad_per_sample,
]


def leaves_of(tree: Any) -> list[Tensor]:
    return [tree] if isinstance(tree, Tensor) else [leaf for part in tree for leaf in leaves_of(part)]


def same(got: Any, want: Any) -> None:
    got, want = leaves_of(got), leaves_of(want)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert torch.isfinite(w).all()
        torch.testing.assert_close(g, w, rtol=1e-9, atol=1e-10)


def by_reverse(mode: Callable[..., Any], f: Any, given: list[Tensor]) -> Any:
    """Return the same derivative by reverse mode only, for layers of PyG that do not run under torch.func."""
    functional, loss, inputs = torch.autograd.functional, scalar(f), tuple(given)

    def gradient(*at: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss(*at), at, create_graph=True)

    if mode is grad:
        return functional.jacobian(loss, inputs)
    if mode in (jacrev, jacfwd):
        return functional.jacobian(f, inputs)
    if mode in (jvp, duals):
        return functional.jvp(f, inputs, tangents(given))
    if mode is hessian:
        return functional.hessian(loss, inputs)
    assert mode is jvp_of_grad
    return functional.jvp(gradient, inputs, tangents(given))[1]


@functools.cache
def expected(mode: Callable[..., Any], name: str) -> Any:
    """Return the result of PyG's layer; a loop over the batch replaces vmap if PyG's layer does not support it."""
    theirs, _, args, places = both(name)
    f, given = function(theirs, args, places), [args[place] for place in places]
    if mode is vmapped:
        batches = [[t, 0.5 * t, t + 0.1] for t in given]
        return torch.stack([f(*entry) for entry in zip(*batches, strict=True)])
    if mode is vmapped_first:
        return torch.stack([f(factor * given[0], *given[1:]) for factor in (1.0, 0.5)])
    if mode is grad_per_sample:
        pieces = [given[0].clone().mul(factor).requires_grad_() for factor in (1.0, 0.5)]
        return torch.stack([torch.autograd.grad(scalar(f)(x, *given[1:]), x)[0] for x in pieces])
    # PyGSD clamps q in place and PyG's sampler converts edges to NumPy; torch.func supports neither.
    reverse_only = name in ("MSConv q", "SignedGCN losses") and mode not in (reverse, twice)
    return by_reverse(mode, f, given) if reverse_only else mode(f, theirs, given)


@pytest.mark.filterwarnings("ignore:There is a performance drop", "error:.*runs PyG's own forward")
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__)
@pytest.mark.parametrize("name", CASES)
def test_derivatives_equal_those_of_pyg(name: str, mode: Callable[..., Any]) -> None:
    want = expected(mode, name)
    _, mine, args, places = both(name)
    got = mode(function(mine, args, places), mine, [args[place] for place in places])
    same(got, want)


def of_parameters(layer: Any, args: list[Any]) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """Return the output as a function of the layer's parameters, by `functional_call`."""
    named = dict(layer.named_parameters())

    def run(*parameters: Tensor) -> Tensor:
        return call(layer, args, dict(zip(named, parameters, strict=True)))

    return run, tuple(p.detach().clone() for p in named.values())


def stacked(parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.stack([p, 0.5 * p, 0.9 * p]) for p in parameters)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("LGConv", "PairNorm", "ContraNorm") and "APPNP" not in name]
)
def test_derivatives_of_parameters(name: str) -> None:
    theirs, mine, args, _ = both(name)
    (f, given), (g, same_given) = of_parameters(theirs, args), of_parameters(mine, args)
    same(same_given, given)
    argnums = tuple(range(len(given)))
    want = torch.autograd.functional.jacobian(scalar(f), given)
    same(torch.func.grad(scalar(g), argnums=argnums)(*given), want)
    same(
        torch.func.jvp(g, given, tangents(list(given))), torch.autograd.functional.jvp(f, given, tangents(list(given)))
    )
    want = [f(*entry) for entry in zip(*(p.unbind() for p in stacked(given)), strict=True)]
    same(torch.func.vmap(g, randomness="same")(*stacked(given)), torch.stack(want))


@pytest.mark.parametrize("name", ["GCNConv", "SNEAConv later", "SIMPA", "SignedConv first"])
def test_no_transform_leaves_a_wrapper_in_the_cache(name: str) -> None:
    _, mine, args, places = both(name)
    f, given = (
        function(mine, [a.clone() if isinstance(a, Tensor) else a for a in args], places),
        [args[p] for p in places],
    )
    # The first call, which fills the cache, runs inside the transforms.
    torch.func.vmap(torch.func.grad(scalar(f)), randomness="same")(*(torch.stack([t, t]) for t in given))
    leaves = [t.clone().requires_grad_() for t in given]
    same(torch.autograd.grad(scalar(f)(*leaves), leaves), torch.func.grad(scalar(f), tuple(range(len(given))))(*given))


def test_edges_created_inside_a_transform() -> None:
    theirs, mine = (package.GCNConv(D, 3).double() for package in (pyg, ours))
    mine.load_state_dict(theirs.state_dict())
    grads = [torch.func.grad(lambda x: layer(x, POS.flip(0)).sin().sum())(X) for layer in (mine, theirs)]  # noqa: B023
    same(*grads)
    with pytest.raises(NotImplementedError, match="vmap over edges or labels is not implemented"):
        torch.func.vmap(lambda e: mine(X, e))(torch.stack([POS, POS]))
