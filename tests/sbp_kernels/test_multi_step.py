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


def test_opcheck():
    graph = labelled(0.5)
    x = features(graph, 6, torch.float32)
    (pos, _), (neg, classes) = (half.multi_step_operand(torch.float32) for half in (graph.pos, graph.neg))
    args = (x, None, x, *pos, *neg, None, 0.5, 1.0, -0.5, 23, 1e-5, 3)
    for gamma in (None, torch.ones(4)):
        more = (gamma, *(None,) * 4, *classes, True, *(None,) * 5)
        torch.library.opcheck(torch.ops.sbp.signed_spmm_steps, (*args, *more))
