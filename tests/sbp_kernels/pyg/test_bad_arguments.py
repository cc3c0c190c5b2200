"""Bad arguments of `sbp_kernels.pyg` raise ValueError; one sentence states the rule and the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from sbp_kernels import SignedGraph, Similarity
from sbp_kernels.pyg import (
    SignedData,
    ToSignedGraph,
    adjacency,
    from_data,
    from_hetero_data,
    signed_adjacency,
    to_data,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*[Ss]parse")
E = torch.tensor([[0, 1, 2], [1, 2, 0]])
W = torch.tensor([0.5, -1.0, 2.0])
X = torch.randn(3, 4)
G = SignedGraph.from_edge_index(E, E, 3)
NAN, INF = float("nan"), float("inf")


def data(**changes: Any) -> Data:
    given = {
        "edge_index": E,
        "edge_weight": W,
        "x": X,
        "y": torch.tensor([0, 1, 0]),
        "train_mask": torch.ones(3).bool(),
    }
    return Data(**{**given, **changes})


def relation(**changes: Any) -> HeteroData:
    made = HeteroData()
    made["a"].x = X
    for name, value in {"edge_index": E, "edge_weight": W, **changes}.items():
        made["a", "to", "a"][name] = value
    return made


Call = Callable[[], Any]
CASES: list[tuple[str, Call, str]] = []


def add(message: str, function: Callable[..., Any], *calls: tuple[Any, ...], **options: Any) -> None:
    """Add one case for each tuple of arguments."""
    for i, call in enumerate(calls):
        name = f"{getattr(function, '__name__', 'call')}, {message[:30]}, {i}"
        CASES.append((name, lambda call=call: function(*call, **options), message))


def with_weight(weight: Any) -> Any:
    return adjacency(E, weight)


def with_option(name: str) -> Callable[[Any], Any]:
    def adjacency_with(value: Any) -> Any:
        return adjacency(E, **{name: value})

    return adjacency_with


add(
    "edges must be an integer tensor",
    adjacency,
    *((v,) for v in (None, 3, "x", [[0, 1], [1, 0]], G, data(), E.numpy(), torch.eye(4).to_sparse_bsr((2, 2)))),
)
add(
    "edge_index must be int64 of shape",
    adjacency,
    *((v,) for v in (E.float(), E.bool(), E[0], torch.zeros(3, 3).long(), E.cfloat(), torch.tensor(1), E.byte())),
)
add(
    "a sparse adjacency must be one matrix",
    adjacency,
    (torch.zeros(2, 2, 2).to_sparse(),),
    (torch.ones(2, 2, 2).to_sparse(2),),
)
add("must lie in", adjacency, (torch.tensor([[0, -1], [1, 0]]),))
add("must leave room for 8 bytes a node", adjacency, (torch.tensor([[0, 2**40], [1, 0]]),))
add("edge_weight must be a tensor", with_weight, *((v,) for v in ("x", [1.0, 2.0, 3.0], 1.0)))
add(
    "edge_weight must be a real dense tensor",
    with_weight,
    (W[:2],),
    (torch.rand(5),),
    (W.cfloat(),),
    (torch.rand(3, 3),),
)
add("edge_weight must be finite, got nan at position 1", with_weight, (torch.tensor([1.0, NAN, 1.0]),))
add("edge_weight must be finite, got inf", with_weight, (torch.tensor([1.0, INF, 1.0]),))
add(
    "size must be a number of nodes",
    with_option("size"),
    *((v,) for v in (-1, 3.5, "3", (3,), (3, 3, 3), (3.0, 3), True, [3, 3], torch.tensor(3), (None, None))),
)
add("must leave room", with_option("size"), (2**62,), (2**70,))
add("must lie in", with_option("size"), (2,))
add("flow must be", with_option("flow"), (None,), ("up",), (["a"],), (1,))
add(
    "self_loops must be",
    with_option("self_loops"),
    *((v,) for v in (True, NAN, INF, "1", torch.tensor(1.0), [1], 1j, 10**400)),
)
add("normalize must be", with_option("normalize"), ("both",), (True,), (1,), (["sym"],))
add("keep must be", with_option("keep"), ("x",), (None,))
add("give neg_edge_index", signed_adjacency, (E,), (E, None))
add("edges must be an integer tensor", signed_adjacency, (None, E), (E, 3), (None, None, None, None))
add(
    "edge_weight must be",
    signed_adjacency,
    (E, E, "x"),
    (E, E, W, [1]),
    (E, None, "x"),
    (E, None, W.cfloat()),
    (E, None, NAN * W),
)
add("neg_edge_weight needs neg_edge_index", signed_adjacency, (E, None, W, W))
add("joint must be True or False", signed_adjacency, (E, E), joint="x")
add("normalize must be", signed_adjacency, (E, E), normalize="x")
add('mode must be "row" or "sym"', signed_adjacency, (E, E), normalize="mean", joint=True)
add("data must be a Data", from_data, (None,), (3,), ({"edge_index": E},), (relation(),))
add("the data needs an edge_index", from_data, (data(edge_index=None),))
add("the data needs an edge_index", from_data, (Data(x=X),), negatives=None)
add("the data needs an edge_index", from_data, (Data(x=X),), negatives="features")
add("the data has no signs", from_data, (Data(),), (data(edge_weight=None),))
add("edge_weight must be a tensor", from_data, (data(edge_weight="x"),), (data(edge_weight=[1, 2, 3]),))
add("edge_weight must be floating", from_data, (data(edge_weight=W[:1]),))
add("edge_weight must be real", from_data, (data(edge_weight=W.cfloat()),))
add("edge_attr must hold one number per edge", from_data, (data(edge_weight=None, edge_attr=torch.rand(3, 1, 1)),))
add("edge_weight must be finite", from_data, (data(edge_weight=NAN * W),))
add("must lie in", from_data, (data(edge_index=E + 5),))
add("must be int64 of shape", from_data, (data(edge_index=E.float()),))
add("must be a tensor", from_data, (Data(pos_edge_index=E, neg_edge_index="x", num_nodes=3),))
add("must be a tensor", from_data, (Data(pos_edge_index=E, neg_edge_index=E, pos_edge_weight="x", num_nodes=3),))


def negatives_of(value: Any) -> Any:
    return from_data(data(), negatives=value)


add("negatives must be", negatives_of, ("auto",), (1,), (True,), (["edges"],), (W,))
for options, message in (
    ({"normalize": "both"}, "normalize must be"),
    ({"normalize": True}, "normalize must be"),
    ({"normalize": ["sym"]}, "normalize must be"),
    ({"joint": "x"}, "joint must be"),
    ({"add_self_loops": 2.0}, "add_self_loops must be"),
    ({"negatives": "auto"}, "negatives"),
):
    add(message, from_data, (data(),), **options)
    add(message, from_hetero_data, (relation(),), **options)
    add(message, ToSignedGraph, (), **options)
positive = data(edge_weight=W.abs())
for changes, message in (
    ({"y": torch.rand(3)}, "y must"),
    ({"y": "x"}, "y must"),
    ({"y": torch.tensor([0, 1])}, "must"),
    ({"train_mask": None}, "needs data.train_mask"),
    ({"train_mask": torch.tensor([1, 2, 3])}, "must"),
):
    add(message, from_data, (data(edge_weight=W.abs(), **changes),), negatives="labels")
for x in ("x", X.long(), NAN * X):
    add("x0 must", from_data, (data(edge_weight=W.abs(), x=x),), negatives="features")
add("edge weights must be >= 0", from_data, (data(),), negatives="labels")
add("joint degrees need two sparse halves", from_data, (positive,), negatives="features", normalize="sym", joint=True)
add("data must be a HeteroData", from_hetero_data, (None,), (data(),))
add("the data needs an edge_index", from_hetero_data, (relation(edge_index=None),), (relation(edge_index="x"),))
add("the data needs an edge_index", from_hetero_data, (relation(edge_index=None),), negatives=None)
add("the data has no signs", from_hetero_data, (relation(edge_weight=None),))
add("edge_weight must be a tensor", from_hetero_data, (relation(edge_weight="x"),))
add("must lie in", from_hetero_data, (relation(edge_index=E + 4),))
add("graph must be a SignedGraph", to_data, (None,), (3,), (data(),), (G.pos,))
add("a Data holds a square graph", to_data, (SignedGraph.from_edge_index(E, E, size=(3, 4)),))
add("a Data holds sparse halves", to_data, (SignedGraph(None, Similarity(X)),))
add("attributes must not be those of the graph itself, got edge_index", to_data, (G,), edge_index=E)
add("got num_nodes", to_data, (G,), num_nodes=7)
add("data must be a Data", ToSignedGraph(), (None,), (relation(),), (Batch.from_data_list([data()]),))
add("data must be a Data", ToSignedGraph().graph, (None,), ({},))
add("the data has no signs", lambda d: ToSignedGraph()(d).signed_graph, (Data(),))
add("which has not been applied to this one", lambda d: d.signed_graph, (SignedData(x=X),))
add(
    "signed_rule must be a ToSignedGraph",
    lambda d: d.signed_graph,
    (SignedData(x=X, signed_rule=3),),
    (SignedData(signed_rule=[]),),
)


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_bad_argument_raises(call: Call, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert type(caught.value) is ValueError and message in text and "\n" not in text, text


def test_tensors_without_values_are_not_implemented() -> None:
    meta = torch.empty(2, 3, dtype=torch.long, device="meta")
    for call in (lambda: adjacency(meta), lambda: from_data(data(edge_index=meta)), lambda: signed_adjacency(E, meta)):
        with pytest.raises(NotImplementedError, match="meta"):
            call()
