"""`cached=True`: a layer stores the same values as PyG's layer, so that each can use what the other stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

import sbp_kernels.nn as ours
import sbp_kernels.pyg.gcn_norm as norm_module
from sbp_kernels.adjacency.sparsity import SparsityPattern
from sbp_kernels.nn import accelerate, restore
from sbp_kernels.pyg import clear_cache
from tests.sbp_kernels.nn.layers import edges, in_form

pytestmark = pytest.mark.filterwarnings("error:.*runs PyG's own forward", "ignore:.*([Ss]parse|CSR)")

LAYERS: dict[str, tuple[Any, int]] = {
    "GCNConv": (lambda p: p.GCNConv(6, 4, cached=True), 1),
    "GCNConv improved": (lambda p: p.GCNConv(6, 4, cached=True, improved=True), 1),
    "GCNConv without loops": (lambda p: p.GCNConv(6, 4, cached=True, add_self_loops=False), 1),
    "GCNConv reversed": (lambda p: p.GCNConv(6, 4, cached=True, flow="target_to_source"), 1),
    "APPNP": (lambda p: p.APPNP(3, 0.1, cached=True), 1),
    "GCN2Conv": (lambda p: p.GCN2Conv(6, 0.1, cached=True), 2),
    "FAConv": (lambda p: p.FAConv(6, cached=True), 2),
}
FORMS = ["edge_index", "weighted", "EdgeIndex", "coo", "csr"]


def pair(make: Any) -> tuple[Any, Any]:
    layers = []
    for package in (pyg, ours):
        torch.manual_seed(1)
        layers.append(make(package))
    return layers[0], layers[1]


def features(count: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(13, 6, dtype=dtype) for _ in range(count)]


def same(got: Any, want: Any) -> None:
    """Compare nested tuples and tensors: equal types, close values."""
    assert type(got) is type(want), (type(got), type(want))
    if isinstance(want, tuple):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            same(g, w)
    elif isinstance(want, Tensor):
        assert got.dtype == want.dtype and got.layout == want.layout and got.shape == want.shape
        assert got.requires_grad == want.requires_grad
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_stored_is_pygs(name: str, form: str) -> None:
    make, count = LAYERS[name]
    if "reversed" in name and form in ("coo", "csr"):
        pytest.skip("PyG reads a sparse matrix by its rows")
    theirs, mine = pair(make)
    edge_index = edges(0)
    weight = torch.rand(edge_index.size(1)) if form in ("weighted", "coo", "csr") and name != "FAConv" else None
    given = [a for a in in_form("edge_index" if form == "weighted" else form, edge_index, weight) if a is not None]
    x = features(count)
    same(mine(*x, *given), theirs(*x, *given))
    same(mine._cached_edge_index, theirs._cached_edge_index)
    assert mine._cached_adj_t is theirs._cached_adj_t is None
    # Later calls use the stored value, whatever edges they are given.
    other = edges(3)
    stored = mine._cached_edge_index
    same(mine(*x, other), theirs(*x, other))
    assert mine._cached_edge_index is stored
    # PyG's code uses the stored value, and the accelerated layer uses the value that PyG stored.
    want = mine(*x, other)
    restore(mine), accelerate(theirs)
    same(mine(*x, other), want)
    same(theirs(*x, other), want)
    assert type(theirs) is type(pair(make)[1]) and theirs._cached_edge_index is not None
    for layer in (mine, theirs):
        layer.reset_parameters()
        assert layer._cached_edge_index is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types_are_those_of_the_features(dtype: torch.dtype) -> None:
    theirs, mine = (layer.to(dtype) for layer in pair(LAYERS["GCNConv"][0]))
    x = features(1, dtype)
    theirs(*x, edges(0)), mine(*x, edges(0))
    (_, want), (_, got) = theirs._cached_edge_index, mine._cached_edge_index
    assert got.dtype == want.dtype == dtype
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)


def test_edges_without_loops_are_the_given_ones() -> None:
    clear_cache()
    for package in (pyg, ours):
        conv, edge_index = package.GCNConv(6, 4, cached=True, add_self_loops=False), edges(0)
        conv(features(1)[0], edge_index)
        assert conv._cached_edge_index[0] is edge_index


def test_weights_that_require_a_gradient_are_stored_with_it() -> None:
    theirs, mine = pair(LAYERS["GCNConv"][0])
    weight = torch.rand(edges(0).size(1), requires_grad=True)
    (x,) = features(1)
    outs = [layer(x, edges(0), weight) for layer in (mine, theirs)]
    same(mine._cached_edge_index, theirs._cached_edge_index)
    grads = [torch.autograd.grad(out.square().sum(), weight)[0] for out in outs]
    torch.testing.assert_close(grads[0], grads[1])


def test_nothing_of_a_transform_is_stored() -> None:
    conv, weight, (x,) = ours.GCNConv(6, 4, cached=True), torch.rand(edges(0).size(1)), features(1)
    torch.func.grad(lambda w: conv(x, edges(0), w).sum())(weight)
    assert conv._cached_edge_index is None
    torch.func.grad(lambda z: conv(z, edges(0), weight).sum())(x)
    plain = pair(LAYERS["GCNConv"][0])[1]
    plain(x, edges(0), weight)
    same(conv._cached_edge_index, plain._cached_edge_index)


def test_inference_first_and_training_after() -> None:
    conv, (x,) = ours.GCNConv(6, 4, cached=True), features(1)
    with torch.inference_mode():
        want = conv(x, edges(0)).clone()
    out = conv(x, edges(0))
    out.sum().backward()
    torch.testing.assert_close(out, want)


@pytest.mark.parametrize("form", ["edge_index", "csr"])
def test_layers_share_one_graph(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more layers than the cache has room for; each stores PyG's tensors, which are the same objects."""
    convs = [ours.GCN2Conv(6, 0.1, layer=i + 1, theta=0.5, cached=True) for i in range(80)]
    (adjacency, _), x = in_form(form, edges(0), None), features(1)[0]
    for conv in convs:
        conv(x, x, adjacency)
    assert all(conv._cached_edge_index[0] is convs[0]._cached_edge_index[0] for conv in convs)
    monkeypatch.setattr(SparsityPattern, "from_coo", lambda *_: pytest.fail("sorted again"))
    for conv in convs:
        conv(x, x, adjacency)


