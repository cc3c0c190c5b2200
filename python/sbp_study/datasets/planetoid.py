"""Cora, Citeseer and PubMed with their public split (Yang et al., arXiv 1603.08861)."""

from __future__ import annotations

from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid

from .raw_files import checked
from .source import read_files

_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


def load(name: str, root: str, split: int) -> Data:
    """Read `root/<name>/raw`; the citation graphs are undirected, with edges stored in both directions."""
    files = [f"ind.{name.lower()}.{part}" for part in _PARTS]
    return read_files(lambda: checked(Planetoid)(root, name)[0], name.lower(), Path(root) / name / "raw", files)
