"""Node classification datasets by name. To add a dataset, write a loader and add an entry here."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from torch_geometric.data import Data

from ..errors import UserError, require_known
from . import csbm, geom_gcn, heterophilous, karate, linkx, ogbn, planetoid, stand_in
from .source import Size, Source


def _planetoid(name: str, title: str, size: Size) -> Source:
    return Source(partial(planetoid.load, name), title, "citations", size)


def _webkb(title: str, size: Size) -> Source:
    return Source(partial(geom_gcn.webkb, title.lower()), title, "web pages of a university", size, 10)


def _wikipedia(title: str, size: Size) -> Source:
    return Source(partial(geom_gcn.wikipedia, title.lower()), title, "Wikipedia articles", size, 10)


def _heterophilous(title: str, about: str, size: Size) -> Source:
    return Source(partial(heterophilous.load, title.lower()), title, about, size, 10)


# Sizes and homophily are the published ones. Tests compare them with the datasets whose files are available.
DATASETS: dict[str, Source] = {
    "cora": _planetoid("Cora", "Cora", Size(2708, 10556, 1433, 7, 0.81)),
    "citeseer": _planetoid("CiteSeer", "Citeseer", Size(3327, 9104, 3703, 6, 0.74)),
    "pubmed": _planetoid("PubMed", "PubMed", Size(19717, 88648, 500, 3, 0.80)),
    "texas": _webkb("Texas", Size(183, 325, 1703, 5, 0.11)),
    "wisconsin": _webkb("Wisconsin", Size(251, 515, 1703, 5, 0.20)),
    "cornell": _webkb("Cornell", Size(183, 298, 1703, 5, 0.31)),
    "chameleon": _wikipedia("Chameleon", Size(2277, 36101, 2325, 5, 0.24)),
    "squirrel": _wikipedia("Squirrel", Size(5201, 217073, 2089, 5, 0.22)),
    "actor": Source(geom_gcn.actor, "actor", "actors on one page", Size(7600, 30019, 932, 5, 0.22), 10),
    "amazon-ratings": _heterophilous("Amazon-ratings", "products", Size(24492, 186100, 300, 5, 0.38)),
    "roman-empire": _heterophilous("roman-empire", "words of an article", Size(22662, 65854, 300, 18, 0.05)),
    "tolokers": _heterophilous("Tolokers", "workers of a platform", Size(11758, 1038000, 10, 2, 0.59)),
    "questions": _heterophilous("Questions", "users of a website", Size(48921, 307080, 301, 2, 0.84)),
    "minesweeper": _heterophilous("Minesweeper", "cells of a grid", Size(10000, 78804, 7, 2, 0.68)),
    "penn94": Source(linkx.load, "penn94", "friendships", Size(41554, 2724458, 4814, 2, 0.47), 5),
    "ogbn-arxiv": Source(
        partial(ogbn.load, "ogbn-arxiv"), "ogbn-arxiv", "citations", Size(169343, 2315598, 128, 40, 0.65)
    ),
    "ogbn-products": Source(
        partial(ogbn.load, "ogbn-products"), "ogbn-products", "products", Size(2449029, 123718280, 100, 47, 0.81)
    ),
    "karate": Source(karate.load, "Karate", "members of a club", Size(34, 156, 34, 4, 0.76), embedded=True),
    # The number of edges is the expected one.
    "csbm": Source(csbm.load, "CSBM", "random block model", Size(200, 2745, 8, 2, 0.66), 100, True, ("phi",)),
}


def load_dataset(name: str, root: str = "data", split: int = 0, **options: Any) -> Data:
    """Return PyG `Data` with x `[n, d]`, y `[n]`, edge_index `[2, E]` and bool train, val, test masks `[n]`.

    PyG and OGB read `root/<name>`, download missing files, and write a folder `processed` beside the raw files. An
    unknown label is -1, and its node is in no mask. `options` are the options of the loader: `phi` for csbm.
    Raises `UserError` for an unknown name, split or option, and for files that are missing and cannot be downloaded.
    """
    source = _source(name, split, options)
    data = source.load(root, split, **options)
    if not source.embedded and (data.num_nodes, data.num_edges) != (source.size.nodes, source.size.edges):
        warnings.warn(
            f"{name} as read from {root} has {data.num_nodes:,} nodes and {data.num_edges:,} edges, its source states "
            f"{source.size.nodes:,} and {source.size.edges:,}: are its files whole?",
            stacklevel=2,
        )
    return data


def load_stand_in(name: str, split: int = 0, **options: Any) -> Data:
    """Return a synthetic graph of about 300 nodes instead of the dataset; embedded datasets are returned themselves."""
    source = _source(name, split, options)
    return source.load("", split, **options) if source.embedded else stand_in.draw(source, split)


def list_datasets() -> dict[str, str]:
    """Return the name and a one-line description of every dataset."""
    return {name: source.summary for name, source in DATASETS.items()}


def _source(name: str, split: int, options: dict[str, Any]) -> Source:
    require_known("dataset", name, DATASETS)
    source = DATASETS[name]
    if split not in range(source.num_splits):
        raise UserError(f"split must be an index below {source.num_splits} for {name}, got {split}")
    unknown = [option for option in options if option not in source.options]
    if unknown:
        raise UserError(f"{name} has no option {unknown[0]}: it takes {', '.join(source.options) or 'none'}")
    return source
