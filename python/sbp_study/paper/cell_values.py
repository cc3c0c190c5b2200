"""Compute the values of cells: accuracy, seconds, structural imbalance, or the silhouette score of an embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, pstdev
from typing import Any

import torch

from sbp_kernels import CSR, SignedGraph

from ..config import Config
from ..datasets import load_dataset
from ..models import MODELS
from ..models.sbp.negative_adjacency import feature_negative, label_negative
from ..theory import layers_as_graphs as layers
from ..theory.imbalance import structural_imbalance
from ..theory.layers_as_graphs import LayerGraph
from ..training.runner import Options, load, measure, prepare
from .table_plan import Cell

# The number of drawn graphs whose mean is compared with the paper's Table 6.
_DRAWS = 5
_REPEATS = 3


@dataclass
class Outcome:
    """A cell and its value, or a `note` on why there is none. `points` are x, y and class of each embedded node."""

    cell: Cell
    value: float | None = None
    std: float | None = None
    runs: int = 0
    seconds: float | None = None
    config: Config | None = None
    note: str = ""
    points: list[tuple[float, float, int]] | None = None

    @property
    def difference(self) -> float | None:
        """Return our value minus the paper's, or None if one of them is missing."""
        if self.value is None or not isinstance(self.cell.paper, float):
            return None
        return self.value - self.cell.paper


# Cells that differ only in depth or column, with their settings.
Group = Sequence[tuple[Cell, Config]]


def accuracy(group: Group, options: Options) -> list[Outcome]:
    """Return mean and standard deviation of the test accuracy over runs."""
    found = []
    for (cell, config), result in zip(group, measure([config for _, config in group], options), strict=True):
        mean, std = result.accuracy() or (None, None)
        note = "" if mean is not None else "its features are no longer finite numbers"
        found.append(Outcome(cell, mean, std, len(result.runs), sum(result.seconds.values()), config, note))
    return found


def seconds(group: Group, options: Options) -> list[Outcome]:
    """Return the seconds of each column's stage, for one seed, without reading saved runs."""
    config = replace(group[0][1], seeds=group[0][1].seeds[:1])
    fresh = replace(options, run_cache=None, metrics=False)
    runs = [measure([config], fresh)[0].seconds for _ in range(_REPEATS)]
    stages = {
        "precompute": [run["propagate"] for run in runs],
        "train": [run["train"] for run in runs],
        "total": [run["propagate"] + run["train"] for run in runs],
    }
    total = sum(stages["total"])
    return [
        Outcome(cell, median(stages[cell.column]), pstdev(stages[cell.column]), _REPEATS, total, config)
        for cell, _ in group
    ]


def imbalance(row: str) -> dict[str, list[float]]:
    """Return P, N and SID of the signed graph of a layer, on the first graphs drawn from CSBM."""
    found: dict[str, list[float]] = {"P": [], "N": [], "SID": []}
    for split in range(_DRAWS):
        data = load_dataset("csbm", split=split)
        layer = _layer_graph(row, data, split)
        sid = structural_imbalance(layer.graph, data.y, alpha=layer.alpha, beta=layer.beta)
        for name, value in (("P", sid.P), ("N", sid.N), ("SID", sid.sid)):
            found[name].append(value)
    return found


def _layer_graph(row: str, data: Any, seed: int) -> LayerGraph:
    """Return the signed graph of a row of Table 6; its random parts use a generator with this seed."""
    n = data.num_nodes
    a = CSR.from_edge_index(data.edge_index, num_nodes=n).add_self_loops().normalize("row")
    generator = torch.Generator().manual_seed(seed)
    make: dict[str, Callable[[], LayerGraph]] = {
        "DropEdge": lambda: layers.drop_edge(a, torch.rand(a.num_edges, generator=generator) < 0.3),
        "Residual": lambda: layers.residual(a),
        "SGC": lambda: layers.sgc(a),
        "APPNP": lambda: layers.appnp(a, 6, 0.9),
        "JKNet": lambda: layers.jknet(a, [1 / 7] * 7),
        "DAGNN": lambda: layers.dagnn(a, torch.rand(n, 7, generator=generator)),
        "BatchNorm": lambda: layers.batch_norm(a),
        "PairNorm": lambda: layers.pair_norm(a),
        "ContraNorm": lambda: layers.contra_norm(a, data.x.double()),
        "Feature-SBP": lambda: LayerGraph(SignedGraph(a, feature_negative(data.x))),
        "Label-SBP": lambda: layers.label_signs(a, data.y, data.train_mask),
        "Label-SBP, softmax": lambda: LayerGraph(SignedGraph(a, label_negative(data.y, data.train_mask))),
    }
    return make[row]()


def embedding(cell: Cell, config: Config, options: Options, quick: bool) -> Outcome:
    """Embed the features of one split in the plane by t-SNE; the value is the silhouette score of the classes."""
    try:
        from sklearn.manifold import TSNE
        from sklearn.metrics import silhouette_score
    except ImportError as cause:
        return Outcome(cell, note=f"needs scikit-learn: pip install 'sbp-kernels[study]' ({cause})")
    config = replace(config, splits=config.splits[:1])
    data = prepare(load(config, options, config.splits[0]), config)
    model = MODELS[config.model](data, config)
    with torch.no_grad():
        x = model.output(model.propagate(data.x, config.layers)).double()
    plane = TSNE(init="pca", random_state=0, perplexity=30, max_iter=250 if quick else 1000).fit_transform(x.numpy())
    y = data.y.tolist()
    points = [(round(float(a), 3), round(float(b), 3), c) for (a, b), c in zip(plane, y, strict=True)]
    return Outcome(cell, float(silhouette_score(plane, y)), runs=1, config=config, points=points)


def spread(cell: Cell, values: Sequence[float]) -> Outcome:
    """Return an outcome with the mean and standard deviation of values."""
    return Outcome(cell, fmean(values), pstdev(values), len(values))
