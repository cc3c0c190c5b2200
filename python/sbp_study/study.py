"""The studies: one setting over many seeds, models against depth, and models against any setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .config import OPTIONS, Config, resolve, takes
from .datasets import DATASETS
from .errors import UserError, require_known
from .models import MODELS
from .presets import BACKBONES, MODEL_PRESETS
from .training.result import Result
from .training.runner import Options, is_signed, measure, require_runnable

# The maximum number of points of a curve; a figure cannot show more.
_MOST_POINTS = 1000


def train(
    dataset: str,
    model: str,
    layers: int = 2,
    root: str = "data",
    *,
    options: Options | None = None,
    **settings: Any,
) -> Result:
    """Train one model at one depth over its seeds.

    On the SGC backbone (arXiv 1902.07153) features are propagated once, then one linear layer per seed is trained.
    `settings` are those of `config.resolve`: backbone, split, seeds, first_seed and any setting in
    `config.OPTIONS`. `options` says how to run; without it, `root` is the folder of the datasets.
    Raises `UserError` for unknown names, settings out of range and files that are missing and cannot be downloaded.
    """
    require_known("dataset", dataset, DATASETS)
    config = resolve(dataset, model, layers, num_splits=DATASETS[dataset].num_splits, **settings)
    return measure([config], options or Options(root))[0]


def depth(
    dataset: str,
    models: Sequence[str],
    layers: Sequence[int],
    root: str = "data",
    *,
    ablation: bool = False,
    options: Options | None = None,
    **settings: Any,
) -> list[Result]:
    """Measure every model at every depth, in increasing order of depth; arguments as in `train`.

    A setting applies to the models that have it. `ablation` adds every signed model with beta = 0.
    """
    models = _known(dataset, models, settings)
    if not models or not layers:
        raise UserError(f"depth needs a model and a depth, got models {models} and layers {list(layers)}")
    _require_few("depths", layers)
    # Resolve all settings first: an error in the last model must not appear after hours of running the others.
    groups: list[list[Config]] = []
    for model in models:
        configs = [_resolve(dataset, model, n, settings) for n in sorted(set(layers))]
        groups.append(configs)
        if ablation and is_signed(configs[0]):
            groups.append([replace(c, beta=0.0) for c in configs])
    return _measure_all(groups, options or Options(root, metrics=True))


def sweep(
    dataset: str,
    models: Sequence[str],
    setting: str,
    values: Sequence[Any],
    layers: int = 2,
    root: str = "data",
    *,
    options: Options | None = None,
    **settings: Any,
) -> list[Result]:
    """Measure every model at every value of one setting, models without it once; arguments as in `train`."""
    require_known("setting", setting, OPTIONS)
    models = _known(dataset, models, {**settings, setting: None})
    if not models or not values:
        raise UserError(f"sweep needs a model and values of {setting}, got models {models} and values {list(values)}")
    if setting in settings:
        raise UserError(f"sweep varies {setting}: it must not be set as well, got {settings[setting]}")
    _require_few("values", values)
    groups: list[list[Config]] = []
    for model in models:
        own = settings.get("backbone")
        chosen: list[dict[str, Any]] = [{}]
        if takes(model, setting, own):
            chosen = [{setting: value} for value in dict.fromkeys(values)]
        groups += [[_resolve(dataset, model, layers, {**settings, **value})] for value in chosen]
    return _measure_all(groups, options or Options(root))


def list_models() -> dict[str, str]:
    """Return the name of every model with a one-line description, its place in the paper and its backbones."""
    return {
        name: f"{model.summary} ({model.section}; {', '.join(MODEL_PRESETS[name].backbones)})"
        for name, model in MODELS.items()
    }


def _require_few(kind: str, values: Sequence[Any]) -> None:
    if len(values) > _MOST_POINTS:
        raise UserError(f"{kind} must be at most {_MOST_POINTS:,}, got {len(values):,}")


def _measure_all(groups: Sequence[Sequence[Config]], options: Options) -> list[Result]:
    require_runnable([config for configs in groups for config in configs])
    return [result for configs in groups for result in measure(configs, options)]


def _known(dataset: str, models: Sequence[str], settings: dict[str, Any]) -> list[str]:
    """Return the models without duplicates; raise unless all names are known and a model has every setting."""
    require_known("dataset", dataset, DATASETS)
    models = list(dict.fromkeys(models))
    for model in models:
        require_known("model", model, MODELS)
    backbone = settings.get("backbone")
    if backbone is not None and backbone not in BACKBONES:
        raise UserError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone}")
    unused = [name for name in settings if not any(takes(model, name, backbone) for model in models)]
    if models and unused:
        raise UserError(f"none of the models {', '.join(models)} has a setting {', '.join(unused)}")
    return models


def _resolve(dataset: str, model: str, layers: int, settings: dict[str, Any]) -> Config:
    backbone = settings.get("backbone")
    own = {name: value for name, value in settings.items() if takes(model, name, backbone)}
    return resolve(dataset, model, layers, num_splits=DATASETS[dataset].num_splits, **own)
