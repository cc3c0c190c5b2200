"""Matrices from torch.sparse, torch_sparse, scipy and networkx, and the order of their edges."""

from __future__ import annotations

import copy
import pickle

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from sbp_kernels import CSR, SignedGraph, signed_propagate
from sbp_kernels.adjacency.sparsity import SparsityPattern
from tests.graphs import edges, values

ROWS, COLS, EDGES = 7, 5, 16
INDEX, WEIGHT = edges(EDGES, COLS, ROWS, 0), values(EDGES, 1)


def coo(weight: Tensor = WEIGHT) -> Tensor:
    """A COO matrix with duplicates, not coalesced."""
    return torch.sparse_coo_tensor(INDEX.flip(0), weight, (ROWS, COLS))


DENSE = coo().to_dense()


class SparseTensor:
    """The methods of `torch_sparse.SparseTensor` that this package calls; torch_sparse need not be installed."""

    def __init__(self, value: Tensor | None) -> None:
        self.value = value

    def coo(self):
        return INDEX[1], INDEX[0], self.value

    def size(self, dim: int) -> int:
        return (ROWS, COLS)[dim]


TORCH = {
    "coo": coo,
    "coalesced": lambda: coo().coalesce(),
    "csr": lambda: coo().to_sparse_csr(),
    "csc": lambda: coo().to_sparse_csc(),
    "SparseTensor": lambda: SparseTensor(WEIGHT),
}
SCIPY = ("coo", "csr", "csc", "lil", "dok", "bsr")


@pytest.mark.parametrize("name", TORCH)
def test_torch_sparse(name):
    torch.testing.assert_close(CSR.from_torch_sparse(TORCH[name]()).to_dense(), DENSE)


@pytest.mark.parametrize("kind", [sp.coo_matrix, sp.coo_array], ids=lambda k: k.__name__)
@pytest.mark.parametrize("layout", SCIPY)
def test_scipy(layout, kind):
    matrix = kind((WEIGHT.numpy(), INDEX.flip(0).numpy()), (ROWS, COLS)).asformat(layout)
    torch.testing.assert_close(CSR.from_scipy(matrix).to_dense(), DENSE)
    whole = kind((np.ones(EDGES, dtype=np.int32), INDEX.flip(0).numpy()), (ROWS, COLS)).tocsr().asformat(layout)
    assert torch.equal(CSR.from_scipy(whole).to_dense(), torch.from_numpy(whole.toarray()).double())


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph], ids=lambda k: k.__name__)
def test_networkx(kind):
    graph = kind()
    graph.add_nodes_from("abcde")
    graph.add_edge("b", "a", sign=2.0)
    graph.add_edge("c", "e", sign=-1.5)
    graph.add_edge("d", "d", sign=3.0)
    graph.add_edge("a", "b")
    for weight in (None, "sign"):
        want = torch.from_numpy(nx.to_numpy_array(graph, nodelist=list("abcde"), weight=weight or "none")).T
        assert torch.equal(CSR.from_networkx(graph, weight).to_dense(), want)
    assert CSR.from_networkx(graph).weightless
    assert CSR.from_networkx(kind()).shape == (0, 0)


def test_ones_are_not_stored_and_other_values_keep_their_type():
    ones = torch.sparse_coo_tensor(INDEX.flip(0), torch.ones(EDGES), (ROWS, COLS))
    assert CSR.from_torch_sparse(SparseTensor(torch.ones(EDGES))).weightless
    assert CSR.from_torch_sparse(SparseTensor(None)).weightless
    assert not CSR.from_torch_sparse(ones).weightless  # Duplicates were added up.
    assert CSR.from_torch_sparse(coo().to(torch.bfloat16)).weight.dtype == torch.bfloat16
    assert CSR.from_torch_sparse(coo((2 * WEIGHT).long())).weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["coo", "csr", "SparseTensor"])
def test_gradients_reach_the_values(name):
    weight = WEIGHT.clone().requires_grad_()
    matrix = {"coo": coo, "csr": lambda w: coo(w).to_sparse_csr(), "SparseTensor": SparseTensor}[name](weight)
    x = torch.randn(COLS, 3, dtype=torch.float64)
    y = signed_propagate(x, SignedGraph(CSR.from_torch_sparse(matrix)))
    want = torch.autograd.grad((coo(weight).to_dense() @ x).square().sum(), weight)[0]
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), weight)[0], want)


def square(weight: Tensor | None = None) -> CSR:
    return CSR.from_edge_index(edges(30, 9, 9, 3), weight, 9)


