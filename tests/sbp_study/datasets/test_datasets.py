"""The registry, citation graphs, CSBM and stand-ins. test_raw_files tests the other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import stochastic_blockmodel_graph

from sbp_study import UserError, list_datasets, load_dataset, sweep, train
from sbp_study.datasets import DATASETS, load_stand_in
from sbp_study.datasets.description import describe


def test_planetoid_format(planetoid_root: Path) -> None:
    data = load_dataset("cora", str(planetoid_root))
    assert data.x.shape == (560, 12) and data.y.shape == (560,)
    assert torch.equal(data.y, torch.arange(560) % 3)
    assert data.is_undirected()
    assert [int(data[f"{role}_mask"].sum()) for role in ("train", "val", "test")] == [15, 500, 45]


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown dataset 'Coar': did you mean cora"):
        load_dataset("Coar")
    with pytest.raises(UserError, match="split must be an index below 1 for karate, got 1"):
        load_dataset("karate", split=1)
    with pytest.raises(UserError, match="csbm has no option fi: it takes phi"):
        load_dataset("csbm", fi=0.5)
    with pytest.raises(UserError, match="cora has no option phi: it takes none"):
        load_dataset("cora", phi=0.5)


def test_embedded_datasets_need_no_files() -> None:
    karate = load_dataset("karate", "no such folder")
    assert karate.num_nodes == 34 and int(karate.train_mask.sum()) == 4 and int(karate.test_mask.sum()) == 30
    assert torch.equal(karate.x, torch.eye(34))
    csbm = load_dataset("csbm", "no such folder")
    assert csbm.num_nodes == 200 and int(csbm.train_mask.sum()) == 160 and int(csbm.test_mask.sum()) == 40
    assert csbm.is_undirected() and not csbm.has_self_loops()


def test_csbm_graphs_are_reproducible_distinct_and_preserve_the_generator() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (load_dataset("csbm", split=k) for k in (3, 3, 4))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first.x, again.x) and torch.equal(first.edge_index, again.edge_index)
    assert not torch.equal(first.x, other.x)


def test_csbm_has_the_densities_of_the_paper() -> None:
    inside = across = 0
    for split in range(20):
        data = load_dataset("csbm", split=split)
        same = data.y[data.edge_index[0]] == data.y[data.edge_index[1]]
        inside, across = inside + int(same.sum()), across + int((~same).sum())
    p, q = inside / (20 * 2 * 100 * 99), across / (20 * 2 * 100 * 100)
    assert p == pytest.approx(2 * np.log(100) / 100, rel=0.03)
    assert q == pytest.approx(np.log(100) / 100, rel=0.03)


def test_csbm_default_is_the_graph_of_the_paper() -> None:
    p = 2 * np.log(100) / 100
    for split in range(10):
        torch.manual_seed(split)
        wanted = stochastic_blockmodel_graph([100, 100], [[p, p / 2], [p / 2, p]])
        assert torch.equal(load_dataset("csbm", split=split).edge_index, wanted)


@pytest.mark.parametrize("phi", [-1.0, -0.5, 0.0, 1 / 3, 1.0])
def test_phi_sets_homophily_at_a_constant_expected_degree(phi: float) -> None:
    graphs = [load_dataset("csbm", split=split, phi=phi) for split in range(20)]
    both = 3 * np.log(100) / 100
    p, q = (1 + phi) / 2 * both, (1 - phi) / 2 * both
    degree = sum(graph.num_edges for graph in graphs) / (20 * 200)
    assert degree == pytest.approx(100 * both - p, rel=0.02)
    homophily = np.mean([describe(graph)["homophily"] for graph in graphs])
    assert homophily == pytest.approx(99 * p / (99 * p + 100 * q), abs=0.01)


def test_phi_affects_the_runs() -> None:
    found = sweep("csbm", ["sgc"], "phi", [-1.0, 1.0], split=0)
    assert [result.graph["homophily"] for result in found] == [0.0, 1.0]
    with pytest.raises(UserError, match="cora has no option phi"):
        train("cora", "sgc", phi=0.5)


@pytest.mark.parametrize("phi", [-1.01, 2.0, float("nan")])
def test_phi_out_of_range(phi: float) -> None:
    with pytest.raises(UserError, match=rf"phi must lie in \[-1, 1\], got {phi}"):
        load_dataset("csbm", phi=phi)


def test_embedded_sizes() -> None:
    for name in ("karate", "csbm"):
        source = DATASETS[name]
        assert source.embedded and _size(load_dataset(name)) == (
            source.size.nodes,
            pytest.approx(source.size.edges, rel=0.03),
            source.size.features,
            source.size.classes,
            pytest.approx(source.size.homophily, abs=0.02),
        )


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_stand_ins(name: str) -> None:
    source = DATASETS[name]
    torch.manual_seed(5)
    data, other = load_stand_in(name), load_stand_in(name, source.num_splits - 1)
    assert torch.initial_seed() == 5 and torch.equal(torch.rand(3), torch.manual_seed(5) and torch.rand(3))
    got = describe(data)
    assert got["classes"] == source.size.classes and got["homophily"] == pytest.approx(source.size.homophily, abs=0.06)
    assert torch.equal((data.train_mask.int() + data.val_mask.int() + data.test_mask.int()), torch.ones_like(data.y))
    assert data.y[data.train_mask].unique().numel() == source.size.classes
    if source.embedded:
        assert torch.equal(data.x, load_dataset(name).x)
    else:
        assert 280 <= got["nodes"] <= 400 and got["features"] == min(source.size.features, 32)
        assert got["edges"] / got["nodes"] == pytest.approx(6, abs=1)
        assert torch.equal(data.edge_index, other.edge_index)
        assert source.num_splits == 1 or not torch.equal(data.train_mask, other.train_mask)
    with pytest.raises(UserError, match="split must be an index below"):
        load_stand_in(name, source.num_splits)


def test_every_dataset_has_a_description() -> None:
    assert set(list_datasets()) == set(DATASETS)
    for name, summary in list_datasets().items():
        source = DATASETS[name]
        assert f"{source.size.nodes:,} nodes" in summary and ("no files" in summary) == source.embedded
        assert source.title.lower() == name and source.metric == "accuracy"


def _size(data: Data) -> tuple[float, ...]:
    got = describe(data)
    return tuple(got[part] for part in ("nodes", "edges", "features", "classes", "homophily"))
