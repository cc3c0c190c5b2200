"""Nothing wrong is timed, what cannot run is listed, and turns are fair."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from benchmarks import methods
from benchmarks.harness import Case, Contestant, _order, admit, race, ratio_interval
from benchmarks.measure import admit_all
from benchmarks.memory import peak_extra_bytes
from benchmarks.methods import METHODS
from benchmarks.oracle import Coefficients, Oracle, WrongResult
from benchmarks.problem import Prepared
from benchmarks.records import LEARNS, MODES, OURS
from benchmarks.workloads import Size, Workload, generate

CPU = torch.device("cpu")
GRAPH = generate("small", Size(300, 1_200, 600, exponent=2.5))


def oracle(dtype=torch.float32, width=8):
    return Oracle(GRAPH, width, dtype, Coefficients())


@pytest.fixture
def add_method(monkeypatch):
    return lambda name, prepare: monkeypatch.setitem(METHODS, name, prepare)


# What may be missing here, or cannot do this; all others must run forward and backward.
OPTIONAL = {"triton", "torch_sparse_matmul", "dgl", "pygsd", "merged_addmm_cached", "cuda_graph"}


# Compiling takes seconds a mode.
PAIRS = [(m, mode) for m in METHODS for mode in (*MODES, *LEARNS) if m != "pyg_compiled" or mode == MODES[1]]


@pytest.mark.parametrize(("method", "mode"), PAIRS)
def test_every_method_is_right_or_says_why_not(method, mode):
    entrant = admit(method, Case(GRAPH, 8, mode), oracle(), torch.float32)
    if entrant.call is None:
        assert method in OPTIONAL or mode in LEARNS
        assert entrant.note.startswith(("not installed: ", "not supported: ")) and len(entrant.note) > 20
    elif method != "scipy":
        assert entrant.extra_memory_bytes >= 300 * 8 * 4 * (1 if mode == "forward" else 2)


MATRICES = ["pyg_edge_index", "torch_sparse_pair", "merged_addmm_int32", "merged_addmm_int64", "scipy"]


@pytest.mark.parametrize("method", ["pyg_scatter", *MATRICES, OURS])
def test_directed_edges(method):
    """The workloads are symmetric, where a forgotten transpose would pass."""
    generator = torch.Generator().manual_seed(0)
    pos, neg = torch.randint(50, (2, 200), generator=generator), torch.randint(50, (2, 90), generator=generator)
    weights = (torch.rand(e.size(1), generator=generator, dtype=torch.float64) for e in (pos, neg))
    graph = Workload("directed", 50, pos, neg, *weights)
    # Ours normalises by itself unless the weights learn.
    mode = "learnt weights" if method == OURS else "forward+backward"
    entrant = admit(method, Case(graph, 8, mode), Oracle(graph, 8, torch.float32, Coefficients()), torch.float32)
    assert entrant.call is not None


@pytest.mark.parametrize("method", [OURS, "pyg_scatter", "pyg_edge_index"])
def test_bfloat16(method):
    entrant = admit(method, Case(GRAPH, 8, "forward+backward"), oracle(torch.bfloat16), torch.bfloat16)
    assert entrant.call is not None or "not supported" in entrant.note


def test_a_message_an_edge_that_does_not_fit_is_not_tried(monkeypatch):
    monkeypatch.setattr("benchmarks.problem.free_bytes", lambda device: 1000.0)
    entrant = admit("pyg_scatter", Case(GRAPH, 8, "forward"), oracle(), torch.float32)
    assert entrant.note == "not supported: its messages take 0 GB, and 0 GB are free"
    assert admit(OURS, Case(GRAPH, 8, "forward"), oracle(), torch.float32).call is not None


def test_scatter_without_pyg(monkeypatch):
    from benchmarks.methods import _scatter_add

    monkeypatch.setattr(methods, "_scatter", lambda: (_scatter_add, "by torch"))
    entrant = admit("pyg_scatter", Case(GRAPH, 8, "forward+backward"), oracle(), torch.float32)
    assert entrant.call is not None and entrant.note == "by torch"


def test_a_narrow_case_of_a_wide_oracle():
    admit("pyg_scatter", Case(GRAPH, 5, "forward+backward"), oracle(width=8), torch.float32)


class _WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, run):
        return run(x)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def spoilt(spoil):
    """A method that is right but for `spoil`."""

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
        admit("wrong", Case(GRAPH, 8, mode), oracle(), torch.float32)
    contestants = admit_all(Case(GRAPH, 8, mode), {"float32": oracle()}, [OURS, "wrong"], lambda share, doing: None)
    race(contestants, CPU, 3, 0.1)
    right, wrong = contestants
    assert right.samples and not wrong.samples
    assert wrong.note.startswith("WRONG")


class _OffBy(torch.autograd.Function):
    """The identity with a gradient that is a little too large."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return 1.001 * grad