MATRICES = {
    "edge_index": lambda: square(),
    "normalized": lambda: square().normalize("sym"),
    "pickled": lambda: pickle.loads(pickle.dumps(square(values(30, 4)))),
    "copied": lambda: copy.deepcopy(square()),
    "moved": lambda: square().to("cpu"),
    "reversed twice": lambda: square().T.T,
}


@pytest.mark.parametrize("name", MATRICES)
def test_edge_permutation_feeds_weights(name):
    """From the caller's order: the weights of every step."""
    matrix, index = MATRICES[name](), edges(30, 9, 9, 3)
    order = matrix.edge_permutation
    ones = torch.zeros(9, 9, dtype=torch.float64)
    fixed = matrix.with_weight(torch.ones(30, dtype=torch.float64)).to_dense() / torch.where(
        (count := ones.index_put((index[1], index[0]), torch.ones(30).double(), accumulate=True)) > 0, count, 1.0
    )
    for step in range(3):
        weight = values(30, step)
        want = fixed * ones.index_put((index[1], index[0]), weight, accumulate=True)
        torch.testing.assert_close(matrix.with_weight(weight[order]).to_dense(), want)


def test_edge_permutation_of_both_signs_and_of_self_loops(monkeypatch):
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr("sbp_kernels.adjacency.sparsity.NOT_LOADED", "pretend")
        index, weight = edges(30, 9, 9, 3), values(30, 4) * torch.tensor([1.0, -1.0, 1.0]).double().repeat(10)
        graph = SignedGraph.from_edge_weight(index, weight, 9)
        fed = graph.with_weights(*(weight.abs()[half.edge_permutation] for half in (graph.pos, graph.neg)))
        for half, want in ((fed.pos, graph.pos), (fed.neg, graph.neg)):
            assert torch.equal(half.to_dense(), want.to_dense())
        looped = square(weight).add_self_loops(5.0)
        all_weights = torch.cat([weight, torch.full((looped.num_edges - 30,), 5.0).double()])
        assert torch.equal(looped.weight, all_weights[looped.edge_permutation])
        assert torch.equal(looped.T.weight, all_weights[looped.T.edge_permutation])


def test_edge_permutation_of_compressed_rows_is_the_identity():
    half = square()
    own = CSR(half.rowptr, half.col)
    assert torch.equal(own.edge_permutation, torch.arange(30))
    half.edge_permutation.zero_()
    assert half.edge_permutation.any()
    assert torch.equal(SparsityPattern(half.rowptr, half.col, 9).edge_permutation(), torch.arange(30))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CSR.from_torch_sparse(DENSE), "matrix must be a torch sparse COO, CSR or CSC .* torch.strided"),
        (lambda: CSR.from_torch_sparse(None), "got None"),
        (lambda: CSR.from_torch_sparse(coo().to_sparse_csr().to_dense()[None].to_sparse()), r"got .* \(1, 7, 5\)"),
        (
            lambda: CSR.from_torch_sparse(coo(WEIGHT.to(torch.complex64))),
            "must be float32, float64, .*complex64|floating",
        ),
        (lambda: CSR.from_torch_sparse(coo(WEIGHT * float("nan"))), "the values of the matrix must be finite, got nan"),
        (
            lambda: CSR.from_torch_sparse(torch.sparse_csr_tensor([0, 1], [9], [1.0], (1, 2), check_invariants=False)),
            r"col must lie in \[0, 2\)",
        ),
        (
            lambda: CSR.from_torch_sparse(
                torch.sparse_csr_tensor([0, 2, 1], [0], [1.0], (2, 2), check_invariants=False)
            ),
            "rowptr must not decrease, got 2 then 1",
        ),
        (lambda: CSR.from_scipy(np.ones((2, 2))), "matrix must be a scipy sparse matrix .* got ndarray"),
        (lambda: CSR.from_scipy(sp.coo_matrix([[1j]])), "must be real, got complex128"),
        (lambda: CSR.from_networkx([]), "graph must be a networkx graph, got list"),
        (lambda: CSR.from_networkx(nx.Graph(), 3), "weight must be the name of an edge attribute or None, got 3"),
        (lambda: CSR.from_networkx(nx.Graph([(0, 1, {"w": "a"})]), "w"), "the edge attribute 'w' must be a number"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_broken_pickle_is_refused():
    function, args = square().__reduce__()
    for order in (torch.arange(3), torch.full((30,), -1), [1]):
        with pytest.raises(ValueError, match="edge_permutation must be"):
            function(*args[:-1], order)
