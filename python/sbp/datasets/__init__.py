"""Node classification datasets by name; to add one, write a loader and enter it here."""

from __future__ import annotations

from functools import partial

from torch_geometric.data import Data

from ..errors import UserError, require_known
from . import csbm, karate, planetoid, webkb
from .source import Source

DATASETS: dict[str, Source] = {
    "cora": Source(partial(planetoid.load, "Cora"), "citations, 2708 papers, 7 classes, 140 known labels"),
    "citeseer": Source(partial(planetoid.load, "CiteSeer"), "citations, 3327 papers, 6 classes, 120 known labels"),
    "pubmed": Source(partial(planetoid.load, "PubMed"), "citations, 19717 papers, 3 classes, 60 known labels"),
    "texas": Source(partial(webkb.load, "texas"), "web pages, 183 nodes, heterophilic, ten splits", 10),
    "wisconsin": Source(partial(webkb.load, "wisconsin"), "web pages, 251 nodes, heterophilic, ten splits", 10),
    "cornell": Source(partial(webkb.load, "cornell"), "web pages, 183 nodes, heterophilic, ten splits", 10),
    "karate": Source(karate.load, "karate club, 34 members, 4 known labels; embedded, no files"),
    "csbm": Source(csbm.load, "random block model, 200 nodes, 2 classes, 100 draws; no files", 100),
}


def load_dataset(name: str, root: str = "data", split: int = 0) -> Data:
    """Return PyG `Data` with x `[n, d]`, y `[n]`, edge_index `[2, E]` and bool train, val, test masks `[n]`.

    PyG reads `root/<name>/raw`, downloads what is missing there, and writes `processed` beside it.
    Raises `UserError` for an unknown name or split, and for files it cannot get.
    """
    require_known("dataset", name, DATASETS)
    source = DATASETS[name]
    if split not in range(source.num_splits):
        raise UserError(f"split must be an index below {source.num_splits} for {name}, got {split}")
    return source.load(root, split)


def list_datasets() -> dict[str, str]:
    """Return every dataset's name and one-line description."""
    return {name: source.summary for name, source in DATASETS.items()}
