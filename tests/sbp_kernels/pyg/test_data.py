"""PyG's data objects, transforms and loaders: the graph always agrees with the current tensors."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import ClusterData, ClusterLoader, DataLoader
from torch_geometric.loader.utils import filter_data

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_propagate
from sbp_kernels.pyg import SignedData, ToSignedGraph, from_data, from_hetero_data, to_data
from tests.graphs import GRAPHS, edges, values

N = 23


def signed_data(seed: int = 0, n: int = N) -> Data:
    weight = values(80, seed).float() * torch.tensor([1.0, -1.0]).repeat(40)
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(n) % 3
    return Data(x=x, edge_index=edges(80, n, n, seed), edge_weight=weight, y=y, train_mask=torch.arange(n) % 2 == 0)


def signed_dense(data: Data, n: int) -> Tensor:
    """Return the dense definition: entry (target, source) is the sum of the weights."""
    dense = torch.zeros(n, n, dtype=torch.float64)
    source, target = data.edge_index
    return dense.index_put((target, source), data.edge_weight.double().detach(), accumulate=True)


def difference(graph: SignedGraph) -> Tensor:
    dense = torch.zeros(graph.num_rows, graph.num_cols, dtype=torch.float64)
    return (
        dense + (0 if graph.pos is None else graph.pos.to_dense()) - (0 if graph.neg is None else graph.neg.to_dense())
    )


def is_graph_of(graph: SignedGraph, data: Data) -> bool:
    return torch.allclose(difference(graph), signed_dense(data, data.num_nodes))


def test_from_signed_weights():
    data = signed_data()
    assert is_graph_of(from_data(data), data)
    attr = Data(edge_index=data.edge_index, edge_attr=data.edge_weight.view(-1, 1), num_nodes=N)
    assert is_graph_of(from_data(attr), data)
    ratings = Data(edge_index=data.edge_index, edge_attr=torch.arange(-40, 40), num_nodes=N)
    ratings_as_weights = Data(edge_index=data.edge_index, edge_weight=torch.arange(-40.0, 40.0), num_nodes=N)
    assert is_graph_of(from_data(ratings), ratings_as_weights)


def test_from_two_edge_lists():
    data = Data(pos_edge_index=edges(50, N, N, 1), neg_edge_index=edges(30, N, N, 2), x=torch.randn(N, 2))
    data.neg_edge_weight = torch.rand(30)
    want = SignedGraph.from_edge_index(
        data.pos_edge_index, data.neg_edge_index, N, neg_edge_weight=data.neg_edge_weight
    )
    got = from_data(data)
    assert torch.equal(got.pos.to_dense(), want.pos.to_dense())
    assert torch.equal(got.neg.to_dense(), want.neg.to_dense())


def test_implicit_negatives_and_options():
    data = signed_data()
    data.edge_weight = None
    positive = CSR.from_edge_index(data.edge_index, None, N).add_self_loops().normalize("sym").to_dense()
    options = {"add_self_loops": True, "normalize": "sym"}
    dense = {
        "labels": ClassBlock.from_labels(data.y, data.train_mask).to_dense(),
        "features": Similarity(data.x).to_dense(),
        None: torch.zeros(N, N),
    }
    for negatives, want in dense.items():
        torch.testing.assert_close(difference(from_data(data, negatives=negatives, **options)), positive - want)
    joint = from_data(signed_data(), normalize="row", joint=True)
    sums = joint.pos.to_dense().sum(1) + joint.neg.to_dense().sum(1)
    torch.testing.assert_close(sums, (sums > 0).double())


@pytest.mark.parametrize("name", [n for n in GRAPHS if n not in ("bipartite",)])
def test_to_data_and_back(name):
    graph = GRAPHS[name]()
    if not all(half is None or isinstance(half, CSR) for half in (graph.pos, graph.neg)):
        with pytest.raises(ValueError, match="a Data holds sparse halves"):
            to_data(graph)
        return
    data = to_data(graph, y=torch.arange(graph.num_nodes))
    back = from_data(data)
    for a, b in ((graph.pos, back.pos), (graph.neg, back.neg)):
        assert torch.allclose(b.to_dense(), torch.zeros_like(b.to_dense()) if a is None else a.to_dense(), atol=1e-6)
    assert data.num_nodes == graph.num_nodes and data.y.numel() == graph.num_nodes


def test_self_loops_agree_with_the_graph_method():
    """Some nodes have a negative self-loop, or a self-loop with a weight other than 1."""
    data = signed_data()
    loops = torch.tensor([[3, 3, 5, 8], [3, 3, 5, 8]])
    data.edge_index = torch.cat([data.edge_index, loops], 1)
    data.edge_weight = torch.cat([data.edge_weight, torch.tensor([0.5, -1.0, -2.0, 3.0])])
    got, want = from_data(data, add_self_loops=True), from_data(data).add_self_loops()
    assert torch.equal(got.pos.to_dense(), want.pos.to_dense())
    assert torch.equal(got.neg.to_dense(), want.neg.to_dense())
    assert got.pos.to_dense().diagonal()[torch.tensor([0, 3, 5, 8])].tolist() == [1.0, 0.5, 1.0, 3.0]


def test_gradients_reach_the_weights_of_the_data():
    data = signed_data()
    data.edge_weight.requires_grad_()
    out = signed_propagate(data.x, from_data(data, normalize="row"))
    out.square().sum().backward()
    # Graphs of learnable weights must not be cached across steps.
    rule = ToSignedGraph(normalize="row")(data)
    for _ in range(2):
        (again,) = torch.autograd.grad(signed_propagate(data.x, rule.signed_graph).square().sum(), rule.edge_weight)
        torch.testing.assert_close(again, data.edge_weight.grad)


def test_the_transform_detects_changes_of_the_data():
    data = ToSignedGraph()(signed_data())
    graph = data.signed_graph
    assert is_graph_of(graph, data) and data.signed_graph is graph
    data.x = data.x * 2  # the graph does not depend on x
    assert copy.copy(data).signed_graph is graph
    data.edge_weight.mul_(-2.0)
    assert is_graph_of(data.signed_graph, data) and data.signed_graph is not graph
    data.edge_index = data.edge_index.flip(0)
    assert is_graph_of(data.signed_graph, data)
    part = data.subgraph(torch.arange(7))
    assert part.signed_graph.num_nodes == 7 and is_graph_of(part.signed_graph, part)
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data)), copy.copy(data).to("cpu")):
        assert is_graph_of(other.signed_graph, data)
    # On the meta device a graph cannot be built, and the cached one must not be returned.
    moved = copy.copy(data).to("meta")
    with pytest.raises(RuntimeError, match="meta"):
        _ = moved.signed_graph


@pytest.mark.parametrize(("negatives", "name"), [("labels", "y"), ("labels", "train_mask"), ("features", "x")])
def test_implicit_negatives_detect_changes_of_the_data(negatives, name):
    data = signed_data()
    data.edge_weight = None
    data = ToSignedGraph(negatives)(data)
    before = data.signed_graph.neg.to_dense()
    data[name] = data[name].roll(1, 0)
    want = from_data(Data(**{key: data[key] for key in ("edge_index", "x", "y", "train_mask")}), negatives=negatives)
    assert torch.equal(data.signed_graph.neg.to_dense(), want.neg.to_dense())
    assert not torch.equal(data.signed_graph.neg.to_dense(), before)


def test_the_transform_converts_signs_to_edge_weights():
    pos, neg = edges(50, N, N, 1), edges(30, N, N, 2)
    data = ToSignedGraph(normalize="row")(Data(x=torch.randn(N, 2), pos_edge_index=pos, neg_edge_index=neg))
    assert isinstance(data, SignedData) and "pos_edge_index" not in data and data.edge_weight.sum() == 20
    want = SignedGraph.from_edge_index(pos, neg, N).normalize("row")
    torch.testing.assert_close(difference(data.signed_graph), difference(want))


@pytest.mark.parametrize("before", [True, False], ids=["transform, then batch", "batch, then from_data"])
def test_batches_of_disjoint_graphs(before):
    graphs = [signed_data(seed, n) for seed, n in ((0, 23), (1, 9), (2, 14), (3, 30))]
    each = [ToSignedGraph(normalize="sym")(graph) for graph in graphs] if before else graphs
    batches = list(DataLoader(each, batch_size=2))
    for i, batch in enumerate(batches):
        graph = batch.signed_graph if before else from_data(batch, normalize="sym")
        parts = [difference(from_data(g, normalize="sym")) for g in graphs[2 * i : 2 * i + 2]]
        torch.testing.assert_close(difference(graph), torch.block_diag(*parts))
    if before:
        assert is_graph_of(ToSignedGraph().graph(batches[0][1]), graphs[1])
        unpickled = pickle.loads(pickle.dumps(batches[1]))
        torch.testing.assert_close(difference(unpickled.signed_graph), difference(batches[1].signed_graph))


def sampled(data: Data) -> Data:
    """Return the batch that `NeighborLoader` builds from sampled nodes, relabelled edges and edge ids."""
    node = torch.tensor([4, 0, 17, 9, 11, 2, 20])
    edge_ids = torch.isin(data.edge_index, node).all(0).nonzero().squeeze(1)
    local = torch.full((data.num_nodes,), -1).index_put((node,), torch.arange(node.numel()))
    row, col = local[data.edge_index[:, edge_ids]]
    batch = filter_data(data, node, row, col, edge_ids)
    batch.n_id, batch.e_id, batch.batch_size = node, edge_ids, 2
    return batch


@pytest.mark.parametrize("negatives", ["edges", "labels"])
def test_sampled_batches(negatives):
    data = signed_data()
    if negatives == "labels":
        data.edge_weight = None
    transform = ToSignedGraph(negatives)
    whole = transform(data)
    _ = whole.signed_graph
    batch = sampled(whole)
    want = from_data(
        Data(**{k: batch[k] for k in ("x", "y", "train_mask", "edge_index", "edge_weight") if k in batch}),
        negatives=negatives,
    )
    assert batch.signed_graph.num_nodes == 7
    assert torch.equal(difference(batch.signed_graph), difference(want))
    # `ToSignedGraph` works as the loader's own `transform`.
    assert torch.equal(difference(transform(sampled(data)).signed_graph), difference(want))
    pairs = Data(pos_edge_index=edges(5, 7, 7, 0), neg_edge_index=edges(5, 7, 7, 1), n_id=torch.arange(7))
    with pytest.raises(ValueError, match="keeps pos_edge_index and neg_edge_index of the whole graph"):
        from_data(pairs)


def test_neighbor_loader():
    loader = pytest.importorskip("torch_geometric.loader")
    data = ToSignedGraph(normalize="row")(signed_data())
    try:
        batches = list(loader.NeighborLoader(data, num_neighbors=[3, 2], batch_size=5))
    except ImportError as error:
        pytest.skip(str(error))
    for batch in batches:
        dense = signed_dense(batch, batch.num_nodes)
        want = dense / dense.abs().sum(1, keepdim=True).clamp(min=1e-12)
        assert batch.signed_graph.num_nodes == batch.num_nodes and want.shape == dense.shape
        source, target = batch.n_id[batch.edge_index]
        assert torch.equal(torch.stack([source, target]), data.edge_index[:, batch.e_id])
        assert torch.equal(batch.edge_weight, data.edge_weight[batch.e_id])
        assert is_graph_of(from_data(batch), batch)


def test_cluster_loader(monkeypatch):
    data = ToSignedGraph(normalize="row")(signed_data())
    # METIS is a part of pyg-lib; any partition serves this test.
    monkeypatch.setattr(ClusterData, "_metis", lambda self, edge_index, n: torch.arange(n) % self.num_parts)
    clusters = ClusterData(data, num_parts=5, log=False)
    sizes = 0
    for batch in ClusterLoader(clusters, batch_size=2):
        want = from_data(Data(edge_index=batch.edge_index, edge_weight=batch.edge_weight, num_nodes=batch.num_nodes))
        assert torch.equal(difference(batch.signed_graph), difference(want.normalize("row")))
        sizes += batch.num_nodes
    assert sizes == N


def test_one_graph_per_relation():
    data = HeteroData()
    data["user"].x, data["item"].x = torch.randn(9, 4), torch.randn(6, 4)
    data["user", "rates", "item"].edge_index = edges(20, 9, 6, 0)
    data["user", "rates", "item"].edge_attr = torch.tensor([1.0, -1.0]).repeat(10)
    data["user", "knows", "user"].edge_index = edges(15, 9, 9, 1)
    data["user", "knows", "user"].edge_weight = torch.ones(15)
    graphs = from_hetero_data(data, normalize="row", add_self_loops=True)
    rates, knows = graphs["user", "rates", "item"], graphs["user", "knows", "user"]
    assert (rates.num_rows, rates.num_cols) == (6, 9) and knows.pos.to_dense().diagonal().gt(0).all()
    store = data["user", "rates", "item"]
    want = SignedGraph.from_edge_weight(store.edge_index, store.edge_attr, size=(9, 6)).normalize("row")
    assert torch.equal(difference(rates), difference(want))
    plain = from_hetero_data(data.to("cpu"), negatives=None)
    assert plain["user", "knows", "user"].neg is None
    with pytest.raises(ValueError, match='must be "edges" or None'):
        from_hetero_data(data, negatives="labels")


def test_errors():
    data = signed_data()
    bare = Data(edge_index=data.edge_index, num_nodes=N)
    with pytest.raises(ValueError, match="the data has no signs"):
        from_data(bare)
    with pytest.raises(ValueError, match=r"needs data\.y"):
        from_data(bare, negatives="labels")
    with pytest.raises(ValueError, match="negatives must be"):
        from_data(data, negatives="auto")
    with pytest.raises(ValueError, match="data must be a Data, got HeteroData"):
        from_data(HeteroData())
    with pytest.raises(ValueError, match="edge weights must be >= 0"):
        from_data(data, negatives="labels")
    with pytest.raises(ValueError, match="one number per edge"):
        from_data(Data(edge_index=data.edge_index, edge_attr=torch.rand(80, 2), num_nodes=N))
    with pytest.raises(ValueError, match="a Data holds a square graph"):
        to_data(GRAPHS["bipartite"]())
    with pytest.raises(ValueError, match="weights of the pos half must be >= 0"):
        to_data(SignedGraph(CSR(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([-1.0]))))
    batch = Batch.from_data_list([data, data])
    with pytest.raises(ValueError, match="data must be a Data, got DataBatch"):
        ToSignedGraph()(batch)
    batch.edge_weight = None
    with pytest.raises(NotImplementedError, match="would repel across graphs"):
        from_data(batch, negatives="labels")
    mixed = Batch.from_data_list([ToSignedGraph()(data), ToSignedGraph(normalize="row")(data)])
    with pytest.raises(ValueError, match="must come from one ToSignedGraph"):
        _ = mixed.signed_graph
