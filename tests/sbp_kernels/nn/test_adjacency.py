"""Adjacencies are cached until one of their tensors changes or dies, and no longer."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import pytest
import torch
import torch_geometric.utils.sparse
from torch_geometric import EdgeIndex

import sbp_kernels.pyg.edges as edges_module
from sbp_kernels.nn import GCNConv
from sbp_kernels.pyg import adjacency, clear_cache, signed_adjacency
from sbp_kernels.pyg.gcn_norm import gcn_edges
from sbp_kernels.pyg.graph_cache import GRAPH_CACHE
from tests.sbp_kernels.nn.layers import edges

pytestmark = pytest.mark.filterwarnings("ignore:.*[Ss]parse")


def dense(edge_index, weight=None, size=13):
    weight = torch.ones(edge_index.size(1)) if weight is None else weight
    out = torch.zeros(size, size, dtype=torch.float64)
    return out.index_put((edge_index[1].long(), edge_index[0].long()), weight.double(), accumulate=True)


def test_the_same_tensors_share_a_graph_and_its_transpose():
    edge_index, weight = edges(0), torch.rand(edges(0).size(1))
    first = adjacency(edge_index, weight, size=13, normalize="sym").prepare()
    assert adjacency(edge_index, weight, size=13, normalize="sym") is first
    assert adjacency(edge_index, weight, size=13, normalize="row") is not first
    assert adjacency(edge_index, weight.clone(), size=13, normalize="sym") is not first
    # Other options and weights share the sorted pattern.
    assert adjacency(edge_index, size=13).pos.pattern is first.pos.pattern
    learnable = adjacency(edge_index, weight.clone().requires_grad_(), size=13, normalize="sym")
    assert learnable is not first and learnable.pos.pattern is first.pos.pattern


@pytest.mark.parametrize("form", ["list", "EdgeIndex", "coo", "csr", "csc"])
def test_a_change_in_place_is_detected(form):
    edge_index = edges(0)
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.size(1)), (13, 13)).coalesce()
    given = {
        "list": edge_index,
        "EdgeIndex": EdgeIndex(edge_index, sparse_size=(13, 13)),
        "coo": adj_t,
        "csr": adj_t.to_sparse_csr(),
        "csc": adj_t.to_sparse_csc(),
    }[form]
    before = adjacency(given, size=13).pos.to_dense()
    if form in ("list", "EdgeIndex"):
        edge_index[:, 0] = edge_index[:, 1].clone()
        assert torch.equal(adjacency(given, size=13).pos.to_dense(), dense(edge_index))
    else:
        given.values().mul_(3)
        assert torch.equal(adjacency(given, size=13).pos.to_dense(), 3 * before)


def test_weights_changed_in_place_and_data_swapped():
    edge_index, weight = edges(0), torch.rand(edges(0).size(1))
    adjacency(edge_index, weight, size=13)
    weight.neg_()
    torch.testing.assert_close(adjacency(edge_index, weight, size=13).pos.to_dense(), dense(edge_index, weight))
    edge_index.data = edges(3)[:, : edge_index.size(1)].clone()
    weight = weight[: edge_index.size(1)]
    torch.testing.assert_close(adjacency(edge_index, weight, size=13).pos.to_dense(), dense(edge_index, weight))


@pytest.mark.parametrize("write", ["data", "numpy"])
def test_writes_that_pytorch_does_not_count_need_clear_cache(write):
    """The README and the docstrings state this limit, and that `clear_cache` is the remedy."""
    edge_index, weight = edges(0), torch.rand(edges(0).size(1))
    x = torch.randn(13, 6)
    conv = GCNConv(6, 4, normalize=False, bias=False)

    def expected():
        return (dense(edge_index, weight).float() @ conv.lin(x)).detach()

    before = expected()
    torch.testing.assert_close(conv(x, edge_index, weight).detach(), before, rtol=1e-4, atol=1e-5)
    for tensor, value in ((weight, 3.0), (edge_index, 2)):
        if write == "data":
            tensor.data[..., :5] = value
        else:
            tensor.numpy()[..., :5] = value
        clear_cache()
        torch.testing.assert_close(conv(x, edge_index, weight).detach(), expected(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected(), before)


def test_threads_share_the_cache():
    """Eight threads look up and drop more graphs than the cache has room for."""
    shared = [edges(seed) for seed in range(70)]
    wanted = [dense(edge_index) for edge_index in shared]
    failures = []

    def work(start):
        try:
            for i in range(150):
                index = (start + 7 * i) % len(shared)
                graph = adjacency(shared[index], size=13, self_loops=None)
                assert torch.equal(graph.pos.to_dense(), wanted[index])
                adjacency(edges(i % 9).clone(), size=13, normalize="sym")
                if i % 50 == 0:
                    clear_cache()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(9 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_the_cache_keeps_no_tensor_alive():
    clear_cache()
    edge_index, weight = edges(0), torch.rand(edges(0).size(1))
    sources = [weakref.ref(edge_index), weakref.ref(weight)]
    graph = weakref.ref(adjacency(edge_index, weight, size=13, normalize="sym").pos.pattern.rowptr)
    signed_adjacency(edge_index, edge_index, normalize="mean")
    gcn_edges(edge_index, weight, size=13, normalize=False)
    assert len(GRAPH_CACHE) > 0
    del edge_index, weight
    gc.collect()
    assert [source() for source in sources] == [None, None] and graph() is None and len(GRAPH_CACHE) == 0


def test_inference_mode():
    with torch.inference_mode():
        edge_index = edges(0)
        before = adjacency(edge_index, size=13).pos.to_dense()
        edge_index[:, 0] = edge_index[:, 1].clone()
        assert not torch.equal(adjacency(edge_index, size=13).pos.to_dense(), before)
    # A graph that is built in inference mode from a normal tensor can be used in training.
    edge_index = edges(0)
    with torch.inference_mode():
        graph = adjacency(edge_index, size=13, normalize="sym")
    assert not graph.pos.row_scale.is_inference()


def test_signed_weights():
    edge_index = edges(0)
    weight = torch.randn(edge_index.size(1))
    graph = signed_adjacency(edge_index, pos_edge_weight=weight, size=13)
    torch.testing.assert_close(graph.pos.to_dense() - graph.neg.to_dense(), dense(edge_index, weight))
    one = adjacency(edge_index, weight, size=13, normalize="sym").pos.to_dense()
    degree = dense(edge_index, weight.abs()).sum(1)
    scale = torch.where(degree > 0, degree, 1.0).rsqrt()
    torch.testing.assert_close(one, scale[:, None] * dense(edge_index, weight) * scale, rtol=1e-6, atol=1e-7)
    joint = signed_adjacency(edge_index, pos_edge_weight=weight, size=13, normalize="sym", joint=True)
    torch.testing.assert_close(joint.pos.to_dense() - joint.neg.to_dense(), one, rtol=1e-6, atol=1e-7)


class Sparse:
    """The methods of `torch_sparse.SparseTensor` that this package calls."""

    def __init__(self, row, col, value):
        self.parts = (row, col, value)

    def coo(self):
        return self.parts

    def size(self, dim):
        return 13

    def detach(self):
        return self


@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_tensor(monkeypatch, weighted):
    for module in (edges_module, torch_geometric.utils.sparse):
        monkeypatch.setattr(module, "SparseTensor", Sparse)
    edge_index = edges(0)
    weight = torch.rand(edge_index.size(1)) if weighted else torch.ones(edge_index.size(1))
    adj_t = Sparse(edge_index[1], edge_index[0], weight if weighted else None)
    graph = adjacency(adj_t, size=13, self_loops=2.0)
    # Self-loops of a SparseTensor are replaced.
    want = dense(edge_index, weight).fill_diagonal_(2.0)
    torch.testing.assert_close(graph.pos.to_dense(), want)
    assert adjacency(adj_t, size=13, self_loops=2.0) is graph


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(size=5), r"must lie in \[0, 5\)"),
        (dict(size=13, flow="up"), 'flow must be "source_to_target"'),
        (dict(size=(13, 14), self_loops=1.0), "as many sources as targets, got 13 and 14"),
        (dict(edge_weight=torch.ones(3), size=13), "num_edges="),
    ],
)
def test_errors_name_rule_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        adjacency(edges(0), **arguments)


def test_sizes_must_agree():
    adj_t = torch.eye(4).to_sparse_csr()
    with pytest.raises(ValueError, match=r"\(4, 4\), but the features need \(5, 5\)"):
        adjacency(adj_t, size=5)
    with pytest.raises(ValueError, match="flow must be source_to_target"):
        adjacency(adj_t, flow="target_to_source")


def test_pyg_is_imported_only_by_its_own_packages():
    code = """
import sys, sbp_kernels
assert "torch_geometric" not in sys.modules
sys.modules["torch_geometric"] = None
for package in ("nn", "pyg"):
    try:
        __import__("sbp_kernels." + package)
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"sbp_kernels.{package} needs PyTorch Geometric: pip install 'sbp-kernels[pyg]'" for package in ("nn", "pyg")
    ]
