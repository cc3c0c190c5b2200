"""signed_spmm: coefficients of every shape on every kind of graph, against dense matrices in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from sbp_kernels import SignedGraph, signed_propagate, signed_spmm
from tests import oracle
from tests.graphs import GRAPHS, bipartite, labelled, one_sided, weighted, weighted_and_scaled

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
D = 5
KINDS = ("number", "scalar", "node", "feature")


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coefficient(kind: str, graph: SignedGraph, seed: int, width: int = D):
    if kind == "number":
        return 0.3 + seed
    shape = {"scalar": (1,), "node": (graph.num_rows, 1), "feature": (width,)}[kind]
    return normal(*shape, seed=seed)


def definition(x, graph, pos=1.0, neg=-1.0, x_neg=None, residual=None, res=0.0):
    plus, minus = oracle.halves(graph)
    y = pos * (plus @ x) + neg * (minus @ (x if x_neg is None else x_neg))
    own = x if residual is None and graph.num_rows == graph.num_cols else residual
    return y if own is None else y + res * own


def arguments(graph: SignedGraph, kinds: tuple[str, str, str], x_neg: bool, residual: bool) -> dict[str, object]:
    named = {n: coefficient(k, graph, i) for i, (n, k) in enumerate(zip(("pos", "neg", "res"), kinds, strict=True))}
    if x_neg:
        named["x_neg"] = normal(graph.num_cols, D, seed=5)
    if residual or graph.num_rows != graph.num_cols:
        named["residual"] = normal(graph.num_rows, D, seed=6)
    return named


def cast(named: dict[str, object], dtype: torch.dtype) -> dict[str, object]:
    """Features in this type; coefficients stay in float64."""
    return {n: v.to(dtype) if n in ("x_neg", "residual") else v for n, v in named.items()}


@pytest.mark.parametrize("name", GRAPHS)
def test_values(backend, name):
    """All kinds of all coefficients, with and without x_neg and a residual."""
    graph = GRAPHS[name]()
    x = normal(graph.num_cols, D)
    for number, kinds in enumerate((p, q, r) for p in KINDS for q in KINDS for r in KINDS):
        named = arguments(graph, kinds, number % 2 == 0, number % 3 == 0)
        got = signed_spmm(x, graph, **named, backend=backend)
        torch.testing.assert_close(got, definition(x, graph, **named), rtol=1e-11, atol=1e-11, msg=str(kinds))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_types(backend, dtype):
    """One rounding to the type of x, whatever the coefficients."""
    graph = weighted_and_scaled()
    x = normal(23, D).to(dtype)
    for kinds in (("number",) * 3, ("node", "feature", "scalar"), ("feature", "feature", "node")):
        named = arguments(graph, kinds, True, True)
        given = cast(named, dtype)
        exact = definition(x.double(), graph, **cast(given, torch.float64))
        oracle.assert_close(signed_spmm(x, graph, **given, backend=backend), exact.to(dtype), exact, str(kinds))


def test_the_step_of_the_paper_has_the_same_bits(backend):
    graph, x, residual = weighted(), normal(23, D), normal(23, D, seed=1)
    want = signed_propagate(x, graph, alpha=1.5, beta=0.25, lam=0.5, residual=residual, backend=backend)
    got = signed_spmm(x, graph, pos=0.75, neg=-0.125, res=0.5, residual=residual, backend=backend)
    assert torch.equal(got, want)


@pytest.mark.parametrize("graph", [weighted_and_scaled(), bipartite(), labelled(0.5), one_sided("neg")], ids=repr)
def test_batches_and_vectors(backend, graph):
    x, x_neg = normal(2, 3, graph.num_cols, D), normal(2, 3, graph.num_cols, D, seed=1)
    residual = normal(2, 3, graph.num_rows, D, seed=2)
    named = {n: coefficient(k, graph, i) for i, (n, k) in enumerate(zip(("pos", "neg", "res"), KINDS[1:], strict=True))}
    got = signed_spmm(x, graph, **named, x_neg=x_neg, residual=residual, backend=backend)
    want = definition(x, graph, **named, x_neg=x_neg, residual=residual)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    got = signed_spmm(x[0, 0, :, 0], graph, pos=2.0, neg=named["neg"][:1], backend=backend)
    want = definition(x[0, 0, :, :1], graph, pos=2.0, neg=named["neg"][:1])
    torch.testing.assert_close(got, want[:, 0], rtol=1e-11, atol=1e-11)
    assert signed_spmm(x[:, :0], graph, backend=backend).shape == (2, 0, graph.num_rows, D)


CASES = [
    (("scalar", "scalar", "scalar"), True, True),
    (("scalar", "scalar", "scalar"), True, False),
    (("number", "number", "number"), True, False),
    (("feature", "scalar", "node"), False, False),
    (("number", "feature", "feature"), True, True),
    (("node", "node", "scalar"), False, False),
    (("node", "feature", "node"), True, True),
    (("scalar", "node", "number"), True, False),
]


def point(graph: SignedGraph, kinds, x_neg: bool, residual: bool) -> dict[str, Tensor]:
    named = {"x": normal(graph.num_cols, D, seed=9), **arguments(graph, kinds, x_neg, residual)}
    named |= {"pos_weight": graph.pos.weight, "neg_weight": graph.neg.weight}
    return {n: v if isinstance(v, Tensor) else torch.tensor(v, dtype=torch.float64) for n, v in named.items()}


def ours_and_dense(graph: SignedGraph, kinds, backend: str):
    numbers = {n for n, k in zip(("pos", "neg", "res"), kinds, strict=True) if k == "number"}
    halves = [
        (half.pattern.row_index(), half.col.long(), half.row_scale, half.col_scale) for half in (graph.pos, graph.neg)
    ]

    def fixed(p):
        return {n: 0.3 + ("pos", "neg", "res").index(n) if n in numbers else v for n, v in p.items()}

    def ours(p):
        p = fixed(p)
        weighed = graph.with_weights(p.pop("pos_weight"), p.pop("neg_weight"))
        return signed_spmm(p.pop("x"), weighed, **p, backend=backend)

    def dense(p):
        p = fixed(p)
        x, matrices = p["x"], []
        for (row, col, left, right), w in zip(halves, (p["pos_weight"], p["neg_weight"]), strict=True):
            matrix = torch.zeros(23, 23, dtype=torch.float64).index_put((row, col), w, accumulate=True)
            matrices.append(left[:, None] * matrix * right)
        y = p["pos"] * (matrices[0] @ x) + p["neg"] * (matrices[1] @ p.get("x_neg", x))
        return y + p["res"] * p.get("residual", x)

    return ours, dense


@pytest.mark.parametrize(("kinds", "x_neg", "residual"), CASES)
def test_derivatives(backend, kinds, x_neg, residual):
    """Reverse, forward, second order and vmap, with respect to every tensor, edge weights included."""
    graph = weighted_and_scaled()
    at = point(graph, kinds, x_neg, residual)
    ours, dense = ours_and_dense(graph, kinds, backend)
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)  # noqa: E731
    close(ours(at), dense(at))
    cotangent = normal(23, D, seed=11)
    loss = lambda f: lambda p: (f(p) * cotangent).square().sum()  # noqa: E731
    along = {n: normal(*v.shape, seed=20 + i) for i, (n, v) in enumerate(at.items())}
    close(jvp(ours, (at,), (along,)), jvp(dense, (at,), (along,)))
    want = jvp(grad(loss(dense)), (at,), (along,))
    close(jvp(grad(loss(ours)), (at,), (along,)), want)
    leaves = {n: v.clone().requires_grad_() for n, v in at.items()}
    first = torch.autograd.grad(loss(ours)(leaves), list(leaves.values()), create_graph=True, allow_unused=True)
    inner = sum((g * t).sum() for g, t in zip(first, along.values(), strict=True) if g is not None)
    second = torch.autograd.grad(inner, list(leaves.values()), allow_unused=True)
    for got, exact in ((first, want[0]), (second, want[1])):
        for name, one in zip(at, got, strict=True):
            close(torch.zeros_like(at[name]) if one is None else one.detach(), exact[name])
    batch = {n: torch.stack([v, v + 0.1]) for n, v in at.items()}
    close(vmap(ours)(batch), vmap(dense)(batch))


def test_scalar_coefficients_take_one_pass(monkeypatch):
    """Nothing is computed beside the fused pass, and numbers save nothing for the backward pass."""
    graph, x = weighted_and_scaled(), normal(23, D).requires_grad_()
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = signed_spmm(x, graph, pos=2.0, neg=0.5, res=-3.0)
        signed_spmm(x, graph, pos=2.0, x_neg=normal(23, D), residual=normal(23, D))
    assert not saved and type(y.grad_fn).__name__ == "_LinearBackward"


def test_a_part_with_coefficient_zero_is_not_read(backend):
    graph, x = weighted(), normal(23, D)
    bad = torch.full_like(x, torch.nan)
    for pos in (1.0, coefficient("node", graph, 0), coefficient("feature", graph, 0)):
        got = signed_spmm(x, graph, pos=pos, neg=0.0, x_neg=bad, residual=bad, backend=backend)
        torch.testing.assert_close(got, definition(x, graph, pos=pos, neg=0.0))
    zeros = signed_spmm(bad, graph, pos=0, neg=0, backend=backend)
    assert torch.equal(zeros, torch.zeros_like(x))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"pos": torch.ones(3)}, r"pos must be .* \[num_rows=23, 1\] or \[features=5\], got shape \(3,\)"),
        ({"neg": torch.ones(23)}, r"neg must be"),
        ({"res": "one"}, "res must be a finite number, got 'one'"),
        ({"res": float("nan")}, "res must be finite, got nan"),
        ({"pos": torch.ones(5, dtype=torch.complex64)}, "pos must be real"),
        ({"x_neg": torch.ones(23, 5)}, r"x_neg must have shape \(23, 5\), the type torch.float64"),
        ({"residual": normal(22, 5)}, r"residual must have shape \(23, 5\)"),
        ({"x": normal(22, 5)}, r"x must have shape \[..., num_nodes=23, features\] or \[num_nodes\], got \(22, 5\)"),
        ({"x": torch.tensor(1.0)}, r"x must have shape"),
        ({"graph": None}, "graph must be a SignedGraph, got None"),
    ],
)
def test_wrong_arguments(named, message):
    with pytest.raises(ValueError, match=message):
        signed_spmm(**{"x": normal(23, 5), "graph": weighted(), **named})


def test_a_rectangular_graph_has_no_own_residual():
    graph = bipartite()
    x = normal(graph.num_cols, 2)
    with pytest.raises(ValueError, match=r"a 9x17 graph needs residual=... unless res is the number 0"):
        signed_spmm(x, graph, res=torch.tensor(0.0))
    assert signed_spmm(x, graph).shape == (9, 2)
