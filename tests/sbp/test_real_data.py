"""Cora itself, where a copy lies beside the repository: the accuracies that the method is known to reach."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sbp import Options, depth, train

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not (SHARED / "Cora").is_dir(), reason="no copy of Cora beside the repository")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    # PyG writes `processed` beside `raw`.
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(SHARED / "Cora" / "raw", folder / "Cora" / "raw")
    return str(folder)


def _mean(accuracy: tuple[float, float] | None) -> float:
    assert accuracy is not None
    return accuracy[0]


def test_two_layers(root: str) -> None:
    assert 80.0 <= _mean(train("cora", "sgc", 2, root).accuracy()) <= 82.0
    assert _mean(train("cora", "label-sbp", 2, root).accuracy()) >= 80.5


def test_three_hundred_layers(root: str) -> None:
    sgc, sbp = depth("cora", ["sgc", "label-sbp"], [300], root, seeds=3, options=Options(root))
    assert _mean(sgc.accuracy()) < 45.0
    assert _mean(sbp.accuracy()) >= 74.0
