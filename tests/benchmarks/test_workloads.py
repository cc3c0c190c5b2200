"""The generated graphs are what they are said to be."""

import pytest
import torch

from benchmarks.oracle import Coefficients, propagate64
from benchmarks.workloads import SIZES, Size, generate, load


@pytest.mark.parametrize("name", SIZES)
def test_named_sizes(name):
    size, graph = SIZES[name], load(name)
    assert graph.num_nodes == size.num_nodes
    assert graph.pos.shape == (2, size.num_edges_pos)
    assert graph.neg.shape == (2, size.num_edges_neg)
    assert graph.pos_weight.shape == (size.num_edges_pos,)
    edges = torch.cat([graph.pos, graph.neg], dim=1)
    assert edges.min() >= 0 and edges.max() < size.num_nodes
    assert (edges[0] != edges[1]).all(), "self-loops"
    keys = edges[0] * size.num_nodes + edges[1]
    assert keys.unique().numel() == keys.numel(), "duplicate edges"


def test_arxiv_has_hubs():
    assert 8_000 < load("arxiv").degrees().max() < 16_000


@pytest.mark.parametrize("sign", ["pos", "neg"])
def test_undirected_and_normalised(sign):
    graph = generate("small", Size(40, 120, 60, exponent=2.5))
    edge_index, weight = getattr(graph, sign), getattr(graph, f"{sign}_weight")
    dense = torch.zeros(40, 40, dtype=torch.float64)
    dense[edge_index[1], edge_index[0]] = weight
    assert torch.equal(dense, dense.T)
    root = (dense != 0).sum(1).clamp(min=1).double().sqrt()
    torch.testing.assert_close(dense * root[:, None] * root, (dense != 0).double())


def test_seed_decides():
    size = Size(100, 200, 100, exponent=2.5)
    assert torch.equal(generate("a", size, 1).pos, generate("a", size, 1).pos)
    assert not torch.equal(generate("a", size, 1).pos, generate("a", size, 2).pos)


def test_refuses_impossible_sizes():
    with pytest.raises(ValueError, match="must be even"):
        generate("odd", Size(10, 3, 2, exponent=2.5))
    with pytest.raises(ValueError, match="at most half"):
        generate("full", Size(4, 12, 0, exponent=2.5))
    with pytest.raises(ValueError, match="one of cora"):
        load("nothing")


def test_oracle_is_the_formula():
    graph = generate("small", Size(30, 60, 30, exponent=2.5))
    pos, neg = torch.zeros(2, 30, 30, dtype=torch.float64)
    pos[graph.pos[1], graph.pos[0]] = graph.pos_weight
    neg[graph.neg[1], graph.neg[0]] = graph.neg_weight
    x, c = torch.randn(30, 19), Coefficients(alpha=0.9, beta=0.3, lam=0.4)
    x64 = x.double()
    want = 0.6 * x64 + 0.4 * (0.9 * pos @ x64 - 0.3 * neg @ x64)
    torch.testing.assert_close(propagate64(graph, x, c), want)
    want = 0.6 * x64 + 0.4 * (0.9 * pos.T @ x64 - 0.3 * neg.T @ x64)
    torch.testing.assert_close(propagate64(graph, x, c, transposed=True), want)
