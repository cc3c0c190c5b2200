"""Texas, Wisconsin and Cornell: university web pages with the ten Geom-GCN splits (arXiv 2002.05287)."""

from __future__ import annotations

from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.datasets import WebKB

from .source import pick_split, read_files


def load(name: str, root: str, split: int) -> Data:
    """Read `root/<name>/raw`; an edge goes from the page with the link to the page it names."""
    files = ["out1_node_feature_label.txt", "out1_graph_edges.txt"]
    files += [f"{name}_split_0.6_0.2_{k}.npz" for k in range(10)]
    data = read_files(lambda: WebKB(root, name), name, Path(root) / name / "raw", files)
    return pick_split(data, split)
