"""Nothing wrong is timed, what cannot run is listed, and turns are fair."""

from itertools import pairwise

import pytest
import torch

from benchmarks import methods
from benchmarks.bench_propagate import run_case
from benchmarks.harness import Case, Contestant, _order, admit, race
from benchmarks.memory import peak_extra_bytes
from benchmarks.methods import METHODS, OURS, Prepared
from benchmarks.oracle import Coefficients, Oracle, WrongResult
from benchmarks.records import MODES
from benchmarks.workloads import Size, generate

CPU = torch.device("cpu")
GRAPH = generate("small", Size(300, 1_200, 600, exponent=2.5))


def oracle(dtype=torch.float32, width=8):
    return Oracle(GRAPH, width, dtype, Coefficients())


@pytest.fixture
def add_method(monkeypatch):
    return lambda name, prepare: monkeypatch.setitem(METHODS, name, prepare)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
def test_every_method_is_right(method, mode):
    entrant = admit(method, Case(GRAPH, 8, mode), oracle(), torch.float32)
    assert entrant.call is not None
    assert entrant.extra_memory_bytes >= 300 * 8 * 4 * (1 if mode == "forward" else 2)


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
    contestants = run_case(
        Case(GRAPH, 8, mode), {"float32": oracle()}, [OURS, "wrong"], 3, 0.1, CPU, lambda share, doing: None
    )
    right, wrong = contestants
    assert right.samples and not wrong.samples
    assert wrong.note.startswith("WRONG")


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
        Contestant(name, torch.float32, lambda name=name: calls.append(name), seconds_per_call=1.0) for name in "abcd"
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
