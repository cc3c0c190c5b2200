"""The graphs of Geom-GCN with its ten splits (arXiv 2002.05287)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.datasets import Actor, WebKB, WikipediaNetwork

from .raw_files import checked
from .source import pick_split, read_files


def webkb(name: str, root: str, split: int) -> Data:
    """Read `root/<name>/raw`: university web pages; edges are directed from the linking page to the linked page."""
    return _load(lambda: checked(WebKB)(root, name), name, Path(root) / name / "raw", name, split)


def wikipedia(name: str, root: str, split: int) -> Data:
    """Read `root/<name>/geom_gcn/raw`: Wikipedia articles by traffic; links are directed, as stored.

    Many nodes are copies of others, across the splits too (arXiv 2302.11640).
    """
    return _load(
        lambda: checked(WikipediaNetwork)(root, name), name, Path(root) / name / "geom_gcn" / "raw", name, split
    )


def actor(root: str, split: int) -> Data:
    """Read `root/actor/raw`: actors on the same Wikipedia page; edges are directed, as stored."""
    folder = Path(root) / "actor"
    return _load(lambda: checked(Actor)(str(folder)), "actor", folder / "raw", "film", split)


def _load(make: Callable[[], InMemoryDataset], name: str, folder: Path, prefix: str, split: int) -> Data:
    files = ["out1_node_feature_label.txt", "out1_graph_edges.txt"]
    files += [f"{prefix}_split_0.6_0.2_{k}.npz" for k in range(10)]
    return pick_split(read_files(lambda: make()[0], name, folder, files), split)
