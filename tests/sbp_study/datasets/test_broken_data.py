"""Raw files that are truncated, invalid, or would execute code: one sentence names the file."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sbp_study import UserError, load_dataset
from sbp_study.datasets.raw_files import require_whole
from tests.sbp_study.commands import refused

pytestmark = [pytest.mark.usefixtures("no_network"), pytest.mark.filterwarnings("ignore:.*its source states")]
# Every file of every format.
FILES = [
    *(("cora", f"Cora/raw/ind.cora.{part}") for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")),
    *(("texas", f"texas/raw/{name}.txt") for name in ("out1_node_feature_label", "out1_graph_edges")),
    ("texas", "texas/raw/texas_split_0.6_0.2_9.npz"),
    ("squirrel", "squirrel/geom_gcn/raw/out1_graph_edges.txt"),
    ("squirrel", "squirrel/geom_gcn/raw/squirrel_split_0.6_0.2_0.npz"),
    *(("actor", f"actor/raw/{name}.txt") for name in ("out1_node_feature_label", "out1_graph_edges")),
    ("amazon-ratings", "amazon_ratings/raw/amazon_ratings.npz"),
    *(("penn94", f"penn94/raw/{name}") for name in ("data.mat", "fb100-Penn94-splits.npy")),
    *(("ogbn-arxiv", f"ogbn_arxiv/raw/{name}.csv.gz") for name in ("edge", "node-feat", "node-label", "num-node-list")),
    ("ogbn-arxiv", "ogbn_arxiv/split/time/valid.csv.gz"),
]
KINDS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "a byte less": lambda content: content[:-1],
    "garbage": lambda content: bytes(range(256)) * 8,
    "a web page": lambda content: b"<!DOCTYPE html>\n<html>not found</html>\n",
}


@pytest.fixture
def root(planetoid_root: Path, raw_files: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of all generated raw files, without the processed files of the libraries."""
    for source in (planetoid_root, raw_files[0]):
        shutil.copytree(source, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("processed"))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "file"), FILES, ids=[file.rpartition("/")[2] for _, file in FILES])
def test_the_error_names_a_broken_raw_file(name: str, file: str, kind: str, root: Path) -> None:
    path = root / file
    content = path.read_bytes()
    path.write_bytes(KINDS[kind](content))
    with pytest.raises(UserError) as error:
        load_dataset(name, str(root))
    message = str(error.value)
    assert message.startswith(f"{name} could not be read from ") and "\n" not in message
    assert path.name in message, message
    # The remedy in the message works.
    path.write_bytes(content)
    assert load_dataset(name, str(root)).num_nodes in (60, 560)


def test_a_command_reports_a_broken_file_in_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "texas/raw/out1_graph_edges.txt"
    path.write_bytes(path.read_bytes()[:-2])
    message = refused(capsys, "train", "--dataset", "texas", "--model", "sgc", "--root", str(root))
    assert f"could not be read from {path} (BrokenFile: it is cut off" in message and "replace this file" in message


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _planted(root: Path, name: str, ran: Path) -> Path:
    """Insert code into a pickled file of a dataset and return the file."""
    if name == "cora":
        path = root / "Cora/raw/ind.cora.graph"
        path.write_bytes(pickle.dumps(_Bomb(ran)))
    elif name == "penn94":
        path = root / "penn94/raw/fb100-Penn94-splits.npy"
        np.save(path, np.array([_Bomb(ran)], dtype=object), allow_pickle=True)
    else:
        path = root / "texas/processed" / name
        path.parent.mkdir(exist_ok=True)
        torch.save((_Bomb(ran), None), path)
    return path


@pytest.mark.parametrize("name", ["cora", "penn94", "data.pt", "pre_transform.pt"])
def test_no_file_executes_code(name: str, root: Path, tmp_path: Path) -> None:
    dataset = name if name in ("cora", "penn94") else "texas"
    if dataset == "texas":
        load_dataset("texas", str(root))
    path = _planted(root, name, tmp_path / "ran")
    with pytest.raises(UserError, match=f"{dataset} could not be read from .*{path.name}"):
        load_dataset(dataset, str(root))
    assert not (tmp_path / "ran").exists() and os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD") is None


