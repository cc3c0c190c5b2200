"""Every backend, every kind of adjacency, every type, both directions: against the dense definition."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, SignedGraph, signed_pair, signed_propagate
from tests import oracle
from tests.graphs import GRAPHS, edges, feature, labelled, weighted_and_scaled

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
COEFFICIENTS = {"alpha": 1.1, "beta": 0.7, "lam": 0.4}
# Every way the vector kernels cut a row: below, at and above each vector and tile width.
WIDTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 256, 257, 300, 1433]


def features(rows: int, width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def coefficients(graph: SignedGraph) -> dict[str, float]:
    square = graph.num_rows == graph.num_cols
    return COEFFICIENTS if square else COEFFICIENTS | {"lam": 1.0}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("layer_norm", [False, True], ids=["", "layer_norm"])
def test_forward(backend, name, dtype, layer_norm):
    graph = GRAPHS[name]()
    x = features(graph.num_cols, 19, dtype)
    call = coefficients(graph) | {"layer_norm": layer_norm}
    got = signed_propagate(x, graph, **call, backend=backend)
    reference = signed_propagate(x, graph, **call, backend="reference")
    oracle.assert_close(got, reference, oracle.propagate(x, graph, **call), name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_backward(backend, name, dtype):
    graph = GRAPHS[name]()
    grad = features(graph.num_rows, 19, dtype, seed=1)
    call = coefficients(graph)

    def gradient(run, dtype, **more):
        x = features(graph.num_cols, 19, grad.dtype).to(dtype).requires_grad_()
        return torch.autograd.grad(run(x, graph, **call, **more), x, grad.to(dtype))[0]

    exact = gradient(oracle.propagate, torch.float64)
    reference = gradient(signed_propagate, dtype, backend="reference")
    oracle.assert_close(gradient(signed_propagate, dtype, backend=backend), reference, exact, name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_pair(backend, name, dtype):
    graph = GRAPHS[name]()
    x = features(graph.num_cols, 19, dtype)
    got, reference = (signed_pair(x, graph, backend=b) for b in (backend, "reference"))
    for half, g, r in zip(oracle.halves(graph), got, reference, strict=True):
        oracle.assert_close(g, r, half @ x.double(), name)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_width(backend, width, dtype):
    for graph in (weighted_and_scaled(), labelled(0.5)):
        x = features(23, width, dtype)
        for layer_norm in (False, True) if width > 8 else (False,):
            call = COEFFICIENTS | {"layer_norm": layer_norm}
            got = signed_propagate(x, graph, **call, backend=backend)
            reference = signed_propagate(x, graph, **call, backend="reference")
            exact = oracle.propagate(x, graph, **call)
            oracle.assert_close(got, reference, exact, f"width {width}")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_of_the_learnt_gradients(backend, width):
    """The sums over features: gradients of coefficients and of edge weights."""
    x = features(23, width, torch.float64)
    grad = features(23, width, torch.float64, seed=1)
    weight = weighted_and_scaled().pos.weight.clone().requires_grad_()
    scalars = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.1, 0.7, 0.4)]
    graph = SignedGraph(CSR.from_edge_index(edges(90, 23, 23, 2), weight, 23), weighted_and_scaled().neg)
    y = signed_propagate(x, graph, alpha=scalars[0], beta=scalars[1], lam=scalars[2], backend=backend)
    got = torch.autograd.grad(y, [*scalars, weight], grad)
    pos, neg = oracle.halves(graph)
    attract, repel = (grad * (pos.detach() @ x)).sum(), (grad * (neg @ x)).sum()
    torch.testing.assert_close(got[0], 0.4 * attract)
    torch.testing.assert_close(got[1], -0.4 * repel)
    torch.testing.assert_close(got[2], 1.1 * attract - 0.7 * repel - (grad * x).sum())
    order = torch.argsort(edges(90, 23, 23, 2)[1] * 23 + edges(90, 23, 23, 2)[0], stable=True)
    source, target = edges(90, 23, 23, 2)
    wanted = 0.4 * 1.1 * (grad[target] * x[source]).sum(1)
    torch.testing.assert_close(got[3][order], wanted[order])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_features_of_any_layout(backend, dtype):
    graph = weighted_and_scaled()
    wide = features(23, 40, dtype)
    views = {
        "columns of a wider tensor": wide[:, 3:20],
        "every second column": wide[:, ::2],
        "transposed": features(17, 23, dtype).T,
        "every second row": features(46, 17, dtype)[::2],
        "one row for all": features(1, 17, dtype).expand(23, 17),
        "one column": wide[:, 5:6],
    }
    for name, x in views.items():
        want = signed_propagate(x.contiguous(), graph, **COEFFICIENTS, backend=backend)
        assert torch.equal(signed_propagate(x, graph, **COEFFICIENTS, backend=backend), want), name
        residual = signed_propagate(x, graph, **COEFFICIENTS, residual=x, backend=backend)
        oracle.assert_close(residual, want, oracle.propagate(x, graph, **COEFFICIENTS), name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_values_are_stored_as_torch_stores_them(backend, dtype):
    """Rounding to the storage type: ties, subnormal, overflow and infinity, against torch's own cast.

    A backend may flush what is subnormal in the accumulation type.
    """
    wide = torch.cat([10.0 ** torch.arange(-45, 38), torch.tensor([0.0, torch.inf, 65504.0, 65520.0, 1.00048828125])])
    x = torch.cat([wide, -wide]).to(dtype)[None, :].contiguous()
    single = SignedGraph(CSR.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), num_nodes=1))
    got = signed_propagate(x, single, alpha=1 / 3, lam=1.0, backend=backend)
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    want = (x.to(acc) * torch.tensor(1 / 3, dtype=acc)).to(dtype)
    want = torch.where((want.to(acc).abs() < torch.finfo(acc).tiny) & (got == 0), 0, want)
    torch.testing.assert_close(got, want, rtol=0 if acc == torch.float32 else 1e-15, atol=0)


def test_several_steps_are_steps_in_turn(backend):
    graph = weighted_and_scaled()
    x, residual = features(23, 9, torch.float64), features(23, 9, torch.float64, seed=1)
    for more in ({}, {"residual": residual}, {"layer_norm": True}):
        call = COEFFICIENTS | more
        got = signed_propagate(x, graph, **call, num_steps=7, backend=backend)
        torch.testing.assert_close(got, oracle.propagate(x, graph, **call, num_steps=7), rtol=1e-12, atol=1e-12)
        assert torch.equal(signed_propagate(x, graph, **call, num_steps=0, backend=backend), x)


@pytest.mark.parametrize("transposed", [False, True])
def test_float64_is_exact_to_rounding(backend, transposed):
    """Label-SBP and Feature-SBP against the dense softmax definition: 1e-12."""
    for graph in (labelled(0.5), labelled(1.0), labelled(0.5, "labelled"), feature(-1.0), feature(1.0)):
        graph = graph.T if transposed else graph
        x = features(23, 11, torch.float64)
        got = signed_propagate(x, graph, **COEFFICIENTS, backend=backend)
        assert (got - oracle.propagate(x, graph, **COEFFICIENTS)).abs().max() <= 1e-12


def test_a_large_graph_crosses_threads_and_prefetch(backend, threads):
    """Big enough for several pieces of work, huge pages and running ahead; float64 index_add as the oracle."""
    n, d = 3000, 160
    pos, neg = edges(60_000, n, n, 0), edges(20_000, n, n, 1)
    graph = SignedGraph.from_edge_index(pos, neg, n)
    x = features(n, d, torch.float32)
    gather = lambda e: torch.zeros(n, d, dtype=torch.float64).index_add(0, e[1], x.double()[e[0]])  # noqa: E731
    exact = 0.6 * x.double() + 0.4 * (1.1 * gather(pos) - 0.7 * gather(neg))
    for count in (1, 2):
        threads(count)
        got = signed_propagate(x, graph, **COEFFICIENTS, backend=backend)
        assert (got.double() - exact).abs().max() <= 1e-4
