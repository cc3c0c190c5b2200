"""Arguments of the wrong kind, type, size or value: one sentence with the rule and the value, before anything runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, explain, signed_pair, signed_propagate, use_backend
from tests.graphs import labelled, plain

X = torch.randn(23, 4)
G = plain()
ROWPTR, COL = torch.tensor([0, 1, 2]), torch.tensor([0, 1], dtype=torch.int32)
EDGES = torch.tensor([[0, 1], [1, 0]])
LABELS, KNOWN = torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool)
NOT_TENSORS = {"None": None, "list": [[0], [1]], "float": 1.0, "string": "x", "array": np.zeros((2, 2))}


def leaf(*size: int) -> torch.Tensor:
    return torch.ones(*size, requires_grad=True)


CASES = {
    **{f"edges {k}": (lambda v=v: CSR.from_edge_index(v), "must be a tensor") for k, v in NOT_TENSORS.items()},
    **{f"x {k}": (lambda v=v: signed_propagate(v, G), "x must have shape") for k, v in NOT_TENSORS.items()},
    **{f"rowptr {k}": (lambda v=v: CSR(v, COL), "rowptr must be a tensor") for k, v in NOT_TENSORS.items()},
    **{f"col {k}": (lambda v=v: CSR(ROWPTR, v), "col must be a tensor") for k, v in NOT_TENSORS.items()},
    "negative edges absent": (lambda: SignedGraph.from_edge_index(EDGES, None), "neg_edge_index must be a tensor"),
    "negative edges absent, sized": (
        lambda: SignedGraph.from_edge_index(EDGES, None, 2),
        "edge_index must be a tensor",
    ),
    "weights absent": (lambda: SignedGraph.from_edge_weight(EDGES, None), "edge_weight must be a tensor, got None"),
    "weights of integers": (lambda: CSR.from_edge_index(EDGES, torch.ones(2).long()), "edge_weight must be floating"),
    "weights list": (lambda: CSR.from_edge_index(EDGES, [1.0, 2.0]), "edge_weight must be a tensor, got list"),
    "weights sparse": (lambda: CSR.from_edge_index(EDGES, torch.ones(2).to_sparse()), "must be a dense tensor"),
    "edges sparse": (lambda: CSR.from_edge_index(EDGES.to_sparse()), "edge_index must be a dense tensor"),
    "num_nodes float": (lambda: CSR.from_edge_index(EDGES, num_nodes=2.5), "nodes must be an integer, got 2.5"),
    "num_nodes bool": (lambda: CSR.from_edge_index(EDGES, num_nodes=True), "must be an integer, got True"),
    "num_nodes string": (lambda: CSR.from_edge_index(EDGES, num_nodes="2"), "must be an integer, got '2'"),
    "num_nodes huge": (lambda: CSR.from_edge_index(EDGES, num_nodes=2**40), "must leave room for 8 bytes a node"),
    "num_nodes beyond int64": (lambda: CSR.from_edge_index(EDGES, num_nodes=10**400), "must leave room for 8 bytes"),
    "one node too far": (lambda: CSR.from_edge_index(EDGES + 2**40), "must leave room for 8 bytes a node"),
    "size list": (lambda: CSR.from_edge_index(EDGES, size=[2]), "size must be (num_sources, num_targets), got list"),
    "size int": (lambda: CSR.from_edge_index(EDGES, size=2), "size must be (num_sources, num_targets), got 2"),
    "size of floats": (lambda: CSR.from_edge_index(EDGES, size=(2.0, 2)), "must be an integer, got 2.0"),
    "num_cols negative": (lambda: CSR(ROWPTR, COL, num_cols=-5), "num_cols must be >= 0, got -5"),
    "num_cols negative, no edge": (lambda: CSR(ROWPTR[:1], COL[:0], num_cols=-5), "num_cols must be >= 0, got -5"),
    "num_cols float": (lambda: CSR(ROWPTR, COL, num_cols=2.0), "num_cols must be an integer, got 2.0"),
    "rowptr overflows": (lambda: CSR(torch.tensor([0, 2**63 - 1, -1, 2]), COL), "must not decrease"),
    "row scale learnable": (lambda: CSR(ROWPTR, COL, row_scale=leaf(2)), "row_scale must not require a gradient"),
    "col scale learnable": (lambda: CSR(ROWPTR, COL, col_scale=leaf(2)), "col_scale must not require a gradient"),
    "soft groups learnable": (lambda: ClassBlock(leaf(5, 2), torch.eye(2)), "soft groups must not require a gradient"),
    "soft groups too few": (lambda: ClassBlock(torch.ones(5, 3), torch.eye(2)), "[num_nodes, num_groups=2], got"),
    "soft groups nan": (lambda: ClassBlock(torch.full((5, 2), torch.nan), torch.eye(2)), "group must be finite"),
    "block list": (lambda: ClassBlock(LABELS, [[1.0]]), "block must be a tensor, got list"),
    "group None": (lambda: ClassBlock(None, torch.eye(2)), "group must be a tensor, got None"),
    "labels None": (lambda: ClassBlock.from_labels(None, KNOWN), "y must be a tensor, got None"),
    "known None": (lambda: ClassBlock.from_labels(LABELS, None), "known must be a tensor, got None"),
    "labels huge": (lambda: ClassBlock.from_labels(LABELS + 2**50, KNOWN), "number of classes must leave room"),
    "softmax over": (lambda: ClassBlock.from_labels(LABELS, KNOWN, 3), 'must be "all" or "labelled", got 3'),
    "mean of a fraction": (lambda: ClassBlock.mean(2.5), "num_nodes must be an integer, got 2.5"),
    "mean of an array": (lambda: ClassBlock.mean(np.zeros(2, dtype=np.int64)), "must be an integer, got ndarray"),
    "x nested": (lambda: signed_pair(torch.nested.nested_tensor([X, X[:2]]), G), "x must have shape"),
    "steps array": (lambda: signed_propagate(X, G, num_steps=np.ones(2, dtype=int)), "must be an integer, got ndarray"),
    "mean negative": (lambda: ClassBlock.mean(-1), "num_nodes must be >= 0, got -1"),
    "mean huge": (lambda: ClassBlock.mean(2**50), "num_nodes must leave room"),
    "mean device": (lambda: ClassBlock.mean(3, "nowhere"), "device must be one that torch can use here, got 'nowhere'"),
    "x0 None": (lambda: Similarity(None), "x0 must be a tensor, got None"),
    "x0 integers": (lambda: Similarity(torch.ones(2, 2).long()), "x0 must be floating"),
    "sign string": (lambda: Similarity(torch.ones(2, 2), sign="-"), "sign must be +1 or -1, got '-'"),
    "sign tensor": (lambda: Similarity(torch.ones(2, 2), sign=torch.ones(2)), "sign must be +1 or -1"),
    "temperature infinite": (
        lambda: Similarity(torch.ones(2, 2), temperature=torch.inf),
        "must be a finite number, got inf",
    ),
    "temperature NaN": (
        lambda: Similarity(torch.ones(2, 2), temperature=torch.nan),
        "must be a finite number, got nan",
    ),
    "temperature string": (lambda: Similarity(torch.ones(2, 2), temperature="1"), "must be a finite number, got '1'"),
    "loops NaN": (lambda: G.add_self_loops(torch.nan), "fill_value must be a finite"),
    "loops string": (lambda: G.add_self_loops("1"), "fill_value must be a finite number, got '1'"),
    "loops on labels": (lambda: SignedGraph(labelled(0.5).neg).add_self_loops(), "needs sparse positive edges"),
    "normalize None": (lambda: G.normalize(None), 'mode must be "row" or "sym", got None'),
    "normalize list": (lambda: G.pos.normalize(["row"]), 'mode must be "row" or "sym", got list'),
    "joint number": (lambda: G.normalize("row", joint=0.5), "joint must be True or False, got 0.5"),
    "loops beyond float32": (
        lambda: SignedGraph.from_edge_weight(EDGES, torch.rand(2), 3).add_self_loops(1e300),
        "fill_value must lie in the range of the weights, torch.float32, got 1e+300",
    ),
    "joint labels": (lambda: labelled(0.5).normalize("row", joint=True), "joint degrees need two sparse halves"),
    "device None": (lambda: G.to(None), "device must be one that torch can use here, got None"),
    "device number": (lambda: G.pos.to(1.5), "device must be one that torch can use here, got 1.5"),
    "graph None": (lambda: signed_pair(X, None), "graph must be a SignedGraph, got None"),
    "x sparse": (
        lambda: signed_propagate(X.to_sparse(), G),
        "x must be a dense tensor, got one of layout torch.sparse_coo",
    ),
    "x sparse rows": (lambda: signed_pair(X.to_sparse_csr(), G), "x must be a dense tensor"),
    "x on meta": (lambda: signed_propagate(X.to("meta"), G), "x and graph must be on one device, got meta and cpu"),
    "x complex": (lambda: signed_propagate(X.to(torch.complex64), G), "x must be floating, got torch.complex64"),
    "x bool": (lambda: explain(X > 0, G), "x must be floating, got torch.bool"),
    "residual number": (lambda: signed_propagate(X, G, residual=1.0), "residual must be a tensor, got 1.0"),
    "residual sparse": (lambda: signed_propagate(X, G, residual=X.to_sparse()), "residual must be a dense tensor"),
    "steps fraction": (lambda: signed_propagate(X, G, num_steps=1.5), "num_steps must be an integer, got 1.5"),
    "steps None": (lambda: signed_propagate(X, G, num_steps=None), "num_steps must be an integer, got None"),
    "steps string": (lambda: signed_propagate(X, G, num_steps="2"), "num_steps must be an integer, got '2'"),
    "steps bool": (lambda: signed_propagate(X, G, num_steps=True), "num_steps must be an integer, got True"),
    "steps huge": (
        lambda: signed_propagate(X, G, num_steps=2**40),
        "must be >= 0 and < 2**31, got 1099511627776",
    ),
    "alpha string": (lambda: signed_propagate(X, G, alpha="1"), "alpha must be a finite number, got '1'"),
    "alpha None": (lambda: signed_propagate(X, G, alpha=None), "alpha must be a finite number, got None"),
    "alpha list": (lambda: signed_propagate(X, G, alpha=[1.0]), "alpha must be a finite number, got list"),
    "alpha complex": (lambda: signed_propagate(X, G, alpha=1j), "alpha must be a finite number"),
    "alpha too large an int": (
        lambda: signed_propagate(X, G, alpha=10**400),
        "finite number, got 1000000",
    ),
    "alpha complex tensor": (lambda: signed_propagate(X, G, alpha=torch.tensor(1j)), "alpha must be real"),
    "alpha quantized tensor": (
        lambda: signed_propagate(X, G, alpha=torch.quantize_per_tensor(torch.ones(()), 0.1, 0, torch.qint8)),
        "alpha must be real",
    ),
    "alpha bool tensor": (lambda: signed_propagate(X, G, alpha=torch.tensor(True)), "alpha must be real"),
    "beta beside a tensor": (
        lambda: signed_propagate(X, G, alpha=torch.tensor(1.0), beta="1"),
        "beta must be a finite",
    ),
    "beta inf beside a tensor": (
        lambda: signed_propagate(X, G, alpha=torch.tensor(1.0), beta=10**400),
        "beta must be a finite number",
    ),
    "lam None": (lambda: signed_propagate(X, G, lam=None), "lam must be a finite number, got None"),
    "lam sparse": (lambda: signed_propagate(X, G, lam=torch.ones(1).to_sparse()), "lam must be a dense tensor"),
    "norm string": (
        lambda: signed_propagate(X, G, layer_norm="yes"),
        "a bool or a torch.nn.LayerNorm, got 'yes'",
    ),
    "norm class": (
        lambda: signed_propagate(X, G, layer_norm=torch.nn.LayerNorm),
        "a bool or a torch.nn.LayerNorm",
    ),
    "norm None": (lambda: signed_propagate(X, G, layer_norm=None), "a bool or a torch.nn.LayerNorm, got None"),
    "norm number": (lambda: signed_propagate(X, G, layer_norm=1), "a bool or a torch.nn.LayerNorm, got 1"),
    "norm epsilon": (
        lambda: signed_propagate(X, G, layer_norm=torch.nn.LayerNorm(4, eps=-1e-5)),
        "the eps of layer_norm must be >= 0, got -1e-05",
    ),
    "norm epsilon NaN": (
        lambda: signed_propagate(X, G, layer_norm=torch.nn.LayerNorm(4, eps=torch.nan)),
        "the eps of layer_norm must be a finite number, got nan",
    ),
    "norm device": (
        lambda: signed_propagate(X, G, layer_norm=torch.nn.LayerNorm(4, device="meta")),
        "layer_norm must be on the device of x, cpu, got meta",
    ),
    "backend number": (lambda: signed_propagate(X, G, backend=1), "got int"),
    "backend list": (lambda: use_backend(["native"]).__enter__(), "got list"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_arguments(case):
    call, message = CASES[case]
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_edges_without_data_are_legal_but_cannot_be_read():
    with pytest.raises(NotImplementedError, match="edge_index must hold data"):
        CSR.from_edge_index(EDGES.to("meta"))


def test_numbers_of_every_kind_are_accepted(backend):
    want = signed_propagate(X, G, alpha=1.0, beta=2.0, lam=0.5, num_steps=2, backend=backend)
    numbers = {"alpha": 1, "beta": np.float32(2.0), "lam": np.float64(0.5), "num_steps": np.int64(2)}
    assert torch.equal(signed_propagate(X, G, **numbers, backend=backend), want)
    tensors = {name: torch.tensor(float(value)) for name, value in numbers.items() if name != "num_steps"}
    torch.testing.assert_close(signed_propagate(X, G, **tensors, num_steps=2, backend=backend), want)


def test_no_step_is_a_copy(backend):
    x = X.clone().requires_grad_()
    y = signed_propagate(x, G, num_steps=0, layer_norm=True, backend=backend)
    assert torch.equal(y, x) and y.data_ptr() != x.data_ptr()
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones_like(x))


def test_layer_norm_in_another_type_than_x(backend):
    norm = torch.nn.LayerNorm(4)
    for dtype in (torch.float64, torch.bfloat16):
        y = signed_propagate(X.to(dtype), G, lam=0.5, layer_norm=norm, backend=backend)
        assert y.dtype == dtype


@pytest.mark.parametrize("name", ["alpha", "beta", "lam"])
@pytest.mark.parametrize("kind", [float, torch.tensor], ids=["number", "tensor"])
def test_a_part_whose_coefficient_is_zero_is_not_read(backend, name, kind):
    graph = SignedGraph.from_edge_index(torch.tensor([[0], [1]]), torch.tensor([[2], [1]]), 4)
    x = torch.ones(4, 3)
    x[{"alpha": 0, "beta": 2, "lam": 0}[name]] = torch.inf
    residual = torch.ones(4, 3)
    coefficients = {"lam": kind(0.5)} | {name: kind(0.0)}
    y = signed_propagate(x, graph, **coefficients, residual=residual, backend=backend)
    assert bool(y[1].isfinite().all())


def test_use_backend_belongs_to_its_thread():
    inside, leave = threading.Event(), threading.Event()
    seen: dict[str, object] = {}

    def other() -> None:
        with use_backend("reference"):
            inside.set()
            leave.wait(10)
        seen["after"] = signed_propagate(X.to(torch.float16), G).dtype

    def name() -> str | None:
        from sbp_kernels.backends import _forced

        return _forced.name

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    assert name() is None
    with use_backend("native"):
        leave.set()
        thread.join()
        # The other thread has left its block in the meantime.
        assert name() == "native"
        with pytest.raises(KeyError), use_backend("reference"):
            raise KeyError
        assert name() == "native"
    assert name() is None and seen["after"] == torch.float16


def test_a_second_ratio_makes_no_tensor_where_nothing_is_merged(monkeypatch):
    """On a GPU it would be a copy from the host in every call."""
    pos, neg = plain().pos, plain().neg
    graph = SignedGraph(CSR(pos.rowptr, pos.col.long()), neg)
    signed_propagate(X, graph, beta=0.1)
    made = []
    monkeypatch.setattr(torch, "tensor", lambda *args, **kwargs: made.append(args))
    for beta in (0.2, 0.3, 0.2, 0.1):
        signed_propagate(X, graph, beta=beta)
    assert not made
