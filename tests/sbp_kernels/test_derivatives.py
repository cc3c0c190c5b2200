"""Every mode of differentiation of every operation, against the same mode through dense matrices in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair, signed_propagate
from tests.graphs import edges, values

N, D = 6, 3
POS, NEG = edges(11, N, N, 0), edges(8, N, N, 1)
LABELS, KNOWN = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([True, True, True, True, False, False])

Point = dict[str, Tensor]


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


POINT: Point = {
    "x": normal(N, D),
    "residual": normal(N, D, seed=1),
    "alpha": torch.tensor(1.1, dtype=torch.float64),
    "beta": torch.tensor(0.7, dtype=torch.float64),
    "lam": torch.tensor(0.4, dtype=torch.float64),
    "pos": values(11, 0),
    "neg": values(8, 1),
    "x0": normal(N, 2, seed=2) / 2,
    "block": normal(3, 3, seed=3),
}


def dense(index: Tensor, weight: Tensor) -> Tensor:
    """The adjacency of weighted edges, differentiable."""
    return torch.zeros(N, N, dtype=torch.float64).index_put((index[1], index[0]), weight, accumulate=True)


def dense_softmax(x0: Tensor) -> Tensor:
    return torch.softmax(-(x0 @ x0.T) / 0.7, dim=1)


BLOCK = ClassBlock.from_labels(LABELS, KNOWN)
SHARES = torch.softmax(normal(N, 3, seed=4), dim=1)
# Name: the graph at a point, and its two halves as dense matrices.
HALVES: dict[str, tuple[Callable[[Point], SignedGraph], Callable[[Point], tuple[Tensor, Tensor]]]] = {
    "weights": (
        lambda p: SignedGraph.from_edge_index(POS, NEG, N, pos_edge_weight=p["pos"], neg_edge_weight=p["neg"]),
        lambda p: (dense(POS, p["pos"]), dense(NEG, p["neg"])),
    ),
    "with_weights": (
        lambda p: SignedGraph(CSR.from_edge_index(NEG, None, N), CSR.from_edge_index(POS, None, N)).with_weights(
            p["neg"], p["pos"]
        ),
        lambda p: (dense(NEG, p["neg"][_rank(NEG)]), dense(POS, p["pos"][_rank(POS)])),
    ),
    "normalized": (
        lambda p: SignedGraph.from_edge_index(POS, NEG, N, pos_edge_weight=p["pos"]).normalize("sym"),
        lambda p: (_sym(dense(POS, p["pos"])), _sym(dense(NEG, torch.ones(8, dtype=torch.float64)))),
    ),
    "labels": (
        lambda p: SignedGraph(CSR.from_edge_index(POS, p["pos"], N), BLOCK),
        lambda p: (dense(POS, p["pos"]), BLOCK.to_dense()),
    ),
    "features": (
        lambda p: SignedGraph(CSR.from_edge_index(POS, p["pos"], N), Similarity(p["x0"], -1.0, 0.7)),
        lambda p: (dense(POS, p["pos"]), dense_softmax(p["x0"])),
    ),
    "features transposed": (
        lambda p: SignedGraph(Similarity(p["x0"], -1.0, 0.7).T, CSR.from_edge_index(POS, None, N)),
        lambda p: (dense_softmax(p["x0"]).T, dense(POS, torch.ones(11, dtype=torch.float64))),
    ),
    "block": (
        lambda p: SignedGraph(ClassBlock(LABELS, p["block"]), CSR.from_edge_index(NEG, p["neg"], N)),
        lambda p: (p["block"][LABELS][:, LABELS], dense(NEG, p["neg"])),
    ),
    "blocks of soft groups": (
        lambda p: SignedGraph(ClassBlock(SHARES, p["block"]), ClassBlock(SHARES, p["block"]).T),
        lambda p: (SHARES @ p["block"] @ SHARES.T, SHARES @ p["block"].T @ SHARES.T),
    ),
    "fixed weights": (
        lambda p: SignedGraph.from_edge_index(
            POS, NEG, N, pos_edge_weight=POINT["pos"], neg_edge_weight=-POINT["neg"]
        ).normalize("row"),
        lambda p: (_row(dense(POS, POINT["pos"])), -_row(dense(NEG, POINT["neg"]))),
    ),
    "fixed features": (
        lambda p: SignedGraph(Similarity(POINT["x0"], -1.0, 0.7), CSR.from_edge_index(POS, POINT["pos"], N)),
        lambda p: (dense_softmax(POINT["x0"]), dense(POS, POINT["pos"])),
    ),
    "one half": (
        lambda p: SignedGraph(neg=CSR.from_edge_index(NEG, p["neg"], N)),
        lambda p: (torch.zeros(N, N, dtype=torch.float64), dense(NEG, p["neg"])),
    ),
}
STEPS: dict[str, dict[str, object]] = {
    "one step": {},
    "three steps": {"num_steps": 3},
    "three fixed steps": {"num_steps": 3, "fixed": True},
    "residual": {"num_steps": 2, "with_residual": True},
    "fixed residual": {"num_steps": 3, "with_residual": True, "fixed": True},
    "layer norm": {"num_steps": 2, "layer_norm": True},
    "affine": {"num_steps": 2, "layer_norm": "affine", "with_residual": True},
    "pair": {"pair": True},
}


def _rank(index: Tensor) -> Tensor:
    """For each edge its place among the edges sorted by row and column."""
    return torch.argsort(torch.argsort(index[1] * N + index[0], stable=True))


def _sym(matrix: Tensor) -> Tensor:
    degree = matrix.abs().sum(1)
    scale = torch.where(degree > 0, degree.clamp_min(1e-30).rsqrt(), 0.0)
    return scale[:, None] * matrix * scale


def _row(matrix: Tensor) -> Tensor:
    degree = matrix.abs().sum(1, keepdim=True)
    return torch.where(degree > 0, matrix / degree.clamp_min(1e-30), 0.0)


AFFINE = torch.nn.LayerNorm(D, eps=1e-3, dtype=torch.float64)
with torch.no_grad():
    AFFINE.weight.copy_(normal(D, seed=5))
    AFFINE.bias.copy_(normal(D, seed=6))


def ours(halves: str, backend: str, pair=False, fixed=False, with_residual=False, layer_norm=False, num_steps=1):
    def run(point: Point) -> Tensor:
        graph = HALVES[halves][0](point)
        if pair:
            return torch.cat(signed_pair(point["x"], graph, backend=backend))
        coefficients = {n: float(POINT[n]) if fixed else point[n] for n in ("alpha", "beta", "lam")}
        return signed_propagate(
            point["x"],
            graph,
            **coefficients,
            num_steps=num_steps,
            residual=point["residual"] if with_residual else None,
            layer_norm=AFFINE if layer_norm == "affine" else layer_norm,
            backend=backend,
        )

    return run


def definition(halves: str, pair=False, fixed=False, with_residual=False, layer_norm=False, num_steps=1):
    def run(point: Point) -> Tensor:
        pos, neg = HALVES[halves][1](point)
        x = point["x"]
        if pair:
            return torch.cat([pos @ x, neg @ x])
        a, b, lam = (float(POINT[n]) if fixed else point[n] for n in ("alpha", "beta", "lam"))
        for _ in range(num_steps):
            own = point["residual"] if with_residual else x
            x = (1 - lam) * own + lam * (a * (pos @ x) - b * (neg @ x))
            if layer_norm:
                # Not torch's layer_norm, whose gradient of a tangent is wrong in release 2.13.
                x = x - x.mean(1, keepdim=True)
                x = x / (x.square().mean(1, keepdim=True) + (AFFINE.eps if layer_norm == "affine" else 1e-5)).sqrt()
                x = x * AFFINE.weight + AFFINE.bias if layer_norm == "affine" else x
        return x

    return run


def direction(point: Point, seed: int) -> Point:
    return {name: normal(*value.shape, seed=seed + k) for k, (name, value) in enumerate(point.items())}


def close(got: object, want: object) -> None:
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


cases = pytest.mark.parametrize(("halves", "steps"), [(h, s) for h in HALVES for s in STEPS])


@cases
def test_forward_mode(backend, halves, steps):
    tangent = direction(POINT, 20)
    got, want = (
        jvp(f, (POINT,), (tangent,))
        for f in (ours(halves, backend, **STEPS[steps]), definition(halves, **STEPS[steps]))
    )
    close(got, want)
    # The same without torch.func, and for one input at a time.
    with forward_ad.dual_level():
        dual = {n: forward_ad.make_dual(v, tangent[n]) for n, v in POINT.items()}
        close(forward_ad.unpack_dual(ours(halves, backend, **STEPS[steps])(dual)).tangent, want[1])
        for name in POINT:
            one = POINT | {name: dual[name]}
            own, exact = (
                forward_ad.unpack_dual(f(one)).tangent
                for f in (ours(halves, backend, **STEPS[steps]), definition(halves, **STEPS[steps]))
            )
            assert (own is None or not own.any()) if exact is None else own is not None, name
            if exact is not None:
                close(own, exact)


@cases
def test_reverse_mode(backend, halves, steps):
    f, exact = ours(halves, backend, **STEPS[steps]), definition(halves, **STEPS[steps])
    cotangent = normal(*exact(POINT).shape, seed=30)
    want = vjp(exact, POINT)[1](cotangent)[0]
    close(vjp(f, POINT)[1](cotangent)[0], want)
    leaves = {name: value.clone().requires_grad_() for name, value in POINT.items()}
    plain = torch.autograd.grad(f(leaves), list(leaves.values()), cotangent, allow_unused=True)
    for name, got in zip(POINT, plain, strict=True):
        close(torch.zeros_like(POINT[name]) if got is None else got, want[name])


@cases
def test_second_order(backend, halves, steps):
    f, exact = ours(halves, backend, **STEPS[steps]), definition(halves, **STEPS[steps])
    tangent = direction(POINT, 40)
    scalar = lambda run: lambda point: (run(point) * weight).square().sum()  # noqa: E731
    weight = normal(*exact(POINT).shape, seed=31)
    forward_over_reverse = lambda run: jvp(grad(scalar(run)), (POINT,), (tangent,))[1]  # noqa: E731
    reverse_over_forward = lambda run: grad(lambda p: jvp(scalar(run), (p,), (tangent,))[1])(POINT)  # noqa: E731
    want = forward_over_reverse(exact)
    close(forward_over_reverse(f), want)
    close(reverse_over_forward(f), want)
    leaves = {name: value.clone().requires_grad_() for name, value in POINT.items()}
    first = torch.autograd.grad(scalar(f)(leaves), list(leaves.values()), create_graph=True, allow_unused=True)
    along = sum((g * t).sum() for g, t in zip(first, tangent.values(), strict=True) if g is not None)
    second = torch.autograd.grad(along, list(leaves.values()), allow_unused=True)
    for name, got in zip(POINT, second, strict=True):
        close(torch.zeros_like(POINT[name]) if got is None else got, want[name])


@cases
def test_vmap(backend, halves, steps):
    batch = {name: torch.stack([value + 0.1 * k for k in range(3)]) for name, value in POINT.items()}
    f, exact = ours(halves, backend, **STEPS[steps]), definition(halves, **STEPS[steps])
    close(vmap(f)(batch), vmap(exact)(batch))
    # Only the features, batched along their last dimension.
    only_x = {name: 2 if name == "x" else None for name in POINT}
    one = POINT | {"x": batch["x"].movedim(0, 2).contiguous()}
    close(vmap(f, in_dims=(only_x,))(one), vmap(exact, in_dims=(only_x,))(one))


@pytest.mark.parametrize("steps", ["one step", "layer norm", "fixed residual"])
@pytest.mark.parametrize("transform", [jacfwd, jacrev, hessian], ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", ["x", "alpha", "pos", "x0"])
def test_jacobians(backend, transform, steps, name):
    def of(run):
        return transform(lambda value: run(POINT | {name: value}).square().sum(0))(POINT[name])

    close(of(ours("features", backend, **STEPS[steps])), of(definition("features", **STEPS[steps])))


def test_functional_call_and_ensembles(backend):
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.beta = torch.nn.Linear(D, D, dtype=torch.float64), torch.nn.Parameter(POINT["beta"])

        def forward(self, x: Tensor) -> Tensor:
            graph = HALVES["weights"][0](POINT)
            return signed_propagate(self.linear(x), graph, beta=self.beta, lam=0.5, backend=backend).square().sum()

    model = Model()
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    loss = lambda parameters: functional_call(model, parameters, (POINT["x"],))  # noqa: E731
    model(POINT["x"]).backward()
    for name, got in grad(loss)(parameters).items():
        close(got, dict(model.named_parameters())[name].grad)
    ensemble = {name: torch.stack([value, 2 * value]) for name, value in parameters.items()}
    single = torch.stack([loss(parameters), loss({name: 2 * value for name, value in parameters.items()})])
    close(vmap(loss)(ensemble), single)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_transforms_leave_no_trace_in_caches(backend, dtype):
    """A graph first used inside a transform works outside of it, and the other way round."""
    graph = SignedGraph.from_edge_index(POS, NEG, N).normalize("sym")
    x = POINT["x"].to(dtype)
    step = lambda x: signed_propagate(x, graph, beta=0.5, lam=0.5, num_steps=2, backend=backend)  # noqa: E731
    inside = [grad(lambda x: step(x).sum())(x), *jvp(step, (x,), (x,)), vmap(step)(x[None])[0]]
    leaf = x.clone().requires_grad_()
    y = step(leaf)
    outside = [torch.autograd.grad(y.sum(), leaf)[0], y.detach(), y.detach(), y.detach()]
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    for got, want in zip(inside, outside, strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    assert not any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in (graph.T.pos.col, graph.pos.col))


def test_a_batch_of_signs_is_refused_in_one_sentence():
    weight = torch.stack([POINT["pos"], -POINT["pos"]])
    with pytest.raises(NotImplementedError, match="signs are read when a graph is built: no vmap over them"):
        vmap(lambda w: signed_propagate(POINT["x"], SignedGraph.from_edge_weight(POS, w, N)))(weight)


def test_joint_degrees_carry_the_gradient_of_the_other_half(backend):
    """Weights of one sign scale the edges of the other, fixed ones too."""

    def ours(weight: Tensor) -> Tensor:
        graph = SignedGraph.from_edge_index(POS, NEG, N, neg_edge_weight=weight).normalize("row", joint=True)
        return signed_propagate(POINT["x"], graph, beta=0.0, backend=backend)

    def definition(weight: Tensor) -> Tensor:
        pos, neg = dense(POS, torch.ones(11, dtype=torch.float64)), dense(NEG, weight)
        degree = pos.sum(1, keepdim=True) + neg.abs().sum(1, keepdim=True)
        return torch.where(degree > 0, pos / degree.clamp_min(1e-30), 0.0) @ POINT["x"]

    for transform in (jacrev, jacfwd):
        close(transform(ours)(POINT["neg"]), transform(definition)(POINT["neg"]))
    leaf = POINT["neg"].clone().requires_grad_()
    close(
        torch.autograd.grad(ours(leaf).square().sum(), leaf), torch.autograd.grad(definition(leaf).square().sum(), leaf)
    )


@pytest.mark.parametrize("halves", ["features", "fixed features", "labels"])
def test_autocast_rounds_features_only(backend, halves):
    """Logits, softmax and group sums keep their precision; x is stored in 16 bits."""
    point = {name: value.float() for name, value in POINT.items()} | {"x": POINT["x"].bfloat16().float()}
    graph = HALVES[halves][0](point)
    want = signed_propagate(point["x"], graph, beta=0.5, lam=0.5, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = signed_propagate(point["x"], HALVES[halves][0](point), beta=0.5, lam=0.5, backend=backend)
    torch.testing.assert_close(got, want.bfloat16())


def test_float16_gradients_through_layer_norm_of_small_rows(backend):
    """1/std of a row may exceed what float16 holds, although the gradient of x does not."""
    graph = SignedGraph.from_edge_index(POS, NEG, N)
    x = (POINT["x"] * 2.0**-8).half().requires_grad_()
    norm = torch.nn.LayerNorm(D, eps=1e-16)
    y = signed_propagate(x, graph, alpha=2.0**-14, beta=2.0**-14, layer_norm=norm, backend=backend)
    got = torch.autograd.grad((y * POINT["x"].half()).sum(), x)[0]
    wide = x.detach().double().requires_grad_()
    z = 2.0**-14 * (dense(POS, torch.ones(11).double()) - dense(NEG, torch.ones(8).double())) @ wide
    exact = torch.nn.functional.layer_norm(z, (D,), eps=1e-16)
    want = torch.autograd.grad((exact * POINT["x"]).sum(), wide)[0]
    assert bool(got.isfinite().all())
    torch.testing.assert_close(got.double(), want, rtol=0.02, atol=0.02 * float(want.abs().max()))
