"""Bad input gets one sentence with the rule and the value; nothing crashes, nothing is silently wrong."""

from __future__ import annotations

import re

import pytest
import torch

from sbp_kernels import (
    CSR,
    ClassBlock,
    SignedGraph,
    Similarity,
    explain,
    show_config,
    signed_pair,
    signed_propagate,
    use_backend,
)
from tests.graphs import edges, labelled, plain

X = torch.randn(23, 4)
G = plain()
ROWPTR = torch.tensor([0, 1, 2])
COL = torch.tensor([0, 1], dtype=torch.int32)
BIPARTITE = SignedGraph.from_edge_index(edges(9, 5, 3, 0), edges(9, 5, 3, 1), size=(5, 3))

CASES = {
    "index too large": (
        lambda: CSR.from_edge_index(torch.tensor([[0, 7], [1, 1]]), num_nodes=5),
        "edge_index[0] (sources) must lie in [0, 5), got values from 0 to 7",
    ),
    "index negative": (
        lambda: CSR.from_edge_index(torch.tensor([[0, 1], [-1, 1]]), num_nodes=5),
        "edge_index[1] (targets) must lie in [0, 5), got values from -1 to 1",
    ),
    "edge_index shape": (lambda: CSR.from_edge_index(torch.zeros(3, 2).long()), "[2, num_edges], got"),
    "edge_index type": (lambda: CSR.from_edge_index(torch.zeros(2, 3)), "must be int64 of shape"),
    "weight shape": (
        lambda: CSR.from_edge_index(torch.zeros(2, 3).long(), torch.ones(2)),
        "edge_weight must be floating with shape [num_edges=3], got torch.float32 (2,)",
    ),
    "weight NaN": (
        lambda: CSR.from_edge_index(torch.zeros(2, 2).long(), torch.tensor([1.0, float("nan")])),
        "edge_weight must be finite, got nan at position 1",
    ),
    "both sizes": (lambda: CSR.from_edge_index(COL.long()[None].repeat(2, 1), num_nodes=2, size=(2, 2)), "not both"),
    "negative size": (lambda: CSR.from_edge_index(torch.zeros(2, 0).long(), num_nodes=-1), "must be >= 0, got -1"),
    "col too large": (lambda: CSR(ROWPTR, COL + 1), "col must lie in [0, 2), got values from 1 to 2"),
    "col type": (lambda: CSR(ROWPTR, COL.float()), "col must be int32 or int64"),
    "rowptr type": (lambda: CSR(ROWPTR.int(), COL), "rowptr must be int64"),
    "rowptr empty": (lambda: CSR(ROWPTR[:0], COL), "rowptr must be int64 of shape [num_rows + 1]"),
    "rowptr falls": (
        lambda: CSR(torch.tensor([0, 2, 1, 2]), COL),
        "rowptr must not decrease, got 2 then 1 at row 1",
    ),
    "rowptr end": (lambda: CSR(torch.tensor([0, 1, 5]), COL), "rowptr must run from 0 to num_edges=2, got 0 to 5"),
    "rowptr start": (lambda: CSR(torch.tensor([1, 1, 2]), COL), "got 1 to 2"),
    "scale NaN": (
        lambda: CSR(ROWPTR, COL, row_scale=torch.tensor([1.0, float("nan")])),
        "row_scale must be finite, got nan at position 1",
    ),
    "scale shape": (lambda: CSR(ROWPTR, COL, col_scale=torch.ones(3)), "shape [num_cols=2], got torch.float32 (3,)"),
    "normalize mode": (lambda: G.normalize("column"), 'mode must be "row" or "sym", got \'column\''),
    "normalize twice": (lambda: G.normalize("row").normalize("row"), "must come before scaling"),
    "loops on rectangle": (lambda: BIPARTITE.add_self_loops(), "needs a square matrix, got 3x5"),
    "group range": (lambda: ClassBlock(torch.tensor([0, 2]), torch.eye(2)), "group must lie in [0, 2)"),
    "block shape": (lambda: ClassBlock(torch.tensor([0]), torch.ones(1, 2)), "block must be floating of shape"),
    "block NaN": (lambda: ClassBlock(torch.tensor([0]), torch.full((1, 1), torch.nan)), "block must be finite"),
    "labels type": (lambda: ClassBlock.from_labels(torch.ones(3), torch.ones(3).bool()), "y must be int64"),
    "labels negative": (
        lambda: ClassBlock.from_labels(torch.tensor([-1, 0]), torch.ones(2).bool()),
        "known labels must be >= 0, got -1",
    ),
    "softmax over": (
        lambda: ClassBlock.from_labels(torch.tensor([0]), torch.ones(1).bool(), "some"),
        'softmax_over must be "all" or "labelled", got \'some\'',
    ),
    "x0 shape": (lambda: Similarity(torch.ones(3)), "x0 must be floating of shape [num_nodes, width]"),
    "x0 NaN": (lambda: Similarity(torch.full((2, 2), torch.nan)), "x0 must be finite"),
    "sign": (lambda: Similarity(torch.ones(2, 2), sign=0.5), "sign must be +1 or -1, got 0.5"),
    "temperature": (lambda: Similarity(torch.ones(2, 2), temperature=0.0), "temperature must be > 0, got 0.0"),
    "no half": (lambda: SignedGraph(), "needs pos, neg or both"),
    "half type": (lambda: SignedGraph(torch.eye(3)), "pos must be a CSR, ClassBlock or Similarity, got Tensor"),
    "node counts": (
        lambda: SignedGraph(G.pos, ClassBlock.mean(22)),
        "pos and neg must have one shape, got 23x23 and 22x22",
    ),
    "graph type": (lambda: signed_propagate(X, G.pos), "graph must be a SignedGraph, got CSR"),
    "x shape": (lambda: signed_propagate(X[:5], G), "x must have shape [num_nodes=23, features], got (5, 4)"),
    "x rank": (lambda: signed_pair(X[0], G), "x must have shape [num_nodes=23, features], got (4,)"),
    "x type": (lambda: signed_propagate(X.long(), G), "x must be floating, got torch.int64"),
    "x no tensor": (lambda: signed_propagate([1.0], G), "got list"),
    "lam": (lambda: signed_propagate(X, G, lam=1.5), "lam must lie in [0, 1], got 1.5"),
    "lam NaN": (lambda: signed_propagate(X, G, lam=float("nan")), "lam must lie in [0, 1], got nan"),
    "beta": (lambda: signed_propagate(X, G, beta=float("inf")), "alpha and beta must be finite"),
    "alpha size": (lambda: signed_propagate(X, G, alpha=torch.ones(2)), "alpha must have one element, got shape (2,)"),
    "steps": (lambda: signed_propagate(X, G, num_steps=-1), "num_steps must be >= 0, got -1"),
    "steps on rectangle": (
        lambda: signed_propagate(torch.randn(5, 2), BIPARTITE, num_steps=2),
        "num_steps must be 1 on a 3x5 graph, got 2",
    ),
    "rectangle without residual": (
        lambda: signed_propagate(torch.randn(5, 2), BIPARTITE, lam=0.5),
        "needs residual=... unless lam is the float 1, got lam=0.5",
    ),
    "residual shape": (
        lambda: signed_propagate(X, G, residual=X[:3]),
        "residual must have shape [num_nodes=23, features=4]",
    ),
    "residual type": (lambda: signed_propagate(X, G, residual=X.double()), "the type of x, torch.float32"),
    "layer norm": (
        lambda: signed_propagate(X, G, layer_norm=torch.nn.LayerNorm(5)),
        "layer_norm must normalize features=4, got normalized_shape=(5,)",
    ),
    "backend": (
        lambda: signed_propagate(X, G, backend="natve"),
        "backend must be one of 'native', 'triton', 'reference', got 'natve'; did you mean 'native'?",
    ),
    "use_backend": (lambda: use_backend("cuda").__enter__(), "got 'cuda'"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_with_the_rule_and_the_value(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_legal_but_impossible_calls_say_why():
    with pytest.raises(NotImplementedError, match=r"features must be float32.*got torch\.float8_e5m2"):
        signed_propagate(X.to(torch.float8_e5m2), G)
    with pytest.raises(NotImplementedError, match="backend 'reference' cannot run this call"):
        signed_propagate(X.to(torch.float8_e5m2), G, backend="reference")


def test_second_derivatives_of_x0_end_where_memory_would(monkeypatch):
    x, x0 = X.clone().requires_grad_(), torch.randn(23, 2).requires_grad_()
    y = signed_propagate(x, SignedGraph(Similarity(x0)))
    (first,) = torch.autograd.grad(y.square().sum(), x0, create_graph=True)
    monkeypatch.setattr("sbp_kernels.composed.MAX_DENSE", 22)
    with pytest.raises(NotImplementedError, match="hold n x n matrices: implemented up to 22 nodes, got 23"):
        first.sum().backward()
    with pytest.raises(NotImplementedError, match="implemented up to 22 nodes"):
        torch.func.jvp(lambda x0: signed_propagate(X, SignedGraph(Similarity(x0))), (x0,), (x0,))


def test_a_zero_coefficient_is_not_read(backend):
    poisoned = torch.full((23, 4), torch.inf)
    assert bool((signed_propagate(X, G, lam=1.0, residual=poisoned, backend=backend).isfinite()).all())


def test_nan_in_features_stays_where_the_edges_carry_it(backend):
    x = X.clone()
    x[3, 1] = torch.nan
    reached = (G.pos.to_dense() + G.neg.to_dense())[:, 3] > 0
    reached[3] = True
    y = signed_propagate(x, G, lam=0.5, backend=backend)
    assert torch.equal(y[:, 1].isnan(), reached) and not y[:, [0, 2, 3]].isnan().any()


def test_named_backends_are_used_and_restored(backend):
    with use_backend(backend):
        assert torch.equal(signed_propagate(X, G, lam=0.5), signed_propagate(X, G, lam=0.5, backend=backend))
        with use_backend("reference"):
            signed_propagate(X, G)
    assert explain(X, labelled(0.5))[backend] == "runs"
    assert backend in show_config()
