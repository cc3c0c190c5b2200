"""Loaders: real formats, splits, and the sentences for what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch_geometric.datasets import Planetoid, WebKB

from sbp import UserError, list_datasets, load_dataset
from sbp.datasets import DATASETS


def test_planetoid_format(planetoid_root: Path) -> None:
    data = load_dataset("cora", str(planetoid_root))
    assert data.x.shape == (560, 12) and data.y.shape == (560,)
    assert torch.equal(data.y, torch.arange(560) % 3)
    assert data.is_undirected()
    assert [int(data[f"{role}_mask"].sum()) for role in ("train", "val", "test")] == [15, 500, 45]


@pytest.mark.parametrize("split", [0, 7])
def test_webkb_format_and_split(webkb_root: Path, split: int) -> None:
    data = load_dataset("texas", str(webkb_root), split)
    assert data.x.shape == (60, 12) and data.train_mask.shape == (60,)
    wanted = np.load(webkb_root / "texas" / "raw" / f"texas_split_0.6_0.2_{split}.npz")
    for role in ("train_mask", "val_mask", "test_mask"):
        assert torch.equal(data[role], torch.from_numpy(wanted[role]).bool())


def test_webkb_keeps_directions(webkb_root: Path) -> None:
    lines = (webkb_root / "texas" / "raw" / "out1_graph_edges.txt").read_text().splitlines()[1:]
    stored = {tuple(map(int, line.split("\t"))) for line in lines}
    data = load_dataset("texas", str(webkb_root))
    assert set(map(tuple, data.edge_index.T.tolist())) == stored


def _no_network(self: object) -> None:
    raise URLError("no network in tests")


@pytest.mark.parametrize(
    ("name", "source", "folder", "file"),
    [
        ("cora", Planetoid, "Cora/raw", "ind.cora.graph"),
        ("citeseer", Planetoid, "CiteSeer/raw", "ind.citeseer.tx"),
        ("pubmed", Planetoid, "PubMed/raw", "ind.pubmed.test.index"),
        ("cornell", WebKB, "cornell/raw", "cornell_split_0.6_0.2_9.npz"),
    ],
)
def test_failed_download_names_folder_and_files(
    name: str, source: type, folder: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "download", _no_network)
    with pytest.raises(UserError) as error:
        load_dataset(name, str(tmp_path))
    message = str(error.value)
    assert str(tmp_path / folder) in message and file in message and "no network in tests" in message
    assert "\n" not in message


def test_broken_file_is_named(webkb_root: Path, tmp_path: Path) -> None:
    shutil.copytree(webkb_root / "texas" / "raw", tmp_path / "texas" / "raw")
    (tmp_path / "texas" / "raw" / "out1_graph_edges.txt").write_text("node_id\tnode_id\nnot a number\n")
    with pytest.raises(UserError, match=r"texas could not be read from .*texas/raw"):
        load_dataset("texas", str(tmp_path))


def test_unknown_names_bring_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown dataset 'Coar': did you mean cora"):
        load_dataset("Coar")
    with pytest.raises(UserError, match="split must be an index below 1 for karate, got 1"):
        load_dataset("karate", split=1)


def test_embedded_sets_need_no_files() -> None:
    karate = load_dataset("karate", "no such folder")
    assert karate.num_nodes == 34 and int(karate.train_mask.sum()) == 4 and int(karate.test_mask.sum()) == 30
    assert torch.equal(karate.x, torch.eye(34))
    csbm = load_dataset("csbm", "no such folder")
    assert csbm.num_nodes == 200 and int(csbm.train_mask.sum()) == 160 and int(csbm.test_mask.sum()) == 40
    assert csbm.is_undirected() and not csbm.has_self_loops()


def test_csbm_draws_repeat_and_differ_and_leave_the_generator_alone() -> None:
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


def test_every_dataset_says_what_it_is() -> None:
    assert set(list_datasets()) == set(DATASETS) and all(list_datasets().values())
