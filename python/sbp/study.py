"""The two studies: one setting over many seeds, and many depths of many models."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import homophily
from tqdm import tqdm

from .config import Config, resolve, takes
from .datasets import DATASETS, load_dataset
from .errors import UserError, require_known
from .fit import fit_linear
from .metrics import accuracy, dirichlet_energy, effective_rank
from .models import MODELS, Model
from .result import ROLES, Result, Run


def train(
    dataset: str,
    model: str,
    layers: int = 2,
    root: str = "data",
    *,
    metrics: bool = False,
    progress: bool = False,
    **settings: Any,
) -> Result:
    """Propagate `layers` steps once, then train one linear layer a seed (SGC backbone, arXiv 1902.07153).

    `settings` are those of `config.resolve`: split, seeds, first_seed and any setting in `config.OPTIONS`.
    `metrics` adds Dirichlet energy and effective rank.
    Raises `UserError` for unknown names, settings out of range and files it cannot get.
    """
    require_known("dataset", dataset, DATASETS)
    config = resolve(dataset, model, layers, num_splits=DATASETS[dataset].num_splits, **settings)
    return measure([config], root, metrics, progress)[0]


def depth(
    dataset: str,
    models: Sequence[str],
    layers: Sequence[int],
    root: str = "data",
    *,
    ablation: bool = False,
    metrics: bool = True,
    progress: bool = False,
    **settings: Any,
) -> list[Result]:
    """Measure every model at every depth, in rising order of depth; arguments as `train`.

    A setting applies to the models that have it. `ablation` adds each signed model with beta = 0.
    """
    require_known("dataset", dataset, DATASETS)
    models = list(dict.fromkeys(models))
    for model in models:
        require_known("model", model, MODELS)
    if not models or not layers:
        raise UserError(f"depth needs a model and a depth, got models {models} and layers {list(layers)}")
    unused = [name for name in settings if not any(takes(model, name) for model in models)]
    if unused:
        raise UserError(f"none of the models {', '.join(models)} has a setting {', '.join(unused)}")
    results: list[Result] = []
    for model in models:
        own = {name: value for name, value in settings.items() if takes(model, name)}
        splits = DATASETS[dataset].num_splits
        configs = [resolve(dataset, model, n, num_splits=splits, **own) for n in sorted(set(layers))]
        results += measure(configs, root, metrics, progress)
        if ablation and is_signed(configs[0]):
            results += measure([replace(c, beta=0.0) for c in configs], root, metrics, progress)
    return results


def is_signed(config: Config) -> bool:
    """Whether the setting has negative edges, so that beta = 0 is its ablation."""
    return MODELS[config.model].signed and config.beta != 0


def measure(configs: Sequence[Config], root: str, metrics: bool = True, progress: bool = False) -> list[Result]:
    """Run settings that differ in propagation only, on the dataset, splits and seeds they share."""
    results = [Result(config, label(config)) for config in configs]
    splits = configs[0].splits
    # disable=None: silent where stderr is no terminal.
    with tqdm(total=len(configs) * len(splits), unit="run", leave=False, disable=None if progress else True) as bar:
        for split in splits:
            sweep = Sweep(prepare(load_dataset(configs[0].dataset, root, split), configs[0]))
            for result in results:
                bar.set_description(f"{result.label}, {result.config.layers} layers")
                _add_split(result, sweep, split, metrics, progress)
                bar.update()
    return results


class Sweep:
    """Features of one graph at one depth after another, going on from the last if only `layers` grew."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self._rule: Config | None = None
        self._model: Model
        self._x: Tensor
        self._depth = 0

    def features(self, config: Config) -> Tensor:
        """Return the features `[n, d]` that the linear layer sees."""
        rule = replace(config, layers=0)
        if rule != self._rule or config.layers < self._depth:
            self._model, self._rule = MODELS[config.model](self.data, config), rule
            self._x, self._depth = self.data.x, 0
        self._x = self._model.propagate(self._x, config.layers - self._depth)
        self._depth = config.layers
        return self._model.output(self._x)


def prepare(data: Data, config: Config) -> Data:
    """Normalise the features as asked and move everything to the run's device."""
    if config.feature_norm == "row":
        data = NormalizeFeatures()(data)
    try:
        return data.to(config.device)
    # torch has no error class of its own for a device that it does not know or was not built for.
    except (RuntimeError, AssertionError) as cause:
        raise UserError(f"device {config.device} cannot be used: {str(cause).splitlines()[0]}") from cause


def label(config: Config) -> str:
    """Return the name of a setting in tables and figures."""
    return f"{config.model}, beta=0" if MODELS[config.model].signed and config.beta == 0 else config.model


def describe(data: Data) -> dict[str, Any]:
    """Return the size of a graph, directed edges counted as stored, and its edge homophily."""
    return {
        "nodes": data.num_nodes,
        "edges": data.num_edges,
        "features": data.num_features,
        "classes": int(data.y.max()) + 1,
        "homophily": round(homophily(data.edge_index, data.y), 4),
        **{role: int(data[f"{role}_mask"].sum()) for role in ROLES},
    }


def _add_split(result: Result, sweep: Sweep, split: int, metrics: bool, progress: bool) -> None:
    config, data = result.config, sweep.data
    result.graph = result.graph or describe(data)
    with _clock(result, "propagate"):
        x = sweep.features(config)
    if not bool(torch.isfinite(x).all()):
        # The argmax of NaN is class 0: an accuracy of it would mean nothing.
        result.runs += [Run(split, seed, None, None, None) for seed in config.seeds]
        result.energies.append(math.nan)
        result.ranks.append(math.nan)
        return
    with _clock(result, "train"):
        _add_runs(result, data, x, split, progress)
    if metrics:
        result.energies.append(dirichlet_energy(x, data.edge_index))
        result.ranks.append(effective_rank(x))


def _add_runs(result: Result, data: Data, x: Tensor, split: int, progress: bool) -> None:
    config = result.config
    fitted = fit_linear(
        x,
        data.y,
        data.train_mask,
        result.graph["classes"],
        config.seeds,
        epochs=config.epochs,
        lr=config.lr,
        weight_decay=config.weight_decay,
        progress=progress,
    )
    for seed, predicted in zip(config.seeds, fitted, strict=True):
        scores = {role: accuracy(predicted, data.y, data[f"{role}_mask"]) for role in ROLES}
        result.runs.append(Run(split, seed, **scores))


@contextmanager
def _clock(result: Result, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    result.seconds[stage] += time.perf_counter() - start
