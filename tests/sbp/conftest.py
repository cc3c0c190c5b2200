"""Tiny graphs in the real file formats, so that no test needs a network."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

CLASSES, FEATURES = 3, 12
# The public split takes the 500 nodes after the training ones for validation.
TRAIN, VAL, TEST = 15, 500, 45


def _features(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Binary features of which a third leans to each class."""
    share = np.where(np.arange(FEATURES)[None] % CLASSES == y[:, None], 0.6, 0.2)
    return (rng.random(share.shape) < share).astype(np.float32)


def _edges(y: np.ndarray, rng: np.random.Generator, per_node: int = 3) -> list[tuple[int, int]]:
    """Directed edges, four of five to the own class."""
    edges = set()
    for node, own in enumerate(y):
        for _ in range(per_node):
            pool = np.flatnonzero(y == own) if rng.random() < 0.8 else np.arange(len(y))
            edges.add((node, int(rng.choice(pool))))
    return sorted(edges)


@pytest.fixture(scope="session")
def planetoid_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 560 nodes under Cora's name: pickled sparse matrices, a dict of lists, a text index."""
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


@pytest.fixture(scope="session")
def webkb_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 60 pages under Texas's name: two tab-separated tables and ten split archives."""
    rng = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("webkb")
    raw = root / "texas" / "raw"
    raw.mkdir(parents=True)
    y = np.arange(60) % CLASSES
    nodes = ["node_id\tfeature\tlabel"]
    for i, row in enumerate(_features(y, rng).astype(int)):
        nodes.append(f"{i}\t{','.join(map(str, row))}\t{y[i]}")
    (raw / "out1_node_feature_label.txt").write_text("\n".join(nodes) + "\n")
    links = ["node_id\tnode_id", *(f"{a}\t{b}" for a, b in _edges(y, rng))]
    (raw / "out1_graph_edges.txt").write_text("\n".join(links) + "\n")
    for k in range(10):
        role = rng.permutation(np.arange(60) % 3)
        masks = {f"{name}_mask": (role == i).astype(np.int64) for i, name in enumerate(("train", "val", "test"))}
        np.savez(raw / f"texas_split_0.6_0.2_{k}.npz", **masks)
    return root
