"""Tiny graphs in the real file formats, so that no test needs a network."""

from __future__ import annotations

import gzip
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import scipy.io
import scipy.sparse

CLASSES, FEATURES, NODES = 3, 12, 60
# The public split uses the 500 nodes after the training nodes for validation.
TRAIN, VAL, TEST = 15, 500, 45


@dataclass
class Written:
    """The content of the files of a graph. `role` `[splits, n]` is 0, 1, 2 for training, validation, test."""

    x: np.ndarray
    y: np.ndarray
    edges: list[tuple[int, int]]
    role: np.ndarray


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve no host name, so that a download fails at once on every machine."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _features(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return binary features, a third of which is more frequent in each class."""
    share = np.where(np.arange(FEATURES)[None] % CLASSES == y[:, None], 0.6, 0.2)
    return (rng.random(share.shape) < share).astype(np.float32)


def _edges(y: np.ndarray, rng: np.random.Generator, per_node: int = 3) -> list[tuple[int, int]]:
    """Return directed edges; four of five stay inside the class."""
    edges = set()
    for node, own in enumerate(y):
        for _ in range(per_node):
            pool = np.flatnonzero(y == own) if rng.random() < 0.8 else np.arange(len(y))
            edges.add((node, int(rng.choice(pool))))
    return sorted(edges)


def _draw(seed: int, splits: int) -> Written:
    rng = np.random.default_rng(seed)
    y = np.arange(NODES) % CLASSES
    # The last node has the last feature, because some formats define the width by the largest index.
    x = _features(y, rng)
    x[-1, -1] = 1.0
    role = np.stack([rng.permutation(np.arange(NODES) % 3) for _ in range(splits)])
    return Written(x, y, _edges(y, rng), role)


@pytest.fixture(scope="session")
def planetoid_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with a graph of 560 nodes named Cora: pickled sparse matrices, a dict of lists, a text index."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("planetoid")
    raw = root / "Cora" / "raw"
    raw.mkdir(parents=True)
    y = np.arange(TRAIN + VAL + TEST) % CLASSES
    x, known = _features(y, rng), TRAIN + VAL
    one_hot = np.eye(CLASSES, dtype=np.int32)[y]
    graph: dict[int, list[int]] = {node: [] for node in range(len(y))}
    for a, b in _edges(y, rng):
        graph[a].append(b)
        graph[b].append(a)
    parts = {
        "x": scipy.sparse.csr_matrix(x[:TRAIN]),
        "allx": scipy.sparse.csr_matrix(x[:known]),
        "tx": scipy.sparse.csr_matrix(x[known:]),
        "y": one_hot[:TRAIN],
        "ally": one_hot[:known],
        "ty": one_hot[known:],
        "graph": graph,
    }
    for part, value in parts.items():
        (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(value))
    (raw / "ind.cora.test.index").write_text("".join(f"{i}\n" for i in range(known, len(y))))
    return root


def _write_geom_gcn(raw: Path, prefix: str, indices: bool = False) -> Written:
    """Write two tab-separated tables, with features as values or indices of ones, and ten split archives."""
    raw.mkdir(parents=True)
    graph = _draw(1, 10)
    nodes = ["node_id\tfeature\tlabel"]
    for i, row in enumerate(graph.x.astype(int)):
        nodes.append(f"{i}\t{','.join(map(str, np.flatnonzero(row) if indices else row))}\t{graph.y[i]}")
    (raw / "out1_node_feature_label.txt").write_text("\n".join(nodes) + "\n")
    links = ["node_id\tnode_id", *(f"{a}\t{b}" for a, b in graph.edges)]
    (raw / "out1_graph_edges.txt").write_text("\n".join(links) + "\n")
    for k, role in enumerate(graph.role):
        masks = {f"{name}_mask": (role == i).astype(np.int64) for i, name in enumerate(("train", "val", "test"))}
        np.savez(raw / f"{prefix}_split_0.6_0.2_{k}.npz", **masks)
    return graph


