"""Wrong results are not timed, unsupported methods have a reason, and interleaved timing is balanced."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from benchmarks.cases.modes import LEARNABLE, MODES, OURS
from benchmarks.cases.oracle import Coefficients, Oracle, WrongResult
from benchmarks.cases.workloads import Size, Workload, generate
from benchmarks.competitors import METHODS, Prepared, pyg
from benchmarks.timing.candidate import Candidate, Case
from benchmarks.timing.check import check_candidate
from benchmarks.timing.interleaved import ratio_interval, time_interleaved, williams_order
from benchmarks.timing.peak_memory import peak_extra_bytes
from benchmarks.timing.run_case import check_candidates

CPU = torch.device("cpu")
GRAPH = generate("small", Size(300, 1_200, 600, exponent=2.5))


def oracle(dtype=torch.float32, width=8):
    return Oracle(GRAPH, width, dtype, Coefficients())


@pytest.fixture
def add_method(monkeypatch):
    return lambda name, prepare: monkeypatch.setitem(METHODS, name, prepare)


# Methods that may be missing or unsupported here; all others must run forward and backward.
OPTIONAL = {"triton", "torch_sparse_matmul", "dgl", "pygsd", "merged_addmm_cached", "cuda_graph"}
MKL = ["mkl_handle", "mkl_handle_copy"]
OPTIONAL |= set(MKL)


# Compilation takes seconds per mode, so only one mode is tested.
PAIRS = [(m, mode) for m in METHODS for mode in (*MODES, *LEARNABLE) if m != "pyg_compiled" or mode == MODES[1]]


@pytest.mark.parametrize(("method", "mode"), PAIRS)
def test_every_method_is_correct_or_has_a_reason(method, mode):
    candidate = check_candidate(method, Case(GRAPH, 8, mode), oracle(), torch.float32)
    if candidate.call is None:
        assert method in OPTIONAL or mode in LEARNABLE
        assert candidate.note.startswith(("not installed: ", "not supported: ")) and len(candidate.note) > 20
    elif method != "scipy":
        assert candidate.extra_memory_bytes >= 300 * 8 * 4 * (1 if mode == "forward" else 2)


MATRICES = [
    "pyg_edge_index", "torch_sparse_pair", "merged_addmm_int32", "merged_addmm_int64", "torch_sparse_reduce", "scipy",
]  # fmt: skip


@pytest.mark.parametrize("method", ["pyg_scatter", *MATRICES, *MKL, OURS])
def test_directed_edges(method):
    """The workloads are symmetric and would not detect a missing transpose."""
    generator = torch.Generator().manual_seed(0)
    pos, neg = torch.randint(50, (2, 200), generator=generator), torch.randint(50, (2, 90), generator=generator)
    weights = (torch.rand(e.size(1), generator=generator, dtype=torch.float64) for e in (pos, neg))
    graph = Workload("directed", 50, pos, neg, *weights)
    # Our method normalizes the graph itself unless the weights are learnable.
    mode = "learnable weights" if method == OURS else "forward+backward"
    candidate = check_candidate(
        method, Case(graph, 8, mode), Oracle(graph, 8, torch.float32, Coefficients()), torch.float32
    )
    if method in MKL and candidate.note == "not installed: pip install mkl":
        pytest.skip(candidate.note)
    assert candidate.call is not None


@pytest.mark.parametrize("method", [OURS, "pyg_scatter", "pyg_edge_index", "torch_sparse_reduce"])
def test_bfloat16(method):
    candidate = check_candidate(method, Case(GRAPH, 8, "forward+backward"), oracle(torch.bfloat16), torch.bfloat16)
    assert candidate.call is not None or "not supported" in candidate.note


def test_a_method_whose_messages_do_not_fit_is_not_run(monkeypatch):
    monkeypatch.setattr("benchmarks.competitors.registry.free_bytes", lambda device: 1000.0)
    candidate = check_candidate("pyg_scatter", Case(GRAPH, 8, "forward"), oracle(), torch.float32)
    assert candidate.note == "not supported: its messages take 0 GB, and 0 GB are free"
    assert check_candidate(OURS, Case(GRAPH, 8, "forward"), oracle(), torch.float32).call is not None


def test_scatter_without_pyg(monkeypatch):
    from benchmarks.competitors.pyg import _scatter_add

    monkeypatch.setattr(pyg, "_scatter", lambda: (_scatter_add, "by torch"))
    candidate = check_candidate("pyg_scatter", Case(GRAPH, 8, "forward+backward"), oracle(), torch.float32)
    assert candidate.call is not None and candidate.note == "by torch"


def test_a_case_narrower_than_its_oracle():
    check_candidate("pyg_scatter", Case(GRAPH, 5, "forward+backward"), oracle(width=8), torch.float32)


class _WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, run):
        return run(x)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def spoilt(spoil):
    """Return a correct method whose result `spoil` changes."""

    def prepare(problem):
        right = METHODS["pyg_scatter"](problem)
        return Prepared(lambda x: spoil(x, right.run))

    return prepare


@pytest.mark.parametrize(
    ("mode", "spoil", "message"),
    [
        ("forward", lambda x, run: 1.001 * run(x), "forward is off"),
        ("forward", lambda x, run: torch.full_like(x, float("nan")), "forward is off"),
        ("forward", lambda x, run: run(x)[:-1], "forward must be"),
        ("forward", lambda x, run: run(x).double(), "forward must be"),
        ("forward+backward", _WrongGradient.apply, "gradient of x is off"),
    ],
)
def test_a_wrong_method_is_not_timed(add_method, mode, spoil, message):
    add_method("wrong", spoilt(spoil))
    with pytest.raises(WrongResult, match=message):
        check_candidate("wrong", Case(GRAPH, 8, mode), oracle(), torch.float32)
    candidates = check_candidates(
        Case(GRAPH, 8, mode), {"float32": oracle()}, [OURS, "wrong"], lambda share, doing: None
    )
    time_interleaved(candidates, CPU, 3, 0.1)
    right, wrong = candidates
    assert right.samples and not wrong.samples
    assert wrong.note.startswith("WRONG")


class _OffBy(torch.autograd.Function):
    """The identity with a gradient that is 0.1 % too large."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return 1.001 * grad


