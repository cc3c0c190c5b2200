"""Every kernel against the reference backend, on a GPU or else under Triton's interpreter.

`TRITON_INTERPRET=1 python -m pytest tests/triton/test_kernels.py` runs it by hand; `test_interpreter.py`
runs it in the ordinary suite.
"""

from __future__ import annotations

import gc
import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from sbp_kernels.adjacency.class_block import GroupSegments
from sbp_kernels.backends import reference
from sbp_kernels.backends.interface import accumulation_dtype
from sbp_kernels.backends.triton import ops as kernels
from tests import oracle
from tests.graphs import edges, weighted_and_scaled

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
REASON = kernels.unsupported(torch.zeros(1, 1, device=DEVICE))
if REASON is not None:
    pytest.skip(f"{REASON}; test_interpreter.py runs these", allow_module_level=True)

from sbp_kernels.backends.triton import degree_bins, launch, row_launch, tile_sizes  # noqa: E402

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
COEFS = (0.6, 0.44, -0.28)


def features(n: int, width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64).to(dtype).to(DEVICE)


def skewed(weighted: bool = True, n: int = 40) -> SignedGraph:
    """Return a graph with hub rows, rows of middle degree, light and empty rows, different in each half."""
    into = [torch.stack([torch.arange(1, n - 3), torch.full((n - 4,), hub)]) for hub in (0, 7)]
    pos = torch.cat([edges(60, n, n, 0), into[0], into[0]], 1)
    neg = torch.cat([edges(30, n, n, 1), into[1]], 1)
    generator = torch.Generator().manual_seed(3)
    weight = [torch.rand(e.size(1), generator=generator, dtype=torch.float64) + 0.1 for e in (pos, neg)]
    halves = [CSR.from_edge_index(e, w if weighted else None, n) for e, w in zip((pos, neg), weight, strict=True)]
    return SignedGraph(*halves).normalize("sym").to(DEVICE)


@pytest.fixture
def many_bins(monkeypatch):
    """Limits so low that a small graph has light rows, single rows, and hubs of several chunks."""
    monkeypatch.setattr(degree_bins, "LIMITS", degree_bins.Limits(light=4, light_min_rows=1, hub=9, chunk=7))
    degree_bins._ONE_HALF.clear()
    degree_bins._TWO_HALVES.clear()
    yield
    degree_bins._ONE_HALF.clear()
    degree_bins._TWO_HALVES.clear()


def terms(graph: SignedGraph, x: torch.Tensor):
    return [half.operand(x, accumulation_dtype(x), kernels) for half in (graph.pos, graph.neg)]