@pytest.mark.parametrize("mode", LEARNS)
def test_a_wrong_gradient_of_what_learns_is_not_timed(add_method, mode):
    def prepare(problem):
        g, c = problem.graph, problem.coefficients
        spoilt = replace(c, beta=_OffBy.apply(c.beta)) if LEARNS[mode] == "coefficients" else c
        weight = _OffBy.apply(g.neg_weight) if LEARNS[mode] == "weights" else g.neg_weight
        return METHODS["pyg_scatter"](replace(problem, graph=replace(g, neg_weight=weight), coefficients=spoilt))

    add_method("wrong", prepare)
    with pytest.raises(WrongResult, match=f"gradient of {LEARNS[mode]} is off"):
        admit("wrong", Case(GRAPH, 8, mode), oracle(torch.float64), torch.float64)


def test_what_torch_does_not_support_is_listed(add_method):
    def prepare(problem):
        raise NotImplementedError("no such product\nmore")

    add_method("impossible", prepare)
    entrant = admit("impossible", Case(GRAPH, 8, "forward"), oracle(), torch.float32)
    assert entrant.call is None and entrant.note == "not supported: no such product"


def test_ours_must_run(monkeypatch):
    monkeypatch.setitem(METHODS, OURS, spoilt(lambda x, run: methods.no_such_thing))
    with pytest.raises(AttributeError):
        admit(OURS, Case(GRAPH, 8, "forward"), oracle(), torch.float32)


def test_race_takes_turns():
    calls = []
    contestants = [
        Contestant(name, torch.float32, lambda name=name: calls.append(name), seconds_per_call=2.0) for name in "abcd"
    ]
    shares = []
    race(contestants, CPU, rounds=4, budget=100.0, tick=shares.append)
    assert [len(c.samples) for c in contestants] == [4] * 4
    rounds = [calls[i : i + 4] for i in range(0, 16, 4)]
    assert all(sorted(turn) == list("abcd") for turn in rounds)
    assert all(sorted(place) == list("abcd") for place in zip(*rounds, strict=True)), "each takes each place once"
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize("count", [2, 4, 10])
def test_each_follows_every_other_once(count):
    orders = [_order(count, turn) for turn in range(count)]
    pairs = [pair for order in orders for pair in pairwise(order)]
    assert len(set(pairs)) == len(pairs) == count * (count - 1)


def test_a_cold_sample_is_one_call(monkeypatch):
    monkeypatch.setattr("benchmarks.harness._FLUSH_BYTES", 1 << 16)
    calls = []
    entrant = Contestant("a", torch.float32, lambda: calls.append(0), seconds_per_call=1e-6)
    race([entrant], CPU, rounds=3, budget=1.0, cold=True)
    assert len(calls) == 3


@pytest.mark.parametrize(("seconds", "called"), [(1e-4, 40 + 3), (0.5, 1 + 1), (2.0, 1)])
def test_a_warm_sample_follows_others_of_its_own(seconds, called):
    calls = []
    race([Contestant("a", torch.float32, lambda: calls.append(0), seconds_per_call=seconds)], CPU, 1, budget=10.0)
    assert len(calls) == called


def test_threads_of_a_contestant(threads):
    threads(2)
    seen = []
    entrants = [
        Contestant("a", torch.float32, lambda: seen.append(torch.get_num_threads()), threads=count, seconds_per_call=2)
        for count in (None, 1)
    ]
    race(entrants, CPU, rounds=1, budget=10.0)
    assert seen == [2, 1] and torch.get_num_threads() == 2


def test_ratio_interval():
    generator = torch.Generator().manual_seed(1)
    draw = lambda mean: (mean + 0.1 * torch.randn(40, generator=generator, dtype=torch.float64)).tolist()  # noqa: E731
    over, under = draw(6.0), draw(2.0)
    low, high = ratio_interval(over, under)
    assert 2.8 < low < 3.0 < high < 3.2
    assert (low, high) == ratio_interval(over, under), "it repeats"
    assert ratio_interval([6.0], [2.0]) == (3.0, 3.0)
    wide = ratio_interval(over, under, level=0.999)
    assert wide[0] < low and wide[1] > high


def test_a_slow_contestant_sits_out():
    slow = Contestant("slow", torch.float32, lambda: None, seconds_per_call=10.0)
    quick = Contestant("quick", torch.float32, lambda: None, seconds_per_call=1e-3)
    race([slow, quick], CPU, rounds=12, budget=20.0)
    assert (len(slow.samples), len(quick.samples)) == (3, 12)


def test_memory_sees_temporaries():
    x = torch.ones(1_000_000)

    def call():
        y = x + 1
        del y
        return torch.ones(10)

    assert 4_000_000 <= peak_extra_bytes(call, CPU) < 4_001_000
    # Inside the op cdist widens both of its arguments before it multiplies them.
    points = torch.randn(500, 500)
    assert peak_extra_bytes(lambda: torch.cdist(points, points), CPU) > 3 * 500 * 500 * 4