def _write_heterophilous(raw: Path, stem: str) -> Written:
    """Write one archive, with each undirected edge once."""
    raw.mkdir(parents=True)
    graph = _draw(2, 10)
    graph.edges = sorted({(min(e), max(e)) for e in graph.edges})
    arrays = {"node_features": graph.x, "node_labels": graph.y, "edges": np.array(graph.edges)}
    masks = {f"{name}_masks": graph.role == i for i, name in enumerate(("train", "val", "test"))}
    np.savez(raw / f"{stem}.npz", **arrays, **masks)
    return graph


def _write_penn94(raw: Path) -> Written:
    """Write a Matlab file with a table of persons, gender 0 if unknown, and pickled splits with all persons."""
    raw.mkdir(parents=True)
    graph = _draw(3, 5)
    graph.y = graph.y - 1
    graph.edges = sorted({(a, b) for e in graph.edges for a, b in (e, e[::-1]) if a != b})
    row, col = np.array(graph.edges).T
    friends = scipy.sparse.csc_matrix((np.ones(len(row)), (row, col)), shape=(NODES, NODES))
    info = np.random.default_rng(4).integers(0, 4, size=(NODES, 7))
    info[:, 1] = graph.y + 1
    scipy.io.savemat(raw / "data.mat", {"A": friends, "local_info": info.astype(np.int32)})
    columns = [info[:, k][:, None] == np.unique(info[:, k])[None] for k in (0, 2, 3, 4, 5, 6)]
    graph.x = np.concatenate(columns, axis=1).astype(np.float32)
    names = ("train", "valid", "test")
    splits = [{name: np.flatnonzero(role == i) for i, name in enumerate(names)} for role in graph.role]
    np.save(raw / "fb100-Penn94-splits.npy", np.array(splits), allow_pickle=True)
    return graph


def _write_ogbn(folder: Path, by: str, years: bool) -> Written:
    """Write compressed tables without headers, in the layout of OGB's archive."""
    graph = _draw(5, 1)
    tables = {
        "raw/edge": np.array(graph.edges),
        # A column of whole numbers would be read as integers.
        "raw/node-feat": graph.x + 0.25,
        "raw/node-label": graph.y[:, None],
        "raw/num-node-list": np.array([[NODES]]),
        "raw/num-edge-list": np.array([[len(graph.edges)]]),
    }
    graph.x = graph.x + 0.25
    if years:
        tables["raw/node_year"] = np.full((NODES, 1), 2017)
    for i, part in enumerate(("train", "valid", "test")):
        tables[f"split/{by}/{part}"] = np.flatnonzero(graph.role[0] == i)[:, None]
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in table.tolist())
    (folder / "RELEASE_v1.txt").write_text("")
    return graph


@pytest.fixture(scope="session")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Written]]:
    """Return a root with a graph of 60 nodes for one dataset per format, and the graphs."""
    root = tmp_path_factory.mktemp("raw")
    graphs = {
        "texas": _write_geom_gcn(root / "texas" / "raw", "texas"),
        "squirrel": _write_geom_gcn(root / "squirrel" / "geom_gcn" / "raw", "squirrel"),
        "actor": _write_geom_gcn(root / "actor" / "raw", "film", indices=True),
        "amazon-ratings": _write_heterophilous(root / "amazon_ratings" / "raw", "amazon_ratings"),
        "penn94": _write_penn94(root / "penn94" / "raw"),
        "ogbn-arxiv": _write_ogbn(root / "ogbn_arxiv", "time", years=True),
        "ogbn-products": _write_ogbn(root / "ogbn_products", "sales_ranking", years=False),
    }
    return root, graphs


@pytest.fixture(scope="session")
def webkb_root(raw_files: tuple[Path, dict[str, Written]]) -> Path:
    """Return a root with a graph of 60 nodes named Texas."""
    return raw_files[0]