def close(got: torch.Tensor, want: torch.Tensor, what: str = "") -> None:
    assert got.shape == want.shape and got.dtype == want.dtype, what
    eps = torch.finfo(got.dtype).eps
    torch.testing.assert_close(got.double(), want.double(), rtol=4 * eps, atol=32 * eps, msg=lambda m: f"{what}: {m}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_of_every_bin(many_bins, dtype):
    """Each epilogue once: x as residual, another residual, none; coefficients as numbers or a tensor; LayerNorm."""
    coef = torch.tensor(COEFS, dtype=accumulation_dtype(features(1, 1, dtype)), device=DEVICE)
    for graph, width, own, other, device_coef, eps in (
        (skewed(), 19, True, False, None, 1e-5),
        (skewed(), 64, False, True, coef, None),
        (skewed(weighted=False), 260, False, False, None, 1e-5),
    ):
        x, x_neg, residual = (features(40, width, dtype, seed) for seed in range(3))
        residual = x if own else residual if other else None
        call = (x, x_neg if other else None, residual, *terms(graph, x), COEFS, device_coef, 40, eps)
        got, want = kernels.signed_spmm(*call), reference.signed_spmm(*call)
        close(got[0], want[0], f"width={width}")
        assert (got[1] is None) == (eps is None)
        if eps is not None:
            torch.testing.assert_close(got[1], want[1])
    assert torch.equal(kernels.signed_spmm(*call)[0], got[0]), "not reproducible"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_halves_apart_and_dot_products(many_bins, dtype):
    group = torch.arange(40, device=DEVICE) % 3
    labels = ClassBlock(group, torch.rand(3, 3, dtype=torch.float64, device=DEVICE))
    for graph in (skewed(), SignedGraph(labels, skewed().neg), SignedGraph(labels, labels)):
        x, y, own = (features(40, 33, dtype, seed) for seed in range(3))
        pos, neg = terms(graph, x)
        for got, want in zip(kernels.signed_pair(x, pos, neg, 40), reference.signed_pair(x, pos, neg, 40), strict=True):
            close(got, want)
        for residual in (own, None):
            got, want = (k.signed_dot(y, x, residual, pos, neg) for k in (kernels, reference))
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dot_products_along_edges(many_bins, dtype):
    for width in (19, 300):
        a, b = features(40, width, dtype), features(40, width, dtype, seed=1)
        for half in terms(skewed(), a):
            got, want = (k.edge_dot(a, b, half) for k in (kernels, reference))
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_dot_products_of_too_few_rows_are_refused():
    rowptr, col = torch.tensor([0, 1, 2]), torch.tensor([0, 1], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"a must be \[2, d\] and b \[num_cols, d\], got \(1, 4\) and \(2, 4\)"):
        torch.ops.sbp_triton.edge_dot(torch.ones(1, 4), torch.ones(2, 4), rowptr, col, None, None)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_group_sums(dtype):
    group = torch.randint(4, (2500,), generator=torch.Generator().manual_seed(0)).to(DEVICE) // 2 * 2
    groups = GroupSegments(group, 5)
    x = features(2500, 21, dtype)
    call = (x, groups.order, groups.segptr, groups.group_segptr)
    got = kernels.group_sum(*call)
    torch.testing.assert_close(got, reference.group_sum(*call), rtol=1e-5, atol=1e-4)
    assert torch.equal(kernels.group_sum(*call), got)


@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
@pytest.mark.parametrize("depth", [6, 64, 130])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_similarity_of_any_width(dtype, depth, transposed):
    """Both within one tile of x0 and across several; more nodes than a tile, and no multiple of it."""
    wide = accumulation_dtype(features(1, 1, dtype))
    x0, x = features(70, depth, wide, seed=5) / depth**0.25, features(70, 40, dtype)
    scale = torch.tensor(-1.3, dtype=torch.float64, device=DEVICE)
    lse = kernels.similarity_lse(x0, scale)
    torch.testing.assert_close(lse, reference.similarity_lse(x0, scale))
    got, want = (k.similarity(x0, x, lse, scale, transposed) for k in (kernels, reference))
    slack = 1e-2 if dtype in (torch.bfloat16, torch.float16) and not INTERPRETED else 1e-5
    torch.testing.assert_close(got, want, rtol=slack, atol=slack)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_similarity_of_short_numbers_multiplies_them_exactly(dtype):
    x0, x = features(70, 130, dtype, seed=5) / 4, features(70, 8, dtype)
    scale = torch.tensor(1.0, dtype=torch.float64, device=DEVICE)
    lse = kernels.similarity_lse(x0, scale)
    assert lse.dtype == torch.float32
    torch.testing.assert_close(lse, reference.similarity_lse(x0.float(), scale), rtol=1e-5, atol=1e-5)
    got = kernels.similarity(x0, x, lse, scale, False)
    torch.testing.assert_close(got, reference.similarity(x0.float(), x, lse, scale, False), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("depth", [6, 130])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradient_of_the_features_of_a_similarity(dtype, depth):
    """x0 in 16-bit and wider types with features of any type, of one slice of DEPTH and of several."""
    wide = accumulation_dtype(features(1, 1, dtype))
    scale = torch.tensor(-1.3, dtype=torch.float64, device=DEVICE)
    for x0_dtype, width in ((dtype, 9), (wide, 70)):
        x0 = (features(70, depth, wide, seed=5) / depth**0.25).to(x0_dtype)
        a, b = features(70, width, dtype), features(70, width, dtype, seed=1)
        lse = kernels.similarity_lse(x0, scale)
        got, want = (k.similarity_grad(x0, a, b, lse, scale) for k in (kernels, reference))
        assert got.dtype == want.dtype == wide
        slack = 2e-2 if dtype in (torch.bfloat16, torch.float16) and not INTERPRETED else 2e-5
        assert (got - want).abs().max() <= slack * want.abs().max(), (x0_dtype, width)
        assert torch.equal(kernels.similarity_grad(x0, a, b, lse, scale), got), "not reproducible"


def test_weights_below_the_smallest_float16_still_count():
    n, scale = 300, torch.tensor(1.0, dtype=torch.float64, device=DEVICE)
    x0 = features(n, 8, torch.float32)
    x0[0] *= 6
    x = torch.full((n, 4), 100.0, dtype=torch.float16, device=DEVICE)
    lse = kernels.similarity_lse(x0, scale) + 12.0
    want = reference.similarity(x0, x, lse, scale, False)
    torch.testing.assert_close(kernels.similarity(x0, x, lse, scale, False), want, rtol=2e-3, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layer_norm_of_rows_wider_than_a_tile(dtype):
    graph, x = weighted_and_scaled().to(DEVICE), features(23, 1433, dtype)
    call = {"alpha": 1.1, "beta": 0.7, "lam": 0.4, "layer_norm": True}
    got, own = (signed_propagate(x, graph, **call, backend=b) for b in ("triton", "reference"))
    exact = oracle.propagate(x.cpu(), weighted_and_scaled(), **call)
    oracle.assert_close(got.cpu(), own.cpu(), exact, "wide norm")


def test_a_plan_is_made_once_and_dies_with_its_graph(many_bins):
    graph = skewed()
    x = features(40, 8, torch.float32)
    made = []
    build, degree_bins.build = degree_bins.build, lambda *args: made.append(1) or build(*args)
    try:
        for _ in range(3):
            signed_propagate(x, graph, backend="triton")
    finally:
        degree_bins.build = build
    assert len(made) == 1 and len(degree_bins._TWO_HALVES) == 1
    del graph
    gc.collect()
    assert len(degree_bins._TWO_HALVES) == 0


def test_a_planned_call_reads_nothing_back(many_bins):
    """A call only launches kernels and allocates results, so that a CUDA graph can capture it."""
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    graph, x = skewed(), features(40, 16, torch.float32)
    pos, neg = terms(graph, x)
    call = (x, None, x, *pos, *neg, None, *COEFS, 40, 1e-5)
    want = row_launch.signed_spmm(*call)[0]
    # The interpreter itself copies memory, so launches are left out: only the host code is recorded.
    run, launch.run = launch.run, lambda *args: None
    try:
        with Watch():
            row_launch.signed_spmm(*call)
            row_launch.signed_pair(x, *pos, *neg, 40)
            row_launch.signed_dot(x, x, *pos, *neg, x)
    finally:
        launch.run = run
    assert seen <= {"new_empty", "empty", "cat", "sum"}, seen
    assert torch.equal(row_launch.signed_spmm(*call)[0], want)


def test_ops_are_well_formed():
    graph, x = skewed(), features(40, 16, torch.float32)
    pos, neg = terms(graph, x)
    x0, scale = features(40, 5, torch.float32), torch.tensor(1.0, device=DEVICE)
    groups = GroupSegments(torch.arange(40, device=DEVICE) % 3, 3)
    ops = torch.ops.sbp_triton
    for op, args in (
        (ops.signed_spmm, (x, None, x, *pos, *neg, None, *COEFS, 40, 1e-5)),
        (ops.signed_pair, (x, *pos, *neg, 40)),
        (ops.signed_dot, (x, x, *pos, *neg, None)),
        (ops.edge_dot, (x, x, pos.rowptr, pos.col, pos.row_scale, pos.col_scale)),
        (ops.group_sum, (x, groups.order, groups.segptr, groups.group_segptr)),
        (ops.similarity_lse, (x0, scale)),
        (ops.similarity, (x0, x, torch.zeros(40, device=DEVICE), scale, True)),
        (ops.similarity_grad, (x0, x, x, torch.zeros(40, device=DEVICE), scale)),
    ):
        torch.library.opcheck(op.default, args, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE != "cuda", reason="needs a GPU")
def test_capture_in_a_cuda_graph():
    graph, x = skewed(), features(40, 64, torch.float32)
    want = signed_propagate(x, graph, lam=0.5, backend="triton")
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        got = signed_propagate(x, graph, lam=0.5, backend="triton")
    x.copy_(features(40, 64, torch.float32, seed=9))
    captured.replay()
    assert not torch.equal(got, want)
    assert torch.equal(got, signed_propagate(x, graph, lam=0.5, backend="triton"))


def test_tuning_finds_and_writes_a_table(tmp_path, monkeypatch):
    from benchmarks import tune

    monkeypatch.setattr(tile_sizes, "TUNED", {})
    monkeypatch.setattr(tune, "DTYPES", (torch.float32,))
    monkeypatch.setattr(tune, "WIDTHS", (16,))
    monkeypatch.setattr(tune, "DEPTHS", (20,))
    clock = iter(range(100, 0, -1))

    def timer(call):
        call()
        return float(next(clock))

    device, name = torch.device(DEVICE), tile_sizes._device_name(torch.device(DEVICE))
    problems = [*tune.row_problems(device, 60), *tune.similarity_problems(device, 60)]
    best = tune.search(problems, name, timer, limit=2)
    # The clock runs backwards, so the second candidate always wins.
    assert best == {problem.key: tune.CANDIDATES[problem.key[0]][1] for problem in problems}
    tune.write(tmp_path / "measured_tile_sizes.py")
    found: dict = {}
    exec((tmp_path / "measured_tile_sizes.py").read_text(), found)
    assert found["TUNED"] == {name: best}
    # The nearest entry serves other widths; without one the default does.
    assert tile_sizes.row_tile(device, "row", 4, 300) == tile_sizes.RowTile(*tune.CANDIDATES["row"][1])
    assert tile_sizes.row_tile(device, "row", 2, 300) == tile_sizes.ROW_DEFAULT["row"]
    tile_sizes.forget()
