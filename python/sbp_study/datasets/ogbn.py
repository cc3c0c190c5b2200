"""ogbn-arxiv and ogbn-products with the splits of the Open Graph Benchmark (arXiv 2005.00687)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch_geometric.data import Data, download_url, extract_zip
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage
from torch_geometric.utils import index_to_mask, to_undirected

from ..errors import UserError
from .source import read_files

_TABLES = ("edge", "node-feat", "node-label", "num-node-list", "num-edge-list")
# Name and size of the archive, the tables that only this graph has, and the name of the split.
_ARCHIVES = {
    "ogbn-arxiv": ("arxiv", "80 MB", ("node_year",), "time"),
    "ogbn-products": ("products", "1.4 GB", (), "sales_ranking"),
}


def load(name: str, root: str, split: int) -> Data:
    """Read `root/<name, _ for ->` in the layout of OGB: folders raw and split, and RELEASE_v1.txt.

    ogbn-products is undirected. ogbn-arxiv is a directed citation graph; as is usual, it is converted to an undirected
    graph. If the folder does not exist, the archive is downloaded. If files in it are missing, nothing is downloaded.
    Requires the package ogb, whose cached graph is read with `weights_only`.
    """
    reader = _reader(name)
    _, _, own, by = _ARCHIVES[name]
    folder = Path(root) / name.replace("-", "_")
    # OGB prefers the folder with its older name.
    older = folder.with_name(f"{folder.name}_pyg")
    folder = older if older.exists() else folder
    files = ["RELEASE_v1.txt", *(f"raw/{table}.csv.gz" for table in (*_TABLES, *own))]
    files += [f"split/{by}/{part}.csv.gz" for part in ("train", "valid", "test")]
    data = read_files(lambda: _read(reader, name, folder, files), name, folder, files)
    if name == "ogbn-arxiv":
        data.edge_index = to_undirected(data.edge_index, num_nodes=data.num_nodes)
    return data


def _read(reader: Any, name: str, folder: Path, files: list[str]) -> Data:
    if not folder.exists():
        _download(name, folder)
    missing = [file for file in files if not (folder / file).exists()]
    if missing:
        # OGB would prompt on stdin and then delete the folder.
        raise UserError(f"{name} is not complete; put these files into {folder}: {', '.join(missing)}")
    # OGB prints its progress on stdout, which is reserved for results.
    with redirect_stdout(sys.stderr), torch.serialization.safe_globals([DataEdgeAttr, DataTensorAttr, GlobalStorage]):
        dataset = reader(name, str(folder.parent))
        index = dataset.get_idx_split()
    data, n = dataset[0], dataset[0].num_nodes
    parts = {"train": "train", "val": "valid", "test": "test"}
    masks = {f"{role}_mask": index_to_mask(index[part], n) for role, part in parts.items()}
    return Data(x=data.x, y=data.y.squeeze(1), edge_index=data.edge_index, **masks)


def _download(name: str, folder: Path) -> None:
    archive, size, _, _ = _ARCHIVES[name]
    print(f"{name}: downloading {size} into {folder}", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Unpack into a temporary folder first, so that an existing folder is always complete.
    for left in folder.parent.glob(f".{folder.name}-*"):
        # These belong to killed processes: `read_files` lets only one process at a time download.
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        url = f"http://snap.stanford.edu/ogb/data/nodeproppred/{archive}.zip"
        extract_zip(download_url(url, temporary, log=False), temporary, log=False)
        (Path(temporary) / archive).rename(folder)


def _reader(name: str) -> Any:
    with _no_version_check():
        try:
            from ogb.nodeproppred import PygNodePropPredDataset
        except ImportError as cause:
            raise UserError(f"{name} needs the package ogb: pip install 'sbp-kernels[ogb]' ({cause})") from cause
    return PygNodePropPredDataset


@contextmanager
def _no_version_check() -> Iterator[None]:
    """Hide the package `outdated`, with which OGB contacts the network for its latest version during import."""
    if "outdated" in sys.modules:
        yield
        return
    sys.modules["outdated"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["outdated"]
