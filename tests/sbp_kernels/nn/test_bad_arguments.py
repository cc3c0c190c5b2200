"""Bad arguments of layers and of their constructors raise ValueError; one sentence states the rule and the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import sbp_kernels.nn as ours
from sbp_kernels import SignedGraph
from sbp_kernels.nn import ContraNorm, SBPConv, SignedGCN

pytest.importorskip("torch_geometric_signed_directed", reason="PyGSD is not installed")
from sbp_kernels.nn.signed_directed import SIMPA, MSConv, SGCNConv, SNEAConv

pytestmark = pytest.mark.filterwarnings("error:.*runs PyG's own forward")
E = torch.tensor([[0, 1, 2], [1, 2, 0]])
W, X = torch.tensor([0.5, 1.0, 2.0]), torch.randn(3, 4)
G = SignedGraph.from_edge_index(E, E, 3)
NAN, INF = float("nan"), float("inf")
Call = Callable[[], Any]
CASES: list[tuple[str, Call, str]] = []


def add(name: str, message: str, *calls: Call) -> None:
    CASES.extend((f"{name}, {message[:25]}, {i}", call, message) for i, call in enumerate(calls))


def constructor(layer: Any, name: str, message: str, *values: Any) -> None:
    add(f"{layer.__name__}({name})", message, *(lambda v=v: layer(**{name: v}) for v in values))


for coefficient in ("alpha", "beta", "lam"):
    message = f"{coefficient} must be a finite number"
    constructor(SBPConv, coefficient, message, "x", None, NAN, INF, True, 1j, 10**400, [1.0], torch.rand(2))
    constructor(SBPConv, coefficient, message, torch.tensor(1j), torch.tensor(NAN))
constructor(SBPConv, "lam", "lam must lie in [0, 1]", 1.5, -0.1)
constructor(SBPConv, "learnable", "learnable must be a list of names", "lam", 3, None)
constructor(SBPConv, "learnable", "learnable must name some of alpha, beta, lam", ["gamma"], [1], [["lam"]], [W])
constructor(SBPConv, "num_steps", "num_steps must be an integer >= 0", 1.5, -1, None, "2", True, 2**70, W)
constructor(SBPConv, "layer_norm", "layer_norm must be True, False or a torch", "yes", None, 1, torch.nn.LayerNorm)
constructor(SBPConv, "add_self_loops", "add_self_loops must be True or False", "x", None, 2, 1.0)
constructor(SBPConv, "normalize", "normalize must be", "both", True, 1, "mean", ["sym"])
constructor(SBPConv, "temperature", "temperature must be", 0, -1, INF, NAN, "x", None, 10**400, True)
constructor(ContraNorm, "scale", "scale must be", "x", None, NAN, INF, -1, True, 10**400, [1])
constructor(ContraNorm, "temperature", "temperature must be", "x", None, 0, -1, NAN, INF)
constructor(ContraNorm, "normalize", "normalize must be True or False", "x", None, 1)
constructor(ContraNorm, "channels", "channels must be an integer > 0", "x", 0, -1, 1.5, True, [4])

sbp = SBPConv()
add(
    "SBPConv",
    "x must be a tensor [num_nodes, features]",
    lambda: sbp(None, E),
    lambda: sbp(X[:, 0], E),
    lambda: sbp([1], E),
)
add("SBPConv", "x must be floating", lambda: sbp(X.long(), E))
add("SBPConv", "edges must be an integer tensor", lambda: sbp(X, None), lambda: sbp(X, "x"), lambda: sbp(X, E, "x"))
add("SBPConv", "not several of them", lambda: sbp(X, E, E, x0=X))
add("SBPConv", "labels need both y and known", lambda: sbp(X, E, y=E[0]), lambda: sbp(X, E, known=E[0] > 0))
add("SBPConv", "y must be", lambda: sbp(X, E, y="x", known="x"), lambda: sbp(X, E, y=W, known=W > 0))
add(
    "SBPConv",
    "pos and neg must have one shape",
    lambda: sbp(X, E, y=E[0, :2], known=W[:2] > 0),
    lambda: sbp(X, E, x0=X[:2]),
)
add("SBPConv", "x0 must be", lambda: sbp(X, E, x0="x"), lambda: sbp(X, E, x0=X.long()), lambda: sbp(X, E, x0=NAN * X))
add("SBPConv", "edge_weight must be", lambda: sbp(X, E, edge_weight="x"), lambda: sbp(X, E, edge_weight=W[:1]))
add("SBPConv", "neg_edge_weight needs neg_edge_index", lambda: sbp(X, E, neg_edge_weight=W))
add(
    "SBPConv",
    "residual must",
    lambda: sbp(X, E, residual="x"),
    lambda: sbp(X, E, residual=1.0),
    lambda: sbp(X, E, residual=X[:2]),
)
add("SBPConv", "give nothing beside it", lambda: sbp(X, G, E), lambda: sbp(X, G, edge_weight=W))
add("SBPConv", "x must have shape", lambda: sbp(X[:2], G), lambda: sbp(None, G))
add("SBPConv", "or a pair (of sources, of targets)", lambda: sbp((X,), G), lambda: sbp((X, None), G))

contra = ContraNorm()
add("ContraNorm", "x must be a tensor", lambda: contra(None), lambda: contra([1.0]))
add("ContraNorm", "x must be a dense tensor", lambda: contra(X.to_sparse()))
add(
    "ContraNorm", "x must be floating of shape", lambda: contra(X.long()), lambda: contra(X[0]), lambda: contra(X[None])
)
add("ContraNorm", "must be finite", lambda: contra(NAN * X))
add("ContraNorm", "x must have channels=7 features, got 4", lambda: ContraNorm(channels=7)(X))
add("ContraNorm", "batch must be a tensor", lambda: contra(X, 3), lambda: contra(X, [0, 0, 0]))
add(
    "ContraNorm",
    "batch must be integer of shape",
    lambda: contra(X, W),
    lambda: contra(X, E),
    lambda: contra(X, E[0, :2]),
)
add("ContraNorm", "batch must be >= 0, got -1", lambda: contra(X, E[0] - 1))

# Layers of PyG and PyGSD: features x, further features, edges, weights; the replaced argument and its replacement.
LAYERS: dict[str, tuple[Callable[[], Any], list[Any], int, int | None]] = {
    "GCNConv": (lambda: ours.GCNConv(4, 3), [X, E, W], 1, 2),
    "GCNConv cached": (lambda: ours.GCNConv(4, 3, cached=True), [X, E, W], 1, 2),
    "GCNConv plain": (lambda: ours.GCNConv(4, 3, normalize=False), [X, E, W], 1, 2),
    "SGConv": (lambda: ours.SGConv(4, 3, K=2), [X, E, W], 1, 2),
    "LGConv": (lambda: ours.LGConv(), [X, E, W], 1, 2),
    "APPNP": (lambda: ours.APPNP(2, 0.1), [X, E, W], 1, 2),
    "APPNP dropout": (lambda: ours.APPNP(2, 0.1, dropout=0.5), [X, E, W], 1, 2),
    "GCN2Conv": (lambda: ours.GCN2Conv(4, 0.1), [X, X, E, W], 2, 3),
    "FAConv": (lambda: ours.FAConv(4), [X, X, E], 2, None),
    "FAConv plain": (lambda: ours.FAConv(4, normalize=False), [X, X, E, W], 2, 3),
    "SignedConv": (lambda: ours.SignedConv(4, 3, True), [X, E, E], 1, None),
    "SignedGCN": (lambda: SignedGCN(4, 8, 2), [X, E, E], 2, None),
    "SGCNConv": (lambda: SGCNConv(4, 3, True), [X, E, E], 1, None),
    "SGCNConv later": (lambda: SGCNConv(2, 3, False), [X, E, E], 2, None),
    "SNEAConv": (lambda: SNEAConv(4, 3, True), [X, E, E], 1, None),
    "SNEAConv later": (lambda: SNEAConv(2, 3, False), [X, E, E], 2, None),
    "SIMPA": (lambda: SIMPA(2, 0.5), [E, W, E, W, X, X], 0, 1),
    "SIMPA negative": (lambda: SIMPA(2, 0.5, True), [E, W, E, W, X, X, X, X], 2, 3),
    "MSConv": (lambda: MSConv(4, 3, 2, 0.1, False), [X, X, E, W], 2, 3),
    "MSConv cached": (lambda: MSConv(4, 3, 2, 0.1, False, cached=True), [X, X, E, W], 2, 3),
}
BAD_EDGES: list[Any] = [
    None,
    "x",
    3,
    [[0, 1], [1, 0]],
    E.float(),
    E[0],
    torch.zeros(3, 3).long(),
    E.T.contiguous()[:1],
    E + 1,
]
BAD_EDGES += [torch.tensor([[0, -1], [1, 0]]), E.numpy()]
Q = torch.quantize_per_tensor(W.detach(), 0.1, 0, torch.qint8)
BAD_WEIGHTS: list[Any] = ["x", 1.0, [1.0, 1.0, 1.0], W[:2], torch.rand(4), W.cfloat(), NAN * W, W.to_sparse(), Q]


def replaced(name: str, place: int, value: Any) -> Call:
    make, args, _, _ = LAYERS[name]
    return lambda: make()(*args[:place], value, *args[place + 1 :])


for name, (_, args, edge_place, weight_place) in LAYERS.items():
    places = [] if "Signed" in name or "SGCN" in name else [place for place, arg in enumerate(args) if arg is X]
    for place in places:
        message = "a directed SIMPA needs x_pt and x_nt" if place > 5 else "must be a tensor of features"
        add(name, message, *(replaced(name, place, value) for value in (3, "x")))
    add(name, "", *(replaced(name, edge_place, value) for value in BAD_EDGES))
    if weight_place is not None:
        add(name, "edge_weight must be", *(replaced(name, weight_place, value) for value in BAD_WEIGHTS))
add(
    "SignedConv",
    "or a pair (of sources, of targets), got",
    *(replaced("SignedConv", 0, v) for v in (None, "x", [1.0], (X, None))),
)
add(
    "SGCNConv",
    "or a pair (of sources, of targets), got",
    *(replaced("SGCNConv", 0, v) for v in (None, "x", [1.0], (X, None))),
)
add("GCNConv", "does not support bipartite message passing", replaced("GCNConv", 0, (X, X)))
add("SIMPA", "a directed SIMPA needs x_pt and x_nt", *(replaced("SIMPA negative", place, None) for place in (6, 7)))
add("SNEAConv", "got a matrix of layout torch.sparse_coo", replaced("SNEAConv", 1, torch.eye(3).to_sparse()))
add("PairNorm", "x must be a tensor of features", lambda: ours.PairNorm()(None), lambda: ours.PairNorm()([1.0]))


def magnetic(lambda_max: Any) -> Call:
    return lambda: MSConv(4, 3, 2, 0.1, False)(X, X, E, W, lambda_max)


PYG_OPTION = ("x", None, 1j, torch.rand(3), torch.eye(1).to_sparse(), torch.tensor(1j))
F8 = W.to(torch.float8_e4m3fn)
add("APPNP", "alpha must be a finite number", *(lambda v=v: ours.APPNP(2, v)(X, E) for v in PYG_OPTION))
add("APPNP", "num_steps must be an integer", lambda: ours.APPNP(torch.ones(3), 0.1)(X, E))
add("APPNP", "edge_weight must be float32, float64", lambda: ours.APPNP(2, 0.1)(X, E, F8))
add("GCNConv", "edge_weight must be float32, float64", lambda: ours.GCNConv(4, 4)(X, E, F8))
add("GCN2Conv", "edge_weight must be float32, float64", lambda: ours.GCN2Conv(4, 0.1)(X, X, E, F8))
add("GCN2Conv", "alpha must be a finite number", *(lambda v=v: ours.GCN2Conv(4, v)(X, X, E) for v in PYG_OPTION))
add("FAConv", "eps must be a finite number", *(lambda v=v: ours.FAConv(4, v)(X, X, E) for v in PYG_OPTION))
add("FAConv", "x must be a tensor of features", lambda: ours.FAConv(4)(torch.nested.nested_tensor([X, X[:1]]), X, E))
add("MSConv", "lambda_max must be", *map(magnetic, ("x", NAN, INF, W, [2.0], True, 1j)))

gcn, Z = SignedGCN(4, 8, 1), torch.randn(3, 8)
for method in (gcn.discriminate, gcn.pos_embedding_loss, gcn.neg_embedding_loss):
    add(method.__name__, "z must be floating of shape", lambda f=method: f(None, E), lambda f=method: f(Z[0], E))
    add(method.__name__, "", *(lambda f=method, e=e: f(Z, e) for e in BAD_EDGES if e is not BAD_EDGES[-1]))
for method in (gcn.nll_loss, gcn.loss):
    add(method.__name__, "z must be floating of shape", lambda f=method: f("x", E, E))
    add(method.__name__, "", *(lambda f=method, e=e: f(Z, E, e) for e in BAD_EDGES))
    add(method.__name__, "", *(lambda f=method, e=e: f(Z, e, E) for e in BAD_EDGES))


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
@pytest.mark.parametrize(("call", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_bad_argument_is_refused(call: Call, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert type(caught.value) is ValueError and message in text and text and "\n" not in text, text
    # The message is not one of Python's own, such as "too many values to unpack".
    assert "unpack" not in text and "could not convert" not in text


def test_arguments_at_the_edge_are_taken() -> None:
    for options in (
        {"alpha": 0},
        {"beta": -2},
        {"lam": torch.tensor(0.3)},
        {"lam": 1.5, "learnable": ["lam"]},
        {"learnable": ("alpha", "beta")},
        {"num_steps": 0},
        {"layer_norm": torch.nn.LayerNorm(4)},
        {"normalize": None, "add_self_loops": False},
    ):
        assert SBPConv(**options)(X, E, E).shape == (3, 4)
    assert ContraNorm(scale=0, temperature=1e-3, channels=4)(X).shape == (3, 4)
