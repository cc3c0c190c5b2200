"""Loaders on the file formats of their sources: complete, missing and broken files."""

from __future__ import annotations

import builtins
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sbp_study import UserError, load_dataset, train
from sbp_study.datasets import DATASETS, ogbn
from sbp_study.datasets.description import describe
from sbp_study.theory.dataset_report import report_dataset

Files = tuple[Path, dict[str, Any]]

pytestmark = pytest.mark.usefixtures("no_network")
# The undirected graphs. The others are directed, as stored.
UNDIRECTED = ("amazon-ratings", "penn94", "ogbn-arxiv", "ogbn-products")
# The folder of each dataset and the last file that it needs.
PLACES = {
    "cora": ("Cora/raw", "ind.cora.test.index"),
    "citeseer": ("CiteSeer/raw", "ind.citeseer.test.index"),
    "pubmed": ("PubMed/raw", "ind.pubmed.test.index"),
    **{name: (f"{name}/raw", f"{name}_split_0.6_0.2_9.npz") for name in ("texas", "wisconsin", "cornell")},
    **{name: (f"{name}/geom_gcn/raw", f"{name}_split_0.6_0.2_9.npz") for name in ("chameleon", "squirrel")},
    "actor": ("actor/raw", "film_split_0.6_0.2_9.npz"),
    "amazon-ratings": ("amazon_ratings/raw", "amazon_ratings.npz"),
    "roman-empire": ("roman_empire/raw", "roman_empire.npz"),
    **{name: (f"{name}/raw", f"{name}.npz") for name in ("tolokers", "questions", "minesweeper")},
    "penn94": ("penn94/raw", "data.mat, fb100-Penn94-splits.npy"),
    "ogbn-arxiv": ("ogbn_arxiv", "RELEASE_v1.txt, raw/edge.csv.gz"),
    "ogbn-products": ("ogbn_products", "split/sales_ranking/test.csv.gz"),
}


@pytest.mark.parametrize("last", [False, True], ids=["first split", "last split"])
@pytest.mark.parametrize("name", ["texas", "squirrel", "actor", *UNDIRECTED])
def test_raw_files_are_read(raw_files: Files, name: str, last: bool) -> None:
    root, written = raw_files[0], raw_files[1][name]
    split = DATASETS[name].num_splits - 1 if last else 0
    data = load_dataset(name, str(root), split)
    assert data.x.dtype == torch.float32 and np.array_equal(data.x.numpy(), written.x.astype(np.float32))
    assert data.y.dtype == torch.int64 and np.array_equal(data.y.numpy(), written.y)
    wanted = set(written.edges)
    if name in UNDIRECTED:
        wanted |= {(b, a) for a, b in wanted}
    assert set(map(tuple, data.edge_index.T.tolist())) == wanted
    for i, role in enumerate(("train", "val", "test")):
        mask = data[f"{role}_mask"]
        assert mask.dtype == torch.bool and mask.any()
        assert np.array_equal(mask.numpy(), (written.role[split] == i) & (written.y >= 0))


def test_nodes_without_a_label_are_in_no_mask(raw_files: Files) -> None:
    root, y = str(raw_files[0]), raw_files[1]["penn94"].y
    data = load_dataset("penn94", root)
    assert (y == -1).sum() == 20 and int(data.y.min()) == -1
    same = [y[a] == y[b] for a, b in raw_files[1]["penn94"].edges if y[a] >= 0 and y[b] >= 0]
    assert describe(data)["classes"] == 2 and describe(data)["homophily"] == pytest.approx(np.mean(same), abs=1e-4)
    for model, settings in (("label-sbp", {}), ("label-sbp-v2", {}), ("label-sbp", {"backbone": "gcn", "epochs": 2})):
        result = train("penn94", model, root=root, seeds=1, **settings)
        assert result.graph["train"] + result.graph["val"] + result.graph["test"] == 40
        assert result.runs[0].test is not None
    with pytest.raises(UserError, match="imbalance needs every label, penn94 has 20 nodes without one"):
        report_dataset("penn94", root)


@pytest.mark.parametrize("name", sorted(PLACES))
def test_failed_download_names_folder_and_files(name: str, tmp_path: Path) -> None:
    folder, file = PLACES[name]
    for _ in range(2):
        with pytest.raises(UserError) as error:
            load_dataset(name, str(tmp_path))
        message = str(error.value)
        assert f"{name} could not be downloaded" in message and "no network in tests" in message
        assert f"put these files into {tmp_path / folder}: " in message and file in message and "\n" not in message