@pytest.mark.parametrize("mode", LEARNABLE)
def test_a_method_with_a_wrong_learnable_gradient_is_not_timed(add_method, mode):
    def prepare(problem):
        g, c = problem.graph, problem.coefficients
        spoilt = replace(c, beta=_OffBy.apply(c.beta)) if LEARNABLE[mode] == "coefficients" else c
        weight = _OffBy.apply(g.neg_weight) if LEARNABLE[mode] == "weights" else g.neg_weight
        return METHODS["pyg_scatter"](replace(problem, graph=replace(g, neg_weight=weight), coefficients=spoilt))

    add_method("wrong", prepare)
    with pytest.raises(WrongResult, match=f"gradient of {LEARNABLE[mode]} is off"):
        check_candidate("wrong", Case(GRAPH, 8, mode), oracle(torch.float64), torch.float64)


def test_an_unsupported_method_has_its_reason(add_method):
    def prepare(problem):
        raise NotImplementedError("no such product\nmore")

    add_method("impossible", prepare)
    candidate = check_candidate("impossible", Case(GRAPH, 8, "forward"), oracle(), torch.float32)
    assert candidate.call is None and candidate.note == "not supported: no such product"


def test_errors_of_our_method_propagate(monkeypatch):
    monkeypatch.setitem(METHODS, OURS, spoilt(lambda x, run: pyg.no_such_thing))
    with pytest.raises(AttributeError):
        check_candidate(OURS, Case(GRAPH, 8, "forward"), oracle(), torch.float32)


def test_interleaved_timing_samples_every_candidate_per_round():
    calls = []
    candidates = [
        Candidate(name, torch.float32, lambda name=name: calls.append(name), seconds_per_call=2.0) for name in "abcd"
    ]
    shares = []
    time_interleaved(candidates, CPU, rounds=4, budget=100.0, tick=shares.append)
    assert [len(c.samples) for c in candidates] == [4] * 4
    rounds = [calls[i : i + 4] for i in range(0, 16, 4)]
    assert all(sorted(turn) == list("abcd") for turn in rounds)
    assert all(sorted(place) == list("abcd") for place in zip(*rounds, strict=True)), "each takes each place once"
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize("count", [2, 4, 10])
def test_each_candidate_follows_every_other_once(count):
    orders = [williams_order(count, turn) for turn in range(count)]
    pairs = [pair for order in orders for pair in pairwise(order)]
    assert len(set(pairs)) == len(pairs) == count * (count - 1)


def test_a_cold_sample_is_one_call(monkeypatch):
    monkeypatch.setattr("benchmarks.timing.interleaved._FLUSH_BYTES", 1 << 16)
    calls = []
    candidate = Candidate("a", torch.float32, lambda: calls.append(0), seconds_per_call=1e-6)
    time_interleaved([candidate], CPU, rounds=3, budget=1.0, cold=True)
    assert len(calls) == 3


@pytest.mark.parametrize(("seconds", "called"), [(1e-4, 40 + 3), (0.5, 1 + 1), (2.0, 1)])
def test_warm_up_calls_precede_a_sample(seconds, called):
    calls = []
    time_interleaved(
        [Candidate("a", torch.float32, lambda: calls.append(0), seconds_per_call=seconds)], CPU, 1, budget=10.0
    )
    assert len(calls) == called


def test_threads_of_a_candidate(threads):
    threads(2)
    seen = []
    candidates = [
        Candidate("a", torch.float32, lambda: seen.append(torch.get_num_threads()), threads=count, seconds_per_call=2)
        for count in (None, 1)
    ]
    time_interleaved(candidates, CPU, rounds=1, budget=10.0)
    assert seen == [2, 1] and torch.get_num_threads() == 2


def test_ratio_interval():
    generator = torch.Generator().manual_seed(1)
    draw = lambda mean: (mean + 0.1 * torch.randn(40, generator=generator, dtype=torch.float64)).tolist()  # noqa: E731
    over, under = draw(6.0), draw(2.0)
    low, high = ratio_interval(over, under)
    assert 2.8 < low < 3.0 < high < 3.2
    assert (low, high) == ratio_interval(over, under), "the interval is reproducible"
    assert ratio_interval([6.0], [2.0]) == (3.0, 3.0)
    wide = ratio_interval(over, under, level=0.999)
    assert wide[0] < low and wide[1] > high


def test_a_slow_candidate_skips_rounds():
    slow = Candidate("slow", torch.float32, lambda: None, seconds_per_call=10.0)
    quick = Candidate("quick", torch.float32, lambda: None, seconds_per_call=1e-3)
    time_interleaved([slow, quick], CPU, rounds=12, budget=20.0)
    assert (len(slow.samples), len(quick.samples)) == (3, 12)


def test_peak_memory_includes_temporaries():
    x = torch.ones(1_000_000)

    def call():
        y = x + 1
        del y
        return torch.ones(10)

    assert 4_000_000 <= peak_extra_bytes(call, CPU) < 4_001_000
    # cdist concatenates copies of both arguments before the product.
    points = torch.randn(500, 500)
    assert peak_extra_bytes(lambda: torch.cdist(points, points), CPU) > 3 * 500 * 500 * 4
