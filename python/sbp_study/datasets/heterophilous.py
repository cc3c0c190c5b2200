"""Amazon-ratings, Roman-empire, Tolokers, Questions and Minesweeper, with their ten splits (arXiv 2302.11640)."""

from __future__ import annotations

from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.datasets import HeterophilousGraphDataset

from .raw_files import checked
from .source import pick_split, read_files


def load(name: str, root: str, split: int) -> Data:
    """Read `root/<name, _ for ->/raw`; the graphs are undirected, with edges stored in both directions."""
    stem = name.replace("-", "_")
    folder = Path(root) / stem / "raw"
    data = read_files(lambda: checked(HeterophilousGraphDataset)(root, name)[0], name, folder, [f"{stem}.npz"])
    return pick_split(data, split)
