"""Several steps in one call: the same bits as one by one, the same gradients, and the weighted sum of all states."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import ClassBlock, SignedGraph, signed_propagate
from sbp_kernels.backends import native
from sbp_kernels.backends._extension import NOT_LOADED
from sbp_kernels.dispatch import OpContext, lower_multi_step, run_multi_step
from tests.graphs import GRAPHS, feature, hub, labelled, plain, weighted_and_scaled

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
SAMPLES = {
    "sparse": plain,
    "weighted": weighted_and_scaled,
    "hub": hub,
    "labels": lambda: labelled(0.5),
    "mean": lambda: SignedGraph(plain().pos, ClassBlock.mean(23)),
    "labels alone": lambda: SignedGraph(neg=labelled(0.5).neg),
    "int64 columns": GRAPHS["int64 columns"],
}
CALL = {"alpha": 1.1, "beta": 0.7, "lam": 0.4, "backend": "native"}


def features(graph: SignedGraph, width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(graph.num_cols, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def one_by_one(x, graph, num_steps, **call):
    states = [x]
    for _ in range(num_steps):
        states.append(signed_propagate(states[-1], graph, **CALL | call))
    return states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layer_norm", [False, True], ids=["", "layer_norm"])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_bits_as_one_by_one(name, layer_norm, dtype):
    graph = SAMPLES[name]()
    for width in (8, 19, 130):
        x, other = features(graph, width, dtype), features(graph, width, dtype, seed=1)
        for residual in (None, other, x):
            for coefs in ({}, {"alpha": torch.tensor(0.9)}, {"beta": 0.0}):
                call = {"layer_norm": layer_norm, "residual": residual, **coefs}
                for num_steps in (2, 5):
                    got = signed_propagate(x, graph, **CALL | call, num_steps=num_steps)
                    assert torch.equal(got, one_by_one(x, graph, num_steps, **call)[-1])


def test_features_apart_in_memory():
    graph = plain()
    x = features(graph, 40, torch.float32)
    want = signed_propagate(x[:, ::2].contiguous(), graph, **CALL, num_steps=3)
    assert torch.equal(signed_propagate(x[:, ::2], graph, **CALL, num_steps=3), want)
    assert torch.equal(signed_propagate(x[:, :19], graph, **CALL, num_steps=3)[:, 0], one_by_one(x, graph, 3)[-1][:, 0])


@pytest.mark.parametrize("name", SAMPLES)
def test_sum_over_the_steps(name):
    graph = SAMPLES[name]()
    gamma = torch.tensor([0.3, -0.2, 0.5, 0.1])
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)):
        x = features(graph, 21, dtype)
        op = OpContext(native, graph, (0.6, 0.44, -0.28), own_residual=True)
        last, total = run_multi_step(op, lower_multi_step(op, x, None), x, None, 3, gamma)
        states = one_by_one(x, graph, 3)
        torch.testing.assert_close(last, states[-1], rtol=tolerance, atol=tolerance)
        want = sum(g * s.float() for g, s in zip(gamma, states, strict=True)).to(dtype)
        torch.testing.assert_close(total, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("which", ["own", "fixed", "fixed to x"])
def test_gradients(name, which):
    graph = SAMPLES[name]()
    x, other = (features(graph, 3, torch.float64, seed=s).requires_grad_() for s in (0, 1))

    def run(x, other):
        residual = {"own": None, "fixed": other, "fixed to x": x}[which]
        return signed_propagate(x, graph, **CALL, residual=residual, num_steps=4)

    used = (x,) if which != "fixed" else (x, other)
    assert torch.autograd.gradcheck(lambda *a: run(*(a if len(a) == 2 else (a[0], other))), used)
    assert torch.autograd.gradgradcheck(lambda *a: run(*(a if len(a) == 2 else (a[0], other))), used)


@pytest.mark.parametrize("which", ["own", "fixed"])
def test_the_backward_pass_saves_nothing(which):
    graph, saved = plain(), []
    x = features(graph, 8, torch.float32).requires_grad_()
    residual = None if which == "own" else features(graph, 8, torch.float32, seed=1).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        signed_propagate(x, graph, **CALL, residual=residual, num_steps=9)
    assert not saved


def test_learnt_parts_and_similarities_go_one_by_one():
    """They need the features of every step; the result is that of the loop."""
    x = features(plain(), 6, torch.float32)
    alpha = torch.tensor(0.8, requires_grad=True)
    grads = []
    for num_steps in (3, None):
        if num_steps:
            y = signed_propagate(x, plain(), **CALL | {"alpha": alpha}, num_steps=num_steps)
        else:
            y = one_by_one(x, plain(), 3, alpha=alpha)[-1]
        grads.append(torch.autograd.grad(y.square().sum(), alpha)[0])
    assert torch.equal(*grads)
    graph = feature(-1.0)
    assert torch.equal(signed_propagate(x, graph, **CALL, num_steps=3), one_by_one(x, graph, 3)[-1])


GAMMAS = {"list": [0.3, -0.2, 0.5, 0.1], "one": [0.0, 0.0, 0.0, 1.0], "tensor": torch.tensor([0.3, -0.2, 0.5, 0.1])}
# Options under which every kind of step is summed: fused, and one call per step.
OPTIONS = {
    "plain": {},
    "residual": {"residual": True},
    "layer_norm": {"layer_norm": True},
    "learnable": {"alpha": torch.tensor(0.9, dtype=torch.float64, requires_grad=True)},
}


def sum_of_states(x, graph, gamma, residual=None, **call):
    states = one_by_one(x, graph, len(gamma) - 1, residual=residual, **call)
    return sum(g * s for g, s in zip(gamma, states, strict=True))


def with_residual(options, graph, width):
    return options | ({"residual": features(graph, width, torch.float64, seed=3)} if "residual" in options else {})


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", [*SAMPLES, "features"])
def test_gamma_and_return_all(name, option, backend):
    graph = GRAPHS["features"]() if name == "features" else SAMPLES[name]()
    x = features(graph, 11, torch.float64)
    call = CALL | with_residual(OPTIONS[option], graph, 11) | {"backend": backend}
    states = signed_propagate(x, graph, **call, num_steps=3, return_all=True)
    torch.testing.assert_close(states, torch.stack(one_by_one(x, graph, 3, **call)), rtol=1e-12, atol=1e-12)
    for gamma in GAMMAS.values():
        got = signed_propagate(x, graph, **call, num_steps=3, gamma=gamma)
        torch.testing.assert_close(got, sum_of_states(x, graph, gamma, **call), rtol=1e-12, atol=1e-12)
    for num_steps in (0, 1):
        got = signed_propagate(x, graph, **call, num_steps=num_steps, gamma=[0.3, 2.0][: num_steps + 1])
        want = sum_of_states(x, graph, [0.3, 2.0][: num_steps + 1], **call)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("learnable", [True, False])
@pytest.mark.parametrize("which", ["own", "fixed", "fixed to x"])
@pytest.mark.parametrize("name", [*SAMPLES, "features", "weights"])
def test_gradients_of_gamma(name, which, learnable):
    """First and second order, with respect to gamma, x, the residual and edge weights."""
    graph = GRAPHS["features"]() if name == "features" else plain() if name == "weights" else SAMPLES[name]()
    x, other = (features(graph, 2, torch.float64, seed=s)[:30].requires_grad_() for s in (0, 1))
    if graph.num_cols > 30:
        return
    weight = torch.linspace(0.5, 1.5, graph.pos.num_edges).double().requires_grad_() if name == "weights" else None
    gamma = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64, requires_grad=learnable)

    def run(x, other, gamma, weight):
        residual = {"own": None, "fixed": other, "fixed to x": x}[which]
        own = graph if weight is None else graph.with_weights(weight, None)
        return signed_propagate(x, own, **CALL, residual=residual, num_steps=3, gamma=gamma)

    leaves = (x, other, gamma, weight)
    used = [i for i, t in enumerate(leaves) if t is not None and t.requires_grad and (i != 1 or which == "fixed")]
    call = lambda *a: run(*(a[used.index(i)] if i in used else t for i, t in enumerate(leaves)))  # noqa: E731
    inputs = tuple(leaves[i] for i in used)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_gamma_under_transforms(backend):
    graph = weighted_and_scaled()
    x, gamma = features(graph, 3, torch.float64), torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
    call = CALL | {"backend": backend}
    ours = lambda x, g: signed_propagate(x, graph, **call, num_steps=3, gamma=g)  # noqa: E731
    dense = lambda x, g: torch.einsum("k,knd->nd", g, states(x))  # noqa: E731
    states = lambda x: signed_propagate(x, graph, **call, num_steps=3, return_all=True)  # noqa: E731
    along = (features(graph, 3, torch.float64, seed=1), torch.ones(4).double())
    for got, want in zip(*(torch.func.jvp(f, (x, gamma), along) for f in (ours, dense)), strict=True):
        torch.testing.assert_close(got, want)
    batch = torch.stack([gamma, 2 * gamma])
    torch.testing.assert_close(*(torch.func.vmap(f, in_dims=(None, 0))(x, batch) for f in (ours, dense)))
    torch.testing.assert_close(*(torch.func.jacrev(f, argnums=1)(x, gamma) for f in (ours, dense)))


def test_gamma_saves_no_states():
    """Fixed: nothing of size n d; learnable: x and the residual, which the caller holds anyway."""
    graph = plain()
    x = features(graph, 8, torch.float32).requires_grad_()
    residual = features(graph, 8, torch.float32, seed=1).requires_grad_()
    for gamma, want in (
        (torch.ones(10), set()),
        (torch.ones(10).requires_grad_(), {x.data_ptr(), residual.data_ptr()}),
    ):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # noqa: B023
            signed_propagate(x, graph, **CALL, residual=residual, num_steps=9, gamma=gamma)
        assert {t.data_ptr() for t in saved if t.numel() > 10} == want


def test_a_fixed_gamma_may_change_after_the_call():
    graph, gamma = plain(), torch.ones(3)
    x = features(graph, 4, torch.float32).requires_grad_()
    y = signed_propagate(x, graph, **CALL, num_steps=2, gamma=gamma)
    want = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    gamma.zero_()
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], want)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"gamma": [1.0, 2.0]}, r"gamma must have shape \[num_steps \+ 1=4\], got \(2,\)"),
        ({"gamma": torch.ones(4, 1)}, r"gamma must have shape"),
        ({"gamma": 1.0}, "gamma must be a tensor or a list of numbers, got 1.0"),
        ({"gamma": [1.0, "a", 0, 0]}, r"gamma\[1\] must be a finite number, got 'a'"),
        ({"gamma": torch.ones(4, dtype=torch.bool)}, "gamma must be real"),
        ({"return_all": 1}, "return_all must be True or False, got 1"),
        ({"gamma": [1.0] * 4, "return_all": True}, "not both"),
        ({"gamma": [1.0] * 2, "num_steps": 1, "graph": GRAPHS["bipartite"]()}, "got a 9x17 graph"),
    ],
)
def test_wrong_gamma(named, message):
    graph = named.get("graph", plain())
    with pytest.raises(ValueError, match=message):
        signed_propagate(features(graph, 2, torch.float32), **{"graph": graph, "num_steps": 3, **named})


def test_opcheck():
    graph = labelled(0.5)
    x = features(graph, 6, torch.float32)
    (pos, _), (neg, classes) = (half.multi_step_operand(torch.float32) for half in (graph.pos, graph.neg))
    args = (x, None, x, *pos, *neg, None, 0.5, 1.0, -0.5, 23, 1e-5, 3)
    for gamma in (None, torch.ones(4)):
        more = (gamma, *(None,) * 4, *classes, True, *(None,) * 5)
        torch.library.opcheck(torch.ops.sbp.signed_spmm_steps, (*args, *more))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_sum_without_steps_has_memory(backend, dtype):
    x = torch._efficientzerotensor((23, 4), dtype=dtype)
    got = signed_propagate(x, plain(), num_steps=0, gamma=[0.5], backend=backend)
    assert not got._is_zerotensor() and bool((got == 0).all())
