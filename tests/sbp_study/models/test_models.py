"""Propagation rules against their dense definitions, and tests against label leakage."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from sbp_study import list_models, load_dataset, train
from sbp_study.config import Config, resolve
from sbp_study.models import MODELS
from sbp_study.models.backbones import build
from sbp_study.presets import MODEL_PRESETS


def _data(dtype: torch.dtype = torch.float64) -> Data:
    data = load_dataset("csbm", split=0)
    data.x = data.x.to(dtype)
    return data


def _features(data: Data, model: str, layers: int, **settings: Any) -> Tensor:
    config = resolve("karate", model, layers, **settings)
    rule = MODELS[model](data, config)
    return rule.output(rule.propagate(data.x, layers))


def _dense_adjacency(data: Data, norm: str = "sym", self_loops: bool = True, flip: bool = False) -> Tensor:
    source, target = data.edge_index.flip(0) if flip else data.edge_index
    a = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    a[target, source] = 1.0
    if self_loops:
        a.fill_diagonal_(1.0)
    degree = a.sum(1, keepdim=True)
    return a / degree if norm == "row" else a / (degree.sqrt() @ degree.sqrt().T)


def _label_softmax(data: Data) -> Tensor:
    same = data.y[:, None] == data.y[None]
    known = data.train_mask[:, None] & data.train_mask[None]
    return torch.softmax((1.0 - 2.0 * same.double()) * known, dim=1)


def _steps(x: Tensor, pos: Tensor, neg: Tensor, layers: int, lam: float, beta: float, every: bool = False) -> Tensor:
    for _ in range(layers):
        x = (1 - lam) * x + lam * (pos @ x - beta * neg @ x)
        x = F.layer_norm(x, (x.size(1),)) if every else x
    return x


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("self_loops", [True, False])
def test_sgc_is_a_power_of_the_adjacency(norm: str, self_loops: bool) -> None:
    data = _data()
    a = _dense_adjacency(data, norm, self_loops)
    got = _features(data, "sgc", 3, norm=norm, self_loops=self_loops)
    torch.testing.assert_close(got, a @ a @ a @ data.x)


def test_mlp_uses_the_input_features() -> None:
    data = _data()
    assert torch.equal(_features(data, "mlp", 5), data.x)


@pytest.mark.parametrize("layer_norm", ["none", "final", "every"])
def test_label_sbp_equals_its_definition(layer_norm: str) -> None:
    data = _data()
    wanted = _steps(data.x, _dense_adjacency(data), _label_softmax(data), 4, 0.5, 0.9, layer_norm == "every")
    if layer_norm == "final":
        wanted = F.layer_norm(wanted, (8,))
    got = _features(data, "label-sbp", 4, lam=0.5, beta=0.9, layer_norm=layer_norm)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_feature_sbp_equals_its_definition(temperature: float) -> None:
    data = _data()
    negative = torch.softmax(-data.x @ data.x.T / temperature, dim=1)
    wanted = _steps(data.x, _dense_adjacency(data), negative, 3, 0.9, 0.5)
    got = _features(data, "feature-sbp", 3, lam=0.9, beta=0.5, temperature=temperature)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("layer_norm", ["none", "every"])
def test_label_sbp_v2_equals_its_definition(layer_norm: str) -> None:
    data = _data()
    known = data.train_mask[:, None] & data.train_mask[None]
    a = _dense_adjacency(data) > 0
    a = (a & ~(known & (data.y[:, None] != data.y[None]))).double()
    degree = a.sum(1, keepdim=True)
    assert 0 < float(a.sum()) < data.num_edges
    a = a / (degree.sqrt() @ degree.sqrt().T)
    wanted = _steps(data.x, a, torch.zeros_like(a), 3, 0.4, 0.0, layer_norm == "every")
    torch.testing.assert_close(_features(data, "label-sbp-v2", 3, lam=0.4, layer_norm=layer_norm), wanted)


@pytest.mark.parametrize("layer_norm", ["none", "every"])
def test_feature_sbp_v2_equals_its_definition(layer_norm: str) -> None:
    data = _data()
    a, mix, wanted = _dense_adjacency(data), torch.softmax(-data.x.T @ data.x, dim=1), data.x
    for _ in range(3):
        wanted = 0.6 * wanted + 0.4 * (a @ wanted - 0.7 * wanted @ mix)
        wanted = F.layer_norm(wanted, (8,)) if layer_norm == "every" else wanted
    got = _features(data, "feature-sbp-v2", 3, lam=0.4, beta=0.7, layer_norm=layer_norm)
    torch.testing.assert_close(got, wanted)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


AFTER: dict[str, tuple[str, dict[str, Any], Any]] = {
    "batchnorm": ("batchnorm", {}, lambda z: _centred(z) / (z.var(0, correction=0) + 1e-5).sqrt()),
    "batchnorm, length": (
        "batchnorm",
        {"column_scale": "length"},
        lambda z: _centred(z) / (z.var(0, correction=0) + 1e-5).sqrt() / 200**0.5,
    ),
    "PN": (
        "pairnorm",
        {"norm_scale": 2.0},
        lambda z: 2.0 * _centred(z) / (_centred(z).square().sum(1).mean() + 1e-5).sqrt(),
    ),
    "PN-SI": (
        "pairnorm",
        {"norm_mode": "PN-SI", "norm_scale": 2.0},
        lambda z: 2.0 * _centred(z) / (_centred(z).norm(dim=1, keepdim=True) + 1e-5),
    ),
    "PN-SCS": (
        "pairnorm",
        {"norm_mode": "PN-SCS", "norm_scale": 2.0},
        lambda z: _centred(2.0 * z / z.norm(dim=1, keepdim=True)),
    ),
    "contranorm": (
        "contranorm",
        {"norm_scale": 0.3, "temperature": 0.5},
        lambda z: 1.3 * z - 0.3 * torch.softmax(F.normalize(z) @ F.normalize(z).T / 0.5, dim=1) @ z,
    ),
}


@pytest.mark.parametrize("name", sorted(AFTER))
def test_normalizations_equal_their_definitions(name: str) -> None:
    model, settings, after = AFTER[name]
    data, wanted = _data(), _data().x
    for _ in range(3):
        wanted = after(_dense_adjacency(data) @ wanted)
    torch.testing.assert_close(_features(data, model, 3, **settings), wanted)


def test_residual_appnp_and_dropmessage_equal_their_definitions() -> None:
    data = _data()
    a, x = _dense_adjacency(data), data.x
    half = torch.eye(200, dtype=torch.float64) * 0.7 + 0.3 * a
    torch.testing.assert_close(_features(data, "residual", 2, lam=0.3), half @ half @ x)
    torch.testing.assert_close(_features(data, "appnp", 2, teleport=0.2), 0.8 * a @ (0.8 * a @ x + 0.2 * x) + 0.2 * x)
    # In evaluation mode nothing is dropped.
    rule = MODELS["dropmessage"](data, resolve("karate", "dropmessage", 1)).eval()
    torch.testing.assert_close(rule.propagate(x, 1), a @ x)
    dropped = rule.train().propagate(x, 1)
    kept = dropped != 0
    assert 0.4 < kept.double().mean() < 0.6
    torch.testing.assert_close(dropped[kept], 2.0 * (a @ x)[kept])


def test_jknet_equals_its_definitions() -> None:
    data = _data()
    a, x = _dense_adjacency(data), data.x
    powers = torch.stack([x, a @ x, a @ a @ x])
    wanted = {"mean": powers.mean(0), "max": powers.amax(0), "cat": torch.cat(list(powers), 1)}
    for jump, features in wanted.items():
        torch.testing.assert_close(_features(data, "jknet", 2, jump=jump), features)
    rule = MODELS["jknet"](data, resolve("karate", "jknet", 2, jump="learned"))
    rule.weight.data = torch.tensor([1.0, 0.0, -1.0])
    share = rule.weight.detach().softmax(0).double()
    torch.testing.assert_close(rule.propagate(x, 2), (share[:, None, None] * powers).sum(0), rtol=1e-6, atol=1e-6)


def test_dagnn_equals_its_definition() -> None:
    data = _data()
    a, x = _dense_adjacency(data), data.x
    rule = MODELS["dagnn"](data, resolve("karate", "dagnn", 2)).double()
    got = rule.propagate(x, 2)
    gate = lambda z: torch.sigmoid(z @ rule.gate.weight.T + rule.gate.bias)  # noqa: E731
    torch.testing.assert_close(got, sum(gate(z) * z for z in (x, a @ x, a @ a @ x)))


def test_dropedge_renormalizes_a_subset_of_the_edges() -> None:
    data = _data()
    rule = MODELS["dropedge"](data, resolve("karate", "dropedge", 1, drop_rate=0.4, norm="row"))
    one = torch.eye(200, dtype=torch.float64)
    torch.testing.assert_close(rule.eval().propagate(one, 1), _dense_adjacency(data, "row"))
    rule.train().resample()
    drawn = rule.propagate(one, 1)
    full = _dense_adjacency(data, "row") > 0
    assert not bool((drawn[~full] != 0).any()) and bool((drawn.diagonal() > 0).all())
    torch.testing.assert_close(drawn.sum(1), torch.ones(200, dtype=torch.float64))
    off = ~torch.eye(200, dtype=torch.bool)
    assert 0.55 < float((drawn[off] != 0).sum() / full[off].sum()) < 0.65
    rule.resample()
    assert not torch.equal(rule.propagate(one, 1), drawn)


def test_label_ratio_selects_a_subset_of_the_training_labels() -> None:
    data = _data()
    part = [MODELS["label-sbp"](data, resolve("karate", "label-sbp", label_ratio=r)) for r in (0.25, 0.5, 1.0)]
    known = [rule.signed_graph.neg.group < 2 for rule in part]
    assert [int(k.sum()) for k in known] == [40, 80, 160] and torch.equal(known[2], data.train_mask)
    assert bool((known[1] | ~known[0]).all()) and bool((known[2] | ~known[1]).all())


@pytest.mark.parametrize("model", ["label-sbp-v2", "feature-sbp-v2"])
def test_approximations_pass_gradients_to_the_features(model: str) -> None:
    data = _data()
    rule = MODELS[model](data, resolve("karate", model, 2, layer_norm="every"))
    probe = torch.zeros(200, 8, dtype=torch.float64)
    probe[3, 2] = 1.0
    loss = lambda t: rule.propagate(data.x + t * probe, 2)[:9].square().mul(torch.arange(8.0)).sum()  # noqa: E731
    assert torch.autograd.gradcheck(loss, torch.zeros((), dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("model", ["label-sbp-v2", "feature-sbp-v2"])
def test_approximations_train(model: str) -> None:
    spread = train("csbm", model, 2, split=0, seeds=1, feature_norm="none").accuracy()
    assert spread is not None and spread[0] >= 90.0


@pytest.mark.parametrize("model", ["label-sbp", "feature-sbp", "feature-sbp-v2"])
def test_beta_zero_is_a_lazy_random_walk(model: str) -> None:
    data = _data()
    a = _dense_adjacency(data)
    wanted = _steps(data.x, a, torch.zeros_like(a), 3, 0.4, 0.0)
    torch.testing.assert_close(_features(data, model, 3, lam=0.4, beta=0.0), wanted)


def test_edge_directions() -> None:
    data = _data()
    # Each edge is stored in one direction only, so that the three options differ.
    data.edge_index = data.edge_index[:, data.edge_index[0] < data.edge_index[1]]
    stored, flipped = (_dense_adjacency(data, "row", flip=flip) for flip in (False, True))
    torch.testing.assert_close(_features(data, "sgc", 1, norm="row", edges="stored"), stored @ data.x)
    torch.testing.assert_close(_features(data, "sgc", 1, norm="row", edges="reversed"), flipped @ data.x)
    both = ((stored + flipped) > 0).double()
    both = both / both.sum(1, keepdim=True)
    torch.testing.assert_close(_features(data, "sgc", 1, norm="row", edges="undirected"), both @ data.x)


EVERY = [(model, backbone) for model, entry in MODEL_PRESETS.items() for backbone in entry.backbones]


@pytest.mark.parametrize(("model", "backbone"), EVERY)
@pytest.mark.parametrize("softmax", ["all", "labelled"])
def test_labels_outside_the_training_nodes_do_not_affect_the_scores(model: str, backbone: str, softmax: str) -> None:
    settings = {"label_softmax": softmax, "label_ratio": 0.6} if model == "label-sbp" else {}
    config = resolve("karate", model, 6, backbone=backbone, **settings)
    data = _data(torch.float32)
    shuffled = data.clone()
    hidden = ~data.train_mask
    shuffled.y[hidden] = 1 - shuffled.y[hidden]
    shuffled.y[hidden.nonzero()[0]] = 7
    for training in (False, True):
        assert torch.equal(_scores(shuffled, config, training), _scores(data, config, training))


def _scores(data: Data, config: Config, training: bool) -> Tensor:
    """Return the scores of a network with the weights, dropout and masks of one seed."""
    torch.manual_seed(5)
    network = build(data, config, 2).train(training)
    network.model.resample()
    return network(data.x)


def test_training_labels_affect_label_sbp() -> None:
    data = _data(torch.float32)
    before = _features(data, "label-sbp", 2)
    data.y = torch.where(
        data.train_mask, data.y[torch.randperm(200, generator=torch.Generator().manual_seed(0))], data.y
    )
    assert not torch.equal(_features(data, "label-sbp", 2), before)


@pytest.mark.parametrize("model", [model for model, backbone in EVERY if backbone == "sgc" and MODELS[model].adds_up])
def test_steps_are_additive(model: str) -> None:
    data = _data(torch.float32)
    rule = MODELS[model](data, resolve("karate", model, 7)).eval()
    assert torch.equal(rule.propagate(rule.propagate(data.x, 3), 4), rule.propagate(data.x, 7))


def test_every_model_has_a_description() -> None:
    assert set(list_models()) == set(MODELS)
    for model in MODELS.values():
        assert model.summary and model.section
