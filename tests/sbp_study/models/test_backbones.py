"""Trained backbones against dense formulas and PyG's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import GCN2Conv, GCNConv
from torch_geometric.nn.models import GAT

from sbp_study import load_dataset
from sbp_study.config import resolve
from sbp_study.models.backbones import build
from sbp_study.training.runner import prepare


def _data() -> Data:
    data = load_dataset("csbm", split=0)
    data.x = data.x.double()
    return data


def _network(data: Data, model: str, layers: int, **settings: Any) -> Any:
    torch.manual_seed(1)
    network = build(data, resolve("karate", model, layers, **settings), 2).double().eval()
    network(data.x)
    for parameter in network.parameters():
        # Zero biases and unit scales would hide where they are applied.
        torch.nn.init.normal_(parameter, std=0.5)
    return network


def _adjacency(data: Data) -> Tensor:
    conv = GCNConv(200, 200, bias=False).double()
    conv.lin.weight.data = torch.eye(200, dtype=torch.float64)
    return conv(torch.eye(200, dtype=torch.float64), data.edge_index).detach()


def _gcn(network: Any, data: Data, between: Any) -> Tensor:
    """Return the scores of a dense network; `between(x, before, index)` follows the weights of a hidden layer."""
    h = data.x
    *hidden, last = network.linears
    for index, linear in enumerate(hidden):
        h = F.relu(between(h @ linear.weight.T, h, index) + linear.bias)
    return _adjacency(data) @ (h @ last.weight.T) + last.bias


def _between(model: str, network: Any, data: Data) -> Any:
    a = _adjacency(data)
    same = data.y[:, None] == data.y[None]
    labels = torch.softmax((1.0 - 2.0 * same.double()) * (data.train_mask[:, None] & data.train_mask[None]), dim=1)
    features = torch.softmax(-data.x @ data.x.T, dim=1)

    def signed(negative: Tensor) -> Any:
        def step(x: Tensor, before: Tensor, index: int) -> Tensor:
            z = a @ x
            return F.layer_norm(0.1 * z + 0.9 * (a @ z - 0.9 * negative @ z), (32,))

        return step

    rule = network.model
    return {
        "gcn": lambda x, before, index: a @ x,
        "batchnorm": lambda x, before, index: rule.norms[index](a @ x),
        "residual": lambda x, before, index: a @ x + before if index else a @ x,
        "wgcn": lambda x, before, index: x + (a @ x - x) * rule.omega[index],
        "label-sbp": signed(labels),
        "feature-sbp": signed(features),
    }[model]


@pytest.mark.parametrize("model", ["gcn", "batchnorm", "residual", "wgcn", "label-sbp", "feature-sbp"])
def test_gcn_backbone_equals_its_definition(model: str) -> None:
    data = _data()
    network = _network(data, model, 4, backbone="gcn")
    torch.testing.assert_close(network(data.x), _gcn(network, data, _between(model, network, data)))
    hidden = network.hidden(data.x)
    assert len(hidden) == 3 and all(h.shape == (200, 32) for h in hidden)


def test_gcnii_backbone_equals_pyg() -> None:
    data = _data()
    network = _network(data, "gcnii", 3)
    h = h0 = F.relu(network.first(data.x))
    for index, weight in enumerate(network.weights):
        conv = GCN2Conv(64, alpha=0.1, theta=0.5, layer=index + 1).double()
        conv.weight1 = weight
        h = F.relu(conv(h, h0, data.edge_index))
    torch.testing.assert_close(network(data.x), network.last(h))


def test_gat_equals_pyg() -> None:
    data = _data()
    network = _network(data, "gat", 3, heads=2)
    assert isinstance(network.gat, GAT)
    torch.testing.assert_close(network(data.x), network.gat(data.x, data.edge_index))


@pytest.mark.parametrize("settings", [{"layer_norm": "none"}, {"layer_norm": "every"}, {"layer_norm": "final"}])
def test_learned_coefficients_start_at_the_fixed_ones(settings: dict[str, Any]) -> None:
    data = _data()
    learned = build(data, resolve("karate", "label-sbp", 5, learn=True, **settings), 2).double().eval()
    fixed = build(data, resolve("karate", "label-sbp", 5, **settings), 2).double().eval()
    fixed.linear.load_state_dict(learned.linear.state_dict())
    # The logit of lambda was float32 before the network was converted to float64.
    torch.testing.assert_close(learned(data.x), fixed(data.x), rtol=1e-5, atol=1e-6)
    learned(data.x).square().sum().backward()
    assert bool((learned.model.raw_coefficients.grad != 0).all())


def test_only_the_nonzeros_of_sparse_features_are_read() -> None:
    data = _data()
    data.x = F.dropout(data.x.repeat(1, 4), 0.95)
    network = _network(data, "label-sbp", 3, learn=True)
    loss = network(data.x).square().sum()
    (sparse,) = torch.autograd.grad(loss, [network.linear.weight])
    assert network._nonzeros is not None and network._nonzeros.pos.num_edges == int(data.x.count_nonzero())
    network._nonzeros = None
    torch.testing.assert_close(network(data.x).square().sum(), loss)
    torch.testing.assert_close(torch.autograd.grad(network(data.x).square().sum(), [network.linear.weight])[0], sparse)
    network(torch.ones_like(data.x))
    assert network._nonzeros is None


def test_random_parts_differ_between_epochs_and_repeat_with_the_seed() -> None:
    data = prepare(load_dataset("karate"), resolve("karate", "sgc"))
    for model in ("dropedge", "dropmessage"):
        config = resolve("karate", model, 2)
        found = []
        for _ in range(2):
            torch.manual_seed(0)
            network = build(data, config, 4).train()
            for _ in range(2):
                network.model.resample()
                found.append(network(data.x).detach())
        assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
        assert not torch.equal(found[0], found[1])