def test_every_dataset_with_files_has_its_own_folder() -> None:
    assert set(PLACES) == {name for name, source in DATASETS.items() if not source.embedded}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("texas", "texas/raw/out1_graph_edges.txt"),
        ("squirrel", "squirrel/geom_gcn/raw/squirrel_split_0.6_0.2_3.npz"),
        ("actor", "actor/raw/out1_node_feature_label.txt"),
        ("amazon-ratings", "amazon_ratings/raw/amazon_ratings.npz"),
        ("penn94", "penn94/raw/data.mat"),
        ("ogbn-arxiv", "ogbn_arxiv/raw/node-label.csv.gz"),
    ],
)
def test_the_error_names_a_broken_file(raw_files: Files, tmp_path: Path, name: str, file: str) -> None:
    _copy(raw_files[0], tmp_path, file.split("/")[0])
    (tmp_path / file).write_text("a heading\nnot a number\n")
    with pytest.raises(UserError, match=f"{name} could not be read from .*{file.split('/')[0]}"):
        load_dataset(name, str(tmp_path))


def test_ogb_never_prompts_nor_deletes(raw_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object) -> str:
        raise AssertionError("asked on stdin")

    monkeypatch.setattr(builtins, "input", asked)
    for folder in ("ogbn_arxiv", "ogbn_arxiv_pyg"):
        shutil.copytree(raw_files[0] / "ogbn_arxiv", tmp_path / folder)
        for file in ("RELEASE_v1.txt", "raw/edge.csv.gz"):
            (tmp_path / folder / file).unlink()
            with pytest.raises(UserError, match=rf"not complete; put these files into .*{folder}: .*{file}"):
                load_dataset("ogbn-arxiv", str(tmp_path))
        assert (tmp_path / folder / "raw" / "node-feat.csv.gz").exists()


def test_ogb_prints_nothing_and_checks_no_version(raw_files: Files, tmp_path: Path, capfd: Any) -> None:
    _copy(raw_files[0], tmp_path, "ogbn_arxiv")
    first, again = (load_dataset("ogbn-arxiv", str(tmp_path)) for _ in range(2))
    assert capfd.readouterr().out == ""
    assert torch.equal(first.x, again.x) and torch.equal(first.edge_index, again.edge_index)
    assert "ogb" in sys.modules and "outdated" not in sys.modules


def test_ogb_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ogb.nodeproppred", None)
    with pytest.raises(UserError, match="ogbn-products needs the package ogb: pip install"):
        load_dataset("ogbn-products", str(tmp_path))


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_the_ogb_cache_executes_no_code(raw_files: Files, tmp_path: Path) -> None:
    _copy(raw_files[0], tmp_path, "ogbn_arxiv")
    processed = tmp_path / "ogbn_arxiv" / "processed"
    load_dataset("ogbn-arxiv", str(tmp_path))
    torch.save((_Bomb(tmp_path / "run"), None), processed / "geometric_data_processed.pt")
    with pytest.raises(UserError, match="ogbn-arxiv could not be read from"):
        load_dataset("ogbn-arxiv", str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_ogb_download(raw_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def download(url: str, folder: str, log: bool) -> str:
        with zipfile.ZipFile(Path(folder) / "products.zip", "w") as archive:
            for file in (raw_files[0] / "ogbn_products").rglob("*.*"):
                archive.write(file, Path("products") / file.relative_to(raw_files[0] / "ogbn_products"))
        assert url.endswith("/products.zip")
        return str(Path(folder) / "products.zip")

    monkeypatch.setattr(ogbn, "download_url", download)
    data = load_dataset("ogbn-products", str(tmp_path / "root"))
    assert np.array_equal(data.y.numpy(), raw_files[1]["ogbn-products"].y)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["ogbn_products"]
    assert f"ogbn-products: downloading 1.4 GB into {tmp_path}/root/ogbn_products" in capsys.readouterr().err


def _copy(root: Path, to: Path, folder: str) -> None:
    shutil.copytree(root / folder, to / folder, ignore=shutil.ignore_patterns("processed"))
