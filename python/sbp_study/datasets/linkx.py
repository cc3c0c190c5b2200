"""Penn94: friendships of a campus, with the five splits of LINKX (arXiv 2110.14446)."""

from __future__ import annotations

from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.datasets import LINKXDataset

from .raw_files import checked
from .source import pick_split, read_files


def load(root: str, split: int) -> Data:
    """Read `root/penn94/raw`; the graph is undirected, with edges stored in both directions.

    The class is the gender. A person of unknown gender has y = -1 and is in no mask.
    """
    files = ["data.mat", "fb100-Penn94-splits.npy"]
    folder = Path(root) / "penn94" / "raw"
    return pick_split(read_files(lambda: checked(LINKXDataset)(root, "penn94")[0], "penn94", folder, files), split)
