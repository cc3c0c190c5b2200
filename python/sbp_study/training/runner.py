"""Run settings: load the data, propagate features or train networks, and save each finished run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

from sbp_kernels.backends import check_name

from ..config import Config
from ..datasets import load_dataset, load_stand_in
from ..datasets.description import ROLES, describe, num_classes
from ..errors import UserError
from ..models import MODELS, Model
from ..presets import MODEL_PRESETS
from .limits import too_much_memory
from .linear_classifier import fit_linear
from .metrics import accuracy, dirichlet_energy, effective_rank
from .progress import ProgressBar
from .result import Layer, Part, Result, Run
from .run_cache import RunCache
from .trainer import Trainer


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        root: the folder of the datasets.
        run_cache: where finished runs are saved, None to save none.
        metrics: measure Dirichlet energy and effective rank of the final features.
        per_layer: measure them after each layer, too.
        progress: show progress bars.
        stand_ins: use synthetic graphs instead of datasets, without files.
    """

    root: str = "data"
    run_cache: RunCache | None = None
    metrics: bool = False
    per_layer: bool = False
    progress: bool = False
    stand_ins: bool = False


def measure(configs: Sequence[Config], options: Options) -> list[Result]:
    """Run settings that share their dataset, splits and seeds; a deeper setting continues from a shallower one.

    Raises `UserError` for settings that this machine cannot run, before any data is read.
    """
    require_runnable(configs)
    results = [Result(config, label(config)) for config in configs]
    splits = configs[0].splits
    with ProgressBar("", len(configs) * len(splits), "run", shown=options.progress) as bar:
        for split in splits:
            sweep = Sweep(prepare(load(configs[0], options, split), configs[0]))
            for config in configs:
                require_memory(config, sweep.data)
            for result in results:
                bar.describe(f"{result.label}, {result.config.layers} layers")
                result.add(*_parts(replace(result.config, splits=(split,)), sweep, options))
                bar.update()
    return results


