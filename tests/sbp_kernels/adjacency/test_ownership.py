"""Graphs own their arrays: nothing reachable from outside makes a kernel read out of bounds or change its result."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair, signed_propagate
from tests.graphs import GRAPHS, edges, feature, labelled, many_classes, plain, signed_weights, weighted_and_scaled

N = 23
ROWPTR = torch.tensor([0, 2, 3, 3])
COL = torch.tensor([0, 2, 1], dtype=torch.int32)


def features(graph: SignedGraph, width: int = 5) -> torch.Tensor:
    return torch.randn(graph.num_cols, width, generator=torch.Generator().manual_seed(3))


def results(graph: SignedGraph) -> list[torch.Tensor]:
    """A step, both halves and a gradient."""
    x = features(graph).requires_grad_()
    y = signed_propagate(x, graph, beta=0.5)
    return [y.detach(), *(t.detach() for t in signed_pair(x, graph)), torch.autograd.grad(y.square().sum(), x)[0]]


def same(graph: SignedGraph, want: list[torch.Tensor]) -> None:
    for got, expected in zip(results(graph), want, strict=True):
        assert torch.equal(got, expected)


def test_constructors_copy_what_they_are_given():
    rowptr, col, scale = ROWPTR.clone(), COL.clone(), torch.ones(3)
    graph = SignedGraph(CSR(rowptr, col, row_scale=scale, col_scale=scale), CSR(rowptr, col))
    group, block = torch.tensor([0, 1, 0]), torch.rand(2, 2)
    classes = SignedGraph(ClassBlock(group, block))
    want, want_classes = results(graph), results(classes)
    rowptr.fill_(10**9)
    col.fill_(10**9)
    scale.fill_(torch.nan)
    group.fill_(10**9)
    block.fill_(torch.nan)
    same(graph, want)
    same(classes, want_classes)


EDITS = {
    "in place": lambda t: t.fill_(10**9 if not t.is_floating_point() else torch.nan),
    "data": lambda t: t.data.fill_(10**9 if not t.is_floating_point() else torch.nan),
    "numpy": lambda t: t.numpy().fill(10**9),
    "resize": lambda t: t.resize_(1),
    "storage": lambda t: t.untyped_storage().resize_(0),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "used"])
def test_attributes_are_copies(edit, fresh):
    graph = SignedGraph(weighted_and_scaled().pos, labelled(0.5).neg)
    want = results(SignedGraph(weighted_and_scaled().pos, labelled(0.5).neg))
    if not fresh:
        same(graph, want)
    for half, names in (
        (graph.pos, ("rowptr", "col", "row_scale", "col_scale")),
        (graph.pos.pattern, ("rowptr", "col")),
        (graph.neg, ("group", "block")),
    ):
        for name in names:
            EDITS[edit](getattr(half, name))
    same(graph, want)


def test_attributes_cannot_be_replaced():
    graph = SignedGraph(weighted_and_scaled().pos, feature(-1.0).neg)
    for thing, names in (
        (graph, ("pos", "neg", "num_rows", "num_cols", "num_nodes", "device", "weightless")),
        (
            graph.pos,
            ("rowptr", "col", "weight", "row_scale", "col_scale", "num_rows", "num_cols", "num_edges", "pattern"),
        ),
        (graph.pos.pattern, ("rowptr", "col", "num_rows", "num_cols")),
        (graph.neg, ("x0", "sign", "temperature", "transposed", "scale", "num_nodes")),
        (labelled(0.5).neg, ("group", "block", "num_nodes", "num_groups")),
    ):
        for name in names:
            with pytest.raises(AttributeError):
                setattr(thing, name, None)


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "used"])
@pytest.mark.parametrize("learnable", [False, True])
def test_weights_that_were_resized_are_refused(fresh, learnable, backend):
    weight = torch.rand(plain().pos.num_edges)
    graph = SignedGraph(plain().pos.with_weight(weight), plain().neg)
    x = features(graph)
    if not fresh:
        signed_propagate(x, graph, backend=backend)
    weight.resize_(1)
    weight.requires_grad_(learnable)
    for run in (signed_propagate, signed_pair):
        with pytest.raises(ValueError, match=r"weight must keep its \d+ elements, got shape \(1,\)"):
            run(x, graph, backend=backend)


@pytest.mark.parametrize("learnable", [False, True])
def test_a_storage_that_was_resized_is_refused(backend, learnable):
    """The shape of a tensor stays what it was when its storage is freed: nothing may read there."""
    index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    weight, x0 = torch.rand(3), torch.rand(3, 2)
    graphs = {
        "weight": SignedGraph(CSR.from_edge_index(index), CSR.from_edge_index(index).with_weight(weight)),
        "x0": SignedGraph(CSR.from_edge_index(index), Similarity(x0)),
    }
    for name, tensor in (("weight", weight), ("x0", x0)):
        tensor.requires_grad_(learnable)
        graph = graphs[name]
        signed_propagate(torch.rand(3, 4), graph, backend=backend)
        tensor.untyped_storage().resize_(0)
        for use in (lambda g: signed_propagate(torch.rand(3, 4), g, backend=backend), pickle.dumps, copy.deepcopy):
            with pytest.raises(ValueError, match=f"{name} must keep its storage, but someone has resized it"):
                use(graph)


def test_features_of_a_similarity_are_followed_or_refused(backend):
    x0, x = torch.randn(N, 3), torch.randn(N, 4)
    graph = SignedGraph(neg=Similarity(x0))
    for _ in range(3):
        got = signed_propagate(x, graph, backend=backend)
        want = signed_propagate(x, SignedGraph(neg=Similarity(x0.clone())), backend=backend)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(signed_propagate(x, graph.T, backend=backend).isfinite().all(), torch.tensor(True))
        x0.mul_(1.5)
    x0.resize_(5, 3)
    with pytest.raises(ValueError, match="x0 must keep its num_nodes=23 rows"):
        signed_propagate(x, graph, backend=backend)


WITH_WEIGHT = {
    "short": (lambda: torch.ones(1), r"weight must be floating with shape \[num_edges=90\], got torch.float32 \(1,\)"),
    "long": (lambda: torch.ones(91), r"got torch.float32 \(91,\)"),
    "matrix": (lambda: torch.ones(90, 1), r"got torch.float32 \(90, 1\)"),
    "int": (lambda: torch.ones(90, dtype=torch.int64), "got torch.int64"),
    "complex": (lambda: torch.ones(90, dtype=torch.complex64), "got torch.complex64"),
    "nan": (lambda: torch.full((90,), torch.nan), "weight must be finite, got nan at position 0"),
    "list": (lambda: [1.0] * 90, "weight must be a tensor, got list"),
    "sparse": (lambda: torch.ones(90).to_sparse(), "weight must be a dense tensor, got one of layout torch.sparse_coo"),
}


@pytest.mark.parametrize("case", WITH_WEIGHT)
def test_other_weights_are_checked(case):
    make, message = WITH_WEIGHT[case]
    with pytest.raises(ValueError, match=message):
        plain().pos.with_weight(make())
    with pytest.raises(ValueError, match=message):
        plain().with_weights(make(), None)


def test_a_half_without_weights_takes_none():
    with pytest.raises(ValueError, match="neg_weight needs a half with weights, but neg is absent"):
        SignedGraph(plain().pos).with_weights(None, torch.ones(3))
    with pytest.raises(ValueError, match="block must be floating of shape"):
        labelled(0.5).with_weights(None, torch.ones(3))


def round_trips(graph: SignedGraph):
    buffer = io.BytesIO()
    torch.save(graph, buffer)
    buffer.seek(0)
    yield "torch", torch.load(buffer, weights_only=True)
    yield "pickle", pickle.loads(pickle.dumps(graph))
    yield "deepcopy", copy.deepcopy(graph)
    yield "copy", copy.copy(graph)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("transposed", [False, True])
def test_round_trips(name, transposed):
    graph = GRAPHS[name]().prepare()
    graph = graph.T if transposed else graph
    for half in (graph.pos, graph.neg):
        if half is not None:
            buffer = io.BytesIO()
            torch.save(half, buffer)
            buffer.seek(0)
            loaded = torch.load(buffer, weights_only=True)
            assert type(loaded) is type(half) and torch.equal(loaded.to_dense(), half.to_dense())
    want = results(graph) if graph.num_rows == graph.num_cols else None
    for kind, other in round_trips(graph):
        assert repr(other) == repr(graph), kind
        if want is not None:
            for got, expected in zip(results(other), want, strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_round_trip_of_weights_that_require_a_gradient():
    index = edges(40, N, N, 0)
    weight = torch.rand(40, requires_grad=True)
    graph = SignedGraph.from_edge_weight(index, (weight.detach() - 0.5).requires_grad_(), N)
    for kind, other in round_trips(graph):
        y = signed_propagate(features(graph), other)
        own = other.pos._weight.values
        assert own.requires_grad and torch.autograd.grad(y.sum(), own)[0].any(), kind
        assert torch.equal(y.detach(), signed_propagate(features(graph), graph).detach()), kind


def test_a_deep_copy_keeps_shared_weights_shared():
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(plain().pos.num_edges))
            self.graph = SignedGraph(plain().pos.with_weight(self.weight), plain().neg)

    model = copy.deepcopy(Model())
    y = signed_propagate(features(model.graph), model.graph)
    assert torch.autograd.grad(y.sum(), model.weight)[0].any()


def tampered(value: object, change) -> bytes:
    """A pickle of the parts of an object, one of them changed."""
    function, args = value.__reduce__()

    class Parts:
        def __reduce__(self):
            return function, tuple(change(list(args)))

    return pickle.dumps(Parts())


def put(place: int, value: object):
    def change(args: list) -> list:
        args[place] = value
        return args

    return change


TAMPERED = {
    "col": (weighted_and_scaled().pos, put(1, torch.full((90,), 10**6, dtype=torch.int32)), "col must lie in"),
    "rowptr": (weighted_and_scaled().pos, put(0, torch.arange(24) * 10**6), "rowptr must run from 0"),
    "weight": (weighted_and_scaled().pos, put(5, torch.ones(1)), "weight must be floating with shape"),
    "scale": (weighted_and_scaled().pos, put(2, torch.ones(3)), "row_scale must be floating with shape"),
    "num_cols": (weighted_and_scaled().pos, put(4, 5), "col must lie in"),
    "group": (labelled(0.5).neg, put(0, torch.full((N,), 10**9)), "group must lie in"),
    "block": (labelled(0.5).neg, put(1, torch.ones(2, 3)), "block must be floating of shape"),
    "factors": (many_classes().neg, put(2, torch.ones(3)), "must fit together"),
    "group of factors": (many_classes().neg, put(0, torch.full((N,), 10**9)), "group must lie in"),
    "x0": (feature(-1.0).neg, put(0, torch.full((N, 2), torch.nan)), "x0 must be finite"),
    "halves": (plain(), put(0, ClassBlock.mean(5)), "must have one shape"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_is_loaded_is_checked(case):
    value, change, message = TAMPERED[case]
    with pytest.raises(ValueError, match=message):
        pickle.loads(tampered(value, change))


def test_an_order_of_weights_that_does_not_fit_is_refused():
    graph = SignedGraph.from_edge_weight(edges(40, N, N, 0), torch.rand(40).requires_grad_(), N)
    with pytest.raises(ValueError, match=r"order must lie in \[0, 40\)"):
        pickle.loads(tampered(graph.pos, put(6, torch.full((40,), 10**9))))


def test_graphs_of_every_kind_hash_by_identity_and_are_weakly_referable():
    import weakref

    for thing in (plain(), plain().pos, labelled(0.5).neg, feature(1.0).neg, signed_weights().T):
        assert weakref.ref(thing)() is thing and thing in {thing}
