"""Generated and read graphs, orders of nodes, and the oracle."""

import pytest
import torch

from benchmarks.bench_reorder import ORDERS, permutation, reordered
from benchmarks.cases.oracle import Coefficients, Oracle, propagate64
from benchmarks.cases.workloads import SIZES, Size, generate, load

SMALL = [name for name, size in SIZES.items() if size.num_edges_pos < 10e6]


@pytest.mark.parametrize("name", SMALL)
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
    if name == "arxiv":
        assert 8_000 < graph.degrees().max() < 16_000, "hubs as in ogbn-arxiv"


@pytest.mark.parametrize("sign", ["pos", "neg"])
def test_undirected_and_normalized(sign):
    graph = generate("small", Size(40, 120, 60, exponent=2.5))
    edge_index, weight = getattr(graph, sign), getattr(graph, f"{sign}_weight")
    dense = torch.zeros(40, 40, dtype=torch.float64)
    dense[edge_index[1], edge_index[0]] = weight
    assert torch.equal(dense, dense.T)
    root = (dense != 0).sum(1).clamp(min=1).double().sqrt()
    torch.testing.assert_close(dense * root[:, None] * root, (dense != 0).double())


def test_the_seed_determines_the_graph():
    size = Size(100, 200, 100, exponent=2.5)
    assert torch.equal(generate("a", size, 1).pos, generate("a", size, 1).pos)
    assert not torch.equal(generate("a", size, 1).pos, generate("a", size, 2).pos)


def test_impossible_sizes_raise():
    with pytest.raises(ValueError, match="must be even"):
        generate("odd", Size(10, 3, 2, exponent=2.5))
    with pytest.raises(ValueError, match="at most half"):
        generate("full", Size(4, 12, 0, exponent=2.5))
    with pytest.raises(ValueError, match="one of cora"):
        load("nothing")
    with pytest.raises(ValueError, match="square number of nodes, got 10"):
        generate("road", Size(10, 4, 2, exponent=0.0))
    with pytest.raises(ValueError, match="has 12 streets, got 13"):
        generate("road", Size(9, 20, 6, exponent=0.0))


def test_a_road_network_has_small_degrees_and_long_paths():
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import shortest_path

    graph = generate("road", Size(400, 670, 330, exponent=0.0))
    source, target = torch.cat([graph.pos, graph.neg], 1).numpy()
    distance = shortest_path(
        csr_matrix((torch.ones(1000).numpy(), (source, target)), (400, 400)), indices=[0, 210, 399]
    )
    distance = torch.from_numpy(distance)
    assert int(graph.degrees().max()) <= 4
    assert torch.isfinite(distance).sum(1).max() > 200 and distance[torch.isfinite(distance)].max() > 20


def test_unsigned_and_degree_workloads():
    plus, plain = load("cora+"), load("cora")
    assert torch.equal(plus.pos, plain.pos) and plus.neg.shape == (2, 0) and plus.name == "cora+"
    swept = load("degree-6")
    assert swept.num_nodes == 50_000 and swept.num_edges == 6 * 50_000 and swept.pos.shape[1] == 2 * swept.neg.shape[1]


def test_reads_a_signed_csv(tmp_path):
    (tmp_path / "signed").mkdir()
    with pytest.raises(FileNotFoundError, match=r"bitcoin-otc needs .*bitcoin_otc\.csv"):
        load("bitcoin-otc", root=tmp_path)
    (tmp_path / "signed/bitcoin_otc.csv").write_text("id1,id2,sign\n0,1,1.0\n1,0,1.0\n2,0,-1.0\n2,1,\n")
    graph = load("bitcoin-otc", root=tmp_path)
    assert graph.num_nodes == 3
    assert graph.pos.T.tolist() == [[0, 1], [1, 0]] and graph.neg.T.tolist() == [[0, 2], [2, 0]]


@pytest.mark.parametrize("order", ORDERS)
def test_reordering_preserves_the_graph(order):
    graph = generate("small", Size(60, 240, 120, exponent=2.5))
    perm = permutation(graph, order)
    assert perm.sort().values.tolist() == list(range(60))
    x, c = torch.randn(60, 3), Coefficients()
    torch.testing.assert_close(propagate64(reordered(graph, perm), x[perm], c), propagate64(graph, x, c)[perm])
    if order == "degree":
        assert (graph.degrees()[perm].diff() <= 0).all()


def test_large_results_are_checked_on_selected_rows(monkeypatch):
    monkeypatch.setattr("benchmarks.cases.oracle._ALL_ROWS", 0)
    monkeypatch.setattr("benchmarks.cases.oracle._ROWS", 5)
    graph, c = generate("small", Size(30, 60, 30, exponent=2.5)), Coefficients()
    oracle = Oracle(graph, 4, torch.float32, c)
    x, _ = oracle.inputs(4)
    right = propagate64(graph, x, c).float()
    oracle.check("right", [right])
    hub = int(graph.degrees().argmax())
    right[hub] += 1
    with pytest.raises(AssertionError, match="forward is off"):
        oracle.check("wrong in the hub row", [right])


def test_the_oracle_matches_the_dense_formula():
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