class Sweep:
    """Propagated features of one graph. A call continues from the previous depth if only `layers` has increased."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self._rule: Config | None = None
        self._model: Model
        self._x: Tensor
        self._depth = 0

    def features(self, config: Config) -> Tensor:
        """Return the input features `[n, d]` of the linear layer."""
        rule = replace(config, layers=0)
        if rule != self._rule or config.layers < self._depth or not self._model.adds_up:
            self._model, self._rule = MODELS[config.model](self.data, config), rule
            self._x, self._depth = self.data.x, 0
        with torch.no_grad():
            self._x = self._model.propagate(self._x, config.layers - self._depth)
            self._depth = config.layers
            return self._model.output(self._x)


def load(config: Config, options: Options, split: int) -> Data:
    """Return one split of the dataset, or of the synthetic graph that replaces it."""
    own = {} if config.phi is None else {"phi": config.phi}
    if options.stand_ins:
        return load_stand_in(config.dataset, split, **own)
    return load_dataset(config.dataset, options.root, split, **own)


def prepare(data: Data, config: Config) -> Data:
    """Normalize the features and move the data to the device of the run."""
    if config.feature_norm == "row":
        data = NormalizeFeatures()(data)
    return data.to(config.device)


def require_runnable(configs: Sequence[Config]) -> None:
    """Raise a `UserError` for a backbone, backend or device that cannot run its setting."""
    for config in configs:
        if config.backbone != "sgc" and config.layers < 1:
            raise UserError(f"layers must be >= 1 on the backbone {config.backbone}, got {config.layers}")
        if config.backend is not None:
            check_name(config.backend)
        try:
            if torch.empty(0, device=config.device).is_meta:
                raise RuntimeError("it holds no numbers")
        # torch has no specific exception for a device that is unknown or missing from its build.
        except (RuntimeError, AssertionError) as cause:
            raise UserError(f"device {config.device} cannot be used: {str(cause).splitlines()[0]}") from cause


def require_memory(config: Config, data: Data) -> None:
    """Raise a `UserError` for a run that needs more memory than this machine has, before allocating it."""
    why = too_much_memory(config, data.num_nodes, data.num_edges, data.num_features, num_classes(data))
    if why:
        raise UserError(f"{label(config)} with {config.layers} layers is {why}")


def label(config: Config) -> str:
    """Return the name of a setting in tables and figures."""
    name = config.model if config.backbone == MODEL_PRESETS[config.model].backbones[0] else _on(config)
    return f"{name}, beta=0" if MODELS[config.model].signed and config.beta == 0 else name


def is_signed(config: Config) -> bool:
    """Return whether the setting has negative edges, so that beta = 0 is its ablation."""
    return MODELS[config.model].signed and config.beta != 0


def _on(config: Config) -> str:
    return f"{config.model} on {config.backbone}"


def _parts(config: Config, sweep: Sweep, options: Options) -> list[Part]:
    """Return the results of one split, from the run cache if they are there."""
    compute = _fixed if config.backbone == "sgc" and MODELS[config.model].is_fixed(config) else _trained
    # Training a network takes long, so each seed is saved when it is finished.
    units = [config] if compute is _fixed else [replace(config, seeds=(seed,)) for seed in config.seeds]
    return [_cached(unit, sweep, options, compute) for unit in units]


def _cached(config: Config, sweep: Sweep, options: Options, compute: Any) -> Part:
    if options.run_cache is None:
        return compute(config, sweep, options)
    path = options.run_cache.run_path(sweep.data, config, options.metrics, options.per_layer)
    runs = [(config.splits[0], seed) for seed in config.seeds]
    return options.run_cache.run(path, runs, lambda: compute(config, sweep, options))


def _fixed(config: Config, sweep: Sweep, options: Options) -> Part:
    """Propagate once, then train one linear layer per seed."""
    data, part = sweep.data, Part(describe(sweep.data))
    if options.per_layer:
        part.layers = [_layer(data, sweep.features(replace(config, layers=k)), k) for k in _depths(config.layers)]
    with _clock(part, "propagate"):
        compute = lambda: sweep.features(config)  # noqa: E731
        x = compute() if options.run_cache is None else options.run_cache.features(data, config, compute)
    if not bool(torch.isfinite(x).all()):
        part.runs = [_score(data, None, config, seed) for seed in config.seeds]
        return part
    with _clock(part, "train"):
        fitted = fit_linear(
            x,
            data.y,
            data.train_mask,
            num_classes(data),
            config.seeds,
            epochs=config.epochs,
            lr=config.lr,
            weight_decay=config.weight_decay,
            progress=options.progress,
        )
        part.runs = [_score(data, p, config, seed) for seed, p in zip(config.seeds, fitted, strict=True)]
    if options.metrics:
        part.last = _layer(data, x, config.layers)
    return part


def _trained(config: Config, sweep: Sweep, options: Options) -> Part:
    """Train the network of one seed. The metrics are those of its hidden layers after the last epoch."""
    data, part = sweep.data, Part(describe(sweep.data))
    (seed,) = config.seeds
    checkpoint, fresh = None, options.run_cache is not None and options.run_cache.fresh
    if options.run_cache is not None:
        checkpoint = options.run_cache.run_path(data, config, options.metrics, options.per_layer).with_suffix(".pt")
    # The run uses the global generators of torch; `fork_rng` restores them afterwards.
    with torch.random.fork_rng(), _clock(part, "train"):
        trainer = Trainer(data, config, num_classes(data), seed, checkpoint)
        # The run cache removes the checkpoint once the run is written.
        part.runs = [_score(data, trainer.fit(options.progress, resume=not fresh, remove=False), config, seed)]
    part.seconds["train"] += trainer.seconds
    if options.metrics and part.runs[0].test is not None:
        with torch.no_grad():
            hidden = trainer.network.eval().hidden(data.x)
        layers = [_layer(data, h, k + 1) for k, h in enumerate(hidden)]
        part.layers, part.last = layers if options.per_layer else [], layers[-1] if layers else None
    return part


def _score(data: Data, predicted: Tensor | None, config: Config, seed: int) -> Run:
    scores = {role: None if predicted is None else accuracy(predicted, data.y, data[f"{role}_mask"]) for role in ROLES}
    return Run(config.splits[0], seed, **scores)


def _layer(data: Data, x: Tensor, step: int) -> Layer:
    energy = dirichlet_energy(x, data.edge_index)
    return Layer(step, *((energy, effective_rank(x)) if math.isfinite(energy) else (None, None)))


def _depths(layers: int) -> list[int]:
    """Return 0, the powers of two below `layers`, and `layers`. The spectrum of every step would take minutes."""
    return sorted({0, *(1 << k for k in range(layers.bit_length())), layers})


@contextmanager
def _clock(part: Part, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    part.seconds[stage] += time.perf_counter() - start
