"""Real data, if copies exist beside the repository: sizes, and accuracies that the method is known to reach."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sbp_study import Options, depth, load_dataset, train
from sbp_study.datasets import DATASETS
from sbp_study.datasets.description import describe

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_cora = pytest.mark.skipif(not (SHARED / "Cora").is_dir(), reason="no copy of Cora beside the repository")


@pytest.mark.parametrize("name", ["cora", "texas", "wisconsin", "cornell", "actor"])
def test_sizes(name: str, tmp_path: Path) -> None:
    source = DATASETS[name]
    folder = source.title if name == "cora" else name
    if not (SHARED / folder).is_dir():
        pytest.skip(f"no copy of {name} beside the repository")
    shutil.copytree(SHARED / folder / "raw", tmp_path / folder / "raw")
    got = describe(load_dataset(name, str(tmp_path), source.num_splits - 1))
    assert (got["nodes"], got["edges"]) == (source.size.nodes, source.size.edges)
    assert (got["features"], got["classes"]) == (source.size.features, source.size.classes)
    assert round(got["homophily"], 2) == source.size.homophily
    if source.num_splits == 10:
        assert got["train"] + got["val"] + got["test"] == got["nodes"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    # PyG writes `processed` beside `raw`.
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(SHARED / "Cora" / "raw", folder / "Cora" / "raw")
    return str(folder)


def _mean(accuracy: tuple[float, float] | None) -> float:
    assert accuracy is not None
    return accuracy[0]


@needs_cora
def test_two_layers(root: str) -> None:
    assert 80.0 <= _mean(train("cora", "sgc", 2, root).accuracy()) <= 82.0
    assert _mean(train("cora", "label-sbp", 2, root).accuracy()) >= 80.5


@needs_cora
def test_three_hundred_layers(root: str) -> None:
    sgc, signed = depth("cora", ["sgc", "label-sbp"], [300], root, seeds=3, options=Options(root))
    assert _mean(sgc.accuracy()) < 45.0
    assert _mean(signed.accuracy()) >= 74.0
