"""What torch expects of an operation: opcheck, compile without a break, fake tensors, autocast."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import SignedGraph, Similarity, signed_pair, signed_propagate
from sbp_kernels.backends._extension import NOT_LOADED
from tests.graphs import GRAPHS, feature, labelled, plain, weighted_and_scaled

needs_native = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
SAMPLES = {
    "sparse": plain,
    "weighted": weighted_and_scaled,
    "labels": lambda: labelled(0.5),
    "features": lambda: feature(-1.0),
}


def terms(graph: SignedGraph, x: torch.Tensor) -> list[torch.Tensor | None]:
    from sbp_kernels.backends import native

    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    both = [(None,) * 7 if h is None else tuple(h.operand(x, wide, native)) for h in (graph.pos, graph.neg)]
    return [*both[0], *both[1]]


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["plain", "weighted+scaled", "labels", "bipartite", "no nodes", "int64 columns"])
def test_opcheck(name, dtype):
    graph = GRAPHS[name]()
    x = torch.randn(graph.num_cols, 6).to(dtype)
    y = torch.randn(graph.num_rows, 6).to(dtype)
    both, n, ops = terms(graph, x), graph.num_rows, torch.ops.sbp
    residual = y if n == graph.num_cols else None
    no_plan = (None,) * 5
    torch.library.opcheck(ops.signed_spmm, (x, None, residual, *both, None, 0.5, 1.0, -0.5, n, *no_plan))
    torch.library.opcheck(ops.signed_spmm_norm, (x, x, residual, *both, None, 0.5, 1.0, -0.5, n, 1e-5, *no_plan))
    torch.library.opcheck(ops.signed_pair, (x, *both, n, *no_plan))
    torch.library.opcheck(ops.signed_dot, (y, x, *both, residual, *no_plan))
    torch.library.opcheck(ops.edge_dot, (y, x, *both[:2], *both[3:5]))


@needs_native
def test_opcheck_of_the_builders():
    graph = labelled(0.5)
    ops, plan, pattern = torch.ops.sbp, graph.neg.segments, graph.pos.pattern
    torch.library.opcheck(ops.group_sum, (torch.randn(23, 6), plan.order, plan.segptr, plan.group_segptr))
    torch.library.opcheck(ops.mix_groups, (torch.rand(5, 5), torch.randn(5, 6)))
    torch.library.opcheck(ops.coo_to_csr, (pattern.row_index(), pattern.col.long(), 23, 23))
    torch.library.opcheck(ops.csr_transpose, (pattern.rowptr, pattern.col, 23))


class Deep(torch.nn.Module):
    """Every feature of the op in one model."""

    def __init__(self, graph: SignedGraph, backend: str) -> None:
        super().__init__()
        self.graph, self.backend, self.lam = graph, backend, 0.3
        self.linear = torch.nn.Linear(8, 8)
        self.norm = torch.nn.LayerNorm(8)
        self.beta = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        call = {"lam": self.lam, "backend": self.backend}
        h = signed_propagate(self.linear(x), self.graph, beta=0.7, num_steps=3, **call)
        h = signed_propagate(h, self.graph, beta=self.beta, layer_norm=self.norm, residual=x, **call)
        pos, neg = signed_pair(torch.relu(h), self.graph, backend=self.backend)
        return (pos - neg).square().sum()


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", SAMPLES)
def test_compile_without_a_graph_break(backend, name, dynamic):
    torch._dynamo.reset()
    torch.manual_seed(0)
    # The first call is compiled, so nothing has been cached on the graph yet.
    compiled_model = Deep(SAMPLES[name](), backend)
    eager_model = Deep(SAMPLES[name](), backend)
    eager_model.load_state_dict(compiled_model.state_dict())
    compiled = torch.compile(compiled_model, fullgraph=True, dynamic=dynamic)
    x = torch.randn(23, 8, requires_grad=True)
    for lam in (0.3, 0.6):
        eager_model.lam = compiled_model.lam = lam
        want = torch.autograd.grad(eager_model(x), [x, *eager_model.parameters()])
        got = torch.autograd.grad(compiled(x), [x, *compiled_model.parameters()])
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_stores_in_the_low_type(backend, dtype):
    graph, x = plain(), torch.randn(23, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        y = signed_propagate(x, graph, lam=0.5, residual=x, backend=backend)
        pos, _ = signed_pair(x, graph, backend=backend)
        wide = signed_propagate(x.double(), graph, backend=backend)
    assert y.dtype == pos.dtype == dtype and wide.dtype == torch.float64
    want = signed_propagate(x.to(dtype), graph, lam=0.5, residual=x.to(dtype), backend=backend)
    assert torch.equal(y, want)
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32


def test_compile_under_autocast(backend):
    torch._dynamo.reset()
    graph, x = plain(), torch.randn(23, 8)

    def step(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return signed_propagate(x, graph, lam=0.5, backend=backend)

    # Compiled plain torch may keep a rounding out that eager code makes.
    torch.testing.assert_close(torch.compile(step, fullgraph=True)(x), step(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", SAMPLES)
def test_export(backend, name):
    graph = SAMPLES[name]()
    if name == "labels":
        graph.prepare()

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph = graph

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return signed_propagate(x, self.graph, lam=0.5, num_steps=2, backend=backend)

    x = torch.randn(23, 8)
    exported = torch.export.export(Step(), (x,)).module()
    torch.testing.assert_close(exported(x), Step()(x))


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compile_with_features_that_learn(backend, compiler):
    """x0 may change between calls: its log-sum-exp must be a part of the compiled graph."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    x, x0 = torch.randn(23, 8), torch.nn.Parameter(torch.randn(23, 5))
    graph = SignedGraph(plain().pos, Similarity(x0))

    def step(x):
        return signed_propagate(x, graph, lam=0.5, backend=backend).square().sum()

    compiled = torch.compile(step, fullgraph=True, backend=compiler)
    for _ in range(2):
        got, want = (torch.autograd.grad(f(x), x0)[0] for f in (compiled, step))
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            x0.mul_(1.5)