@pytest.mark.parametrize("kind", ["empty", "half", "garbage"])
def test_the_error_names_a_broken_cache_which_is_rebuilt_after_deletion(kind: str, root: Path) -> None:
    whole = load_dataset("texas", str(root))
    path = root / "texas/processed/data.pt"
    path.write_bytes(KINDS[kind](path.read_bytes()))
    with pytest.raises(UserError) as error:
        load_dataset("texas", str(root))
    assert f"could not be read from {path} (" in str(error.value)
    assert "delete it, and it is made from the raw files again" in str(error.value)
    path.unlink()
    assert torch.equal(load_dataset("texas", str(root)).edge_index, whole.edge_index)


def _nan(x: np.ndarray) -> np.ndarray:
    return np.where(np.arange(x.size).reshape(x.shape) == 5, np.nan, x)


# An array of an archive, its replacement, and the expected message.
UNFIT: list[tuple[str, Callable[[np.ndarray], np.ndarray], str]] = [
    ("edges", lambda a: np.where(a == 7, 60, a), r"must join nodes in \[0, 60\)|number of nodes|out of bounds|invalid"),
    ("edges", lambda a: np.where(a == 7, -1, a), r"must join nodes in \[0, 60\)|negative|out of bounds|invalid"),
    ("edges", lambda a: a[:0], "edges must join nodes"),
    ("node_labels", lambda a: a[:-1], "features must be finite numbers of 59 nodes"),
    ("node_labels", lambda a: a + 10**9, r"labels must lie in \[-1, 60\)"),
    ("node_labels", lambda a: a.astype(np.float32), "labels must lie in"),
    ("node_features", _nan, "features must be finite"),
    ("node_features", lambda a: a.astype(np.int64), "features must be finite numbers of 60 nodes"),
    ("train_masks", lambda a: a[:, :-1], "train_mask must be bool of 60 nodes"),
    ("val_masks", lambda a: a.astype(np.int64), "val_mask must be bool"),
    ("train_masks", lambda a: a & False, "every split must have a training node"),
]


@pytest.mark.parametrize(("name", "change", "why"), UNFIT)
def test_inconsistent_arrays_raise_an_error(
    name: str, change: Callable[[np.ndarray], np.ndarray], why: str, root: Path
) -> None:
    path = root / "amazon_ratings/raw/amazon_ratings.npz"
    with np.load(path) as found:
        arrays = dict(found)
    np.savez(path, **{**arrays, name: change(arrays[name])})
    with pytest.raises(UserError, match=rf"amazon-ratings could not be read from .*({why}).*amazon_ratings"):
        load_dataset("amazon-ratings", str(root))


def test_the_error_names_a_missing_array_and_its_file(root: Path) -> None:
    path = root / "texas/raw/texas_split_0.6_0.2_4.npz"
    np.savez(path, train_mask=np.ones(60))
    with pytest.raises(UserError, match=f"texas could not be read from {path} .*val_mask"):
        load_dataset("texas", str(root))


def test_the_error_names_a_table_with_a_word(root: Path) -> None:
    path = root / "ogbn_arxiv/raw/node-feat.csv.gz"
    rows = gzip.decompress(path.read_bytes()).replace(b"0.25", b"x", 1)
    path.write_bytes(gzip.compress(rows))
    with pytest.raises(UserError, match=r"ogbn-arxiv could not be read from .*node-feat\.csv\.gz"):
        load_dataset("ogbn-arxiv", str(root))


@pytest.mark.filterwarnings("default:.*its source states")
def test_a_graph_of_another_size_than_published_gives_a_warning(root: Path) -> None:
    with pytest.warns(UserWarning, match="texas as read .* has 60 nodes and .*: are its files whole"):
        load_dataset("texas", str(root))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset("karate")
        load_dataset("csbm")


def test_complete_files_pass(root: Path) -> None:
    require_whole([str(root / file) for _, file in FILES])


def _load(root: str, name: str, results: Any) -> None:
    data = load_dataset(name, root)
    results.put((data.num_nodes, int(data.edge_index.sum()), int(data.train_mask.sum())))


def test_several_processes_read_one_dataset(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    processes = [context.Process(target=_load, args=(str(root), "texas", results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4 and len(set(found)) == 1