def test_sgconv_stores_propagated_features() -> None:
    theirs, mine = pair(lambda p: p.SGConv(6, 4, K=2, cached=True))
    (x,) = features(1)
    for edge_index in (edges(0), edges(3)):
        same(mine(x, edge_index), theirs(x, edge_index))
        torch.testing.assert_close(mine._cached_x, theirs._cached_x)
    mine.reset_parameters()
    assert mine._cached_x is None
    for layer in pair(lambda p: p.SGConv(6, 4, K=0, cached=True)):
        layer(x, edges(0))
        assert layer._cached_x is None


class Sparse:
    """The methods of `torch_sparse.SparseTensor` that this package calls; torch_sparse need not be installed."""

    def __init__(self, row: Tensor, col: Tensor, value: Tensor | None) -> None:
        self.parts = (row, col, value)

    def has_value(self) -> bool:
        return self.parts[2] is not None

    def fill_value(self, value: float, dtype: torch.dtype) -> Sparse:
        return Sparse(*self.parts[:2], torch.full((self.parts[0].numel(),), value, dtype=dtype))

    def set_value(self, value: Tensor, layout: str) -> Sparse:
        assert layout == "coo"
        return Sparse(*self.parts[:2], value)

    def coo(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.parts

    def size(self, dim: int) -> int:
        return 13

    def detach(self) -> Sparse:
        return self


def test_a_sparse_tensor_is_stored_where_pyg_stores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch_geometric.utils.sparse

    import sbp_kernels.nn.fused as fused_module
    import sbp_kernels.pyg.edges as edges_module

    for module in (edges_module, norm_module, fused_module, torch_geometric.utils.sparse):
        monkeypatch.setattr(module, "SparseTensor", Sparse)
    edge_index, (x,) = edges(0), features(1)
    conv = ours.GCNConv(6, 4, cached=True, add_self_loops=False)
    weight = torch.rand(edge_index.size(1))
    want = ours.GCNConv(6, 4, add_self_loops=False)
    want.load_state_dict(conv.state_dict())
    adj_t = Sparse(edge_index[1], edge_index[0], weight)
    for _ in range(2):
        torch.testing.assert_close(conv(x, adj_t), want(x, edge_index, weight))
    assert isinstance(conv._cached_adj_t, Sparse) and conv._cached_edge_index is None
    stored = conv._cached_adj_t
    conv(x, Sparse(edge_index[0], edge_index[1], None))
    assert conv._cached_adj_t is stored
    conv.reset_parameters()
    assert conv._cached_adj_t is None


def test_msconv_stores_the_laplacian() -> None:
    theirs = pytest.importorskip("torch_geometric_signed_directed.nn", reason="PyGSD is not installed")
    from sbp_kernels.nn import signed_directed as mine

    layers = []
    for package in (theirs, mine):
        torch.manual_seed(1)
        layers.append(package.MSConv(6, 4, 2, 0.1, False, cached=True))
    x, edge_index = features(2), edges(0)
    weight = torch.rand(edge_index.size(1)) + 0.1
    for given in (edge_index, edge_index.flip(0)):
        want, got = (layer(*x, given, weight) for layer in layers)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        same(layers[1].cached_result, layers[0].cached_result)
        assert (layers[1].cached_num_edges, layers[1].cached_q) == (layers[0].cached_num_edges, layers[0].cached_q)
    for layer in layers:
        with pytest.raises(RuntimeError, match="Cached 55 number of edges, but found 5"):
            layer(*x, edge_index[:, :5], weight[:5])
        layer.reset_parameters()
        assert layer.cached_result is None
    learnable = weight.clone().requires_grad_()
    layers[1].load_state_dict(layers[0].state_dict())
    grads = [
        torch.autograd.grad(sum(part.square().sum() for part in layer(*x, edge_index, learnable)), learnable)[0]
        for layer in layers
    ]
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-5)
