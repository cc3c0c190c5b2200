"""Layers on more than one plain graph: bipartite and batched features, negative weights, norms, losses."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg

import sbp_kernels.nn as ours
from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_propagate
from sbp_kernels.nn.sampling import absent_edges, absent_targets, sample
from tests.sbp_kernels.nn.layers import both, edges, in_form, run

pytestmark = pytest.mark.filterwarnings("error:.*runs PyG's own forward", "ignore:.*[Ss]parse")


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("form", ["edge_index", "csr"])
def test_bipartite_signed_conv(first, form):
    theirs, mine = both("SignedConv", dict(in_channels=6 if first else 3, out_channels=4, first_aggr=first))
    torch.manual_seed(0)
    source, target = torch.randn(9, 6), torch.randn(5, 6)
    halves = [torch.stack([torch.randint(9, (20,)), torch.randint(5, (20,))]) for _ in range(2)]
    halves = [half.unique(dim=1) for half in halves]
    if form == "csr":
        halves = [
            torch.sparse_coo_tensor(half.flip(0), torch.ones(half.size(1)), (5, 9)).to_sparse_csr() for half in halves
        ]
    leaves = [source.requires_grad_(), target.requires_grad_()]
    outs = [layer(tuple(leaves), *halves) for layer in (mine, theirs)]
    same(*outs)
    for pair in zip(*(torch.autograd.grad(out.square().sum(), leaves) for out in outs), strict=True):
        same(*pair)


def test_values_of_a_sparse_matrix_are_weights_of_a_mean():
    theirs, mine = both("SignedConv", dict(in_channels=6, out_channels=4, first_aggr=True))
    x, weight = torch.randn(13, 6), torch.rand(edges(0).size(1))
    halves = [in_form("csr", edges(0), weight)[0], in_form("csr", edges(1), None)[0]]
    same(mine(x, *halves), theirs(x, *halves))


@pytest.mark.parametrize("name", ["GCNConv", "SGConv", "APPNP", "LGConv"])
def test_batched_features_on_one_graph(name):
    arguments = {"APPNP": dict(K=3, alpha=0.1), "LGConv": {}}.get(name, dict(in_channels=6, out_channels=4))
    theirs, mine = both(name, arguments)
    x, edge_index = torch.randn(2, 3, 13, 6), edges(0)
    for got, want in zip(run(mine, [x], [edge_index])[1], run(theirs, [x], [edge_index])[1], strict=True):
        same(got, want)
    same(mine(x, edge_index), theirs(x, edge_index))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("form", ["edge_index", "csr"])
def test_degrees_of_negative_weights_are_defined(form, cached):
    torch.manual_seed(0)
    conv = ours.GCNConv(6, 4, bias=False, cached=cached)
    x, edge_index = torch.randn(13, 6), edges(0)
    weight = torch.randn(edge_index.size(1))
    adjacency = [a for a in in_form(form, edge_index, weight) if a is not None]
    dense = torch.zeros(13, 13).index_put((edge_index[1], edge_index[0]), weight, accumulate=True)
    absolute = torch.zeros(13, 13).index_put((edge_index[1], edge_index[0]), weight.abs(), accumulate=True)
    # PyG sums the duplicates of a matrix, and adds a self-loop to an existing one.
    loops = torch.eye(13) if form == "csr" else torch.diag((dense.diagonal() == 0).float())
    absolute = (dense.abs() if form == "csr" else absolute) + loops
    scale = absolute.sum(1).rsqrt()
    want = scale[:, None] * (dense + loops) * scale @ conv.lin(x)
    for _ in range(2):
        same(conv(x, *adjacency), want)


def test_learnable_sparse_values():
    x, edge_index = torch.randn(13, 6), edges(0).unique(dim=1)
    value = torch.rand(edge_index.size(1), requires_grad=True)
    theirs, mine = both("GCNConv", dict(in_channels=6, out_channels=4))
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), value, (13, 13)).coalesce()
    got = torch.autograd.grad(mine(x, adj_t, None).square().sum(), value)[0]
    loops = edge_index[0] == edge_index[1]
    weight = value.detach() + loops
    leaf = weight.requires_grad_()
    want = torch.autograd.grad(theirs(x, edge_index, leaf).square().sum(), leaf)[0]
    same(got, want)


def test_attention_weights():
    theirs, mine = both("FAConv", dict(channels=6))
    x, x_0 = torch.randn(2, 13, 6)
    got, want = (layer(x, x_0, edges(0), return_attention_weights=True) for layer in (mine, theirs))
    same(got[0], want[0])
    same(got[1][1], want[1][1])
    assert torch.equal(got[1][0], want[1][0])
    with pytest.raises(ValueError, match="only with normalize=False"):
        mine(x, x_0, edges(0), torch.ones(edges(0).size(1)))


def test_a_cached_layer_keeps_its_first_graph():
    theirs, mine = both("GCNConv", dict(in_channels=6, out_channels=4, cached=True))
    x = torch.randn(13, 6)
    for edge_index in (edges(0), edges(1)):
        same(mine(x, edge_index), theirs(x, edge_index))
    for got, want in zip(mine._cached_edge_index, theirs._cached_edge_index, strict=True):
        same(got, want)
    mine.reset_parameters()
    mine.load_state_dict(theirs.state_dict())
    assert mine._cached_edge_index is None
    theirs._cached_edge_index = None
    same(mine(x, edges(1)), theirs(x, edges(1)))


@pytest.mark.parametrize("arguments", [{}, dict(scale=2.0), dict(scale_individually=True)])
def test_pair_norm(arguments):
    x = torch.randn(50, 7, requires_grad=True)
    batch = torch.arange(50) // 20
    for given in ([x], [x, batch]):
        outs = [package.PairNorm(**arguments)(*given) for package in (ours, pyg)]
        same(*outs)
        same(*(torch.autograd.grad(out.square().sum() + out[0].sum(), x)[0] for out in outs))
    assert repr(ours.PairNorm()) == "PairNorm()"
    collapsed = torch.ones(50, 7) * 3
    assert torch.equal(ours.PairNorm()(collapsed), pyg.PairNorm()(collapsed))


@pytest.mark.parametrize("normalize", [True, False])
def test_contra_norm(normalize):
    x = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    norm = ours.ContraNorm(scale=0.3, temperature=0.7, normalize=normalize)
    x0 = F.normalize(x, dim=1) if normalize else x
    want = 1.3 * x - 0.3 * torch.softmax(x0 @ x0.T / 0.7, 1) @ x
    got = norm(x)
    same(got, want)
    same(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (got, want)))
    with_norm = ours.ContraNorm(channels=5)
    assert [name for name, _ in with_norm.named_parameters()] == ["norm.weight", "norm.bias"]
    with pytest.raises(ValueError, match="got -1"):
        ours.ContraNorm(scale=-1)


def test_sbp_conv():
    torch.manual_seed(0)
    x, pos, neg = torch.randn(13, 6), edges(0), edges(1)
    y, known, x0 = torch.randint(3, (13,)), torch.rand(13) < 0.6, torch.randn(13, 4)
    positive = CSR.from_edge_index(pos, num_nodes=13).add_self_loops().normalize("sym")
    cases = [
        (dict(neg_edge_index=neg), CSR.from_edge_index(neg, num_nodes=13).normalize("sym")),
        (dict(y=y, known=known), ClassBlock.from_labels(y, known)),
        (dict(x0=x0), Similarity(x0)),
        (dict(x0=x0.clone().requires_grad_()), Similarity(x0)),
        ({}, None),
    ]
    conv = ours.SBPConv(0.9, 0.5, 0.3, num_steps=2)
    for given, negative in cases:
        want = signed_propagate(x, SignedGraph(positive, negative), alpha=0.9, beta=0.5, lam=0.3, num_steps=2)
        for _ in range(2):
            same(conv(x, pos, **given), want)
    conv = ours.SBPConv(0.9, 0.5, 0.3, learnable=["alpha", "lam"])
    assert [name for name, _ in conv.named_parameters()] == ["alpha", "lam"]
    grads = torch.autograd.grad(conv(x, pos, neg).square().sum(), list(conv.parameters()))
    with torch.no_grad():
        conv.alpha += 1
    conv.reset_parameters()
    assert float(conv.alpha) == pytest.approx(0.9) and all(float(g) != 0 for g in grads)
    assert repr(conv) == "SBPConv(alpha=0.9, beta=0.5, lam=0.3, num_steps=1)"
    with pytest.raises(ValueError, match="not several"):
        conv(x, pos, neg, x0=x0)
    with pytest.raises(ValueError, match="got \\('gamma',\\)"):
        ours.SBPConv(learnable=["gamma"])


@pytest.mark.parametrize("layers", [1, 3])
def test_signed_gcn_has_the_losses_of_pyg(layers):
    models = []
    for package in (pyg, ours):
        torch.manual_seed(0)
        models.append(package.SignedGCN(6, 16, num_layers=layers, lamb=3).double())
    theirs, mine = models
    assert repr(mine) == repr(theirs) and list(mine.state_dict()) == list(theirs.state_dict())
    torch.manual_seed(1)
    x = torch.randn(40, 6, dtype=torch.float64)
    pos, neg = edges(0, 150, 42), edges(1, 60, 42)
    found = []
    for model in models:
        torch.manual_seed(2), random.seed(2)
        z = model(x, pos, neg)
        parts = [z, model.discriminate(z, pos), model.nll_loss(z, pos, neg), model.pos_embedding_loss(z, pos)]
        loss = model.loss(z, pos, neg)
        found.append([*parts, loss, *torch.autograd.grad(loss, list(model.parameters())), torch.rand(1)])
        assert model.test(z, pos, neg)[0] > 0
    for got, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_samples_equal_those_of_pyg_for_a_seed():
    for population, k in (
        (10**6, 4000),
        (2**20 + 1, 300),
        (100, 50),
        (2**34, 9),
        (10**6, 0),
        (3000, 2900),
        (4200, 1300),
    ):
        for seed in range(3):
            random.seed(seed)
            [random.random() for _ in range(300 * seed)]
            state = random.getstate()
            want, after = random.sample(range(population), k), random.getstate()
            random.setstate(state)
            assert sample(population, k).tolist() == want and random.getstate() == after
    few = torch.combinations(torch.arange(4)).T
    for pos, n in ((edges(0), 13), (few, 4), (few[:, :0], 4), (torch.cat([few, few.flip(0)], 1), 4)):
        found = absent_edges(pos, pos[:, :2].flip(0), n)
        assert not (set(map(tuple, pos.T.tolist())) & set(map(tuple, found.T.tolist())))
        assert bool((found[0] != found[1]).all())
    k = absent_targets(edges(0), 13)
    assert not (set(map(tuple, edges(0).T.tolist())) & set(zip(edges(0)[0].tolist(), k.tolist(), strict=True)))
