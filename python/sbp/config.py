"""Settings of a run: one dataclass, and the presets per model and dataset that fill it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

from .errors import UserError, require_known


@dataclass(frozen=True)
class Option:
    """What the command line and the checks need to know of a setting."""

    help: str
    type: type = float
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Config:
    """Everything that decides a result; `| Any` marks what is None for a model that has no use for it."""

    dataset: str
    model: str
    layers: int
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    feature_norm: Annotated[str, Option("features first: row = rows sum to 1", str, ("none", "row"))]
    norm: Annotated[str | Any, Option("adjacency: sym = D^-1/2 A D^-1/2, row = D^-1 A", str, ("sym", "row"))]
    self_loops: Annotated[bool | Any, Option("add missing self-loops to the adjacency", bool)]
    edges: Annotated[
        str | Any,
        Option("directed edges: stored = a target gathers its sources", str, ("stored", "reversed", "undirected")),
    ]
    alpha: Annotated[float | Any, Option("strength of the positive edges")]
    beta: Annotated[float | Any, Option("strength of the negative edges")]
    lam: Annotated[float | Any, Option("step size lambda in [0, 1]; 1 keeps nothing of X")]
    label_softmax: Annotated[str | Any, Option("nodes the label softmax runs over", str, ("all", "labelled"))]
    temperature: Annotated[float | Any, Option("temperature of the feature softmax")]
    layer_norm: Annotated[str | Any, Option("LayerNorm at the end or every step", str, ("none", "final", "every"))]
    epochs: Annotated[int, Option("full-batch Adam epochs; the last one is reported", int)]
    lr: Annotated[float, Option("learning rate")]
    weight_decay: Annotated[float, Option("weight decay")]
    backend: Annotated[str | None, Option("sbp_kernels backend to insist on (default: the first that can run)", str)]
    device: Annotated[str, Option("torch device, for instance cpu or cuda", str)]


OPTIONS: dict[str, Option] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Config, include_extras=True).items()
    if get_origin(hint) is Annotated
}


def lam_for_depth(layers: int) -> float:
    """Tie lambda to depth: 0.9 to two layers, 0.5 to ten, 0.1 beyond, so that deep features still differ."""
    return 0.9 if layers <= 2 else 0.5 if layers <= 10 else 0.1


_COMMON = {"feature_norm": "row", "epochs": 100, "lr": 0.2, "weight_decay": 5e-4, "backend": None, "device": "cpu"}
_GRAPH = {"norm": "sym", "self_loops": True, "edges": "stored", "layer_norm": "none"}
_SIGNED = {**_GRAPH, "alpha": 1.0, "beta": 0.9, "lam": lam_for_depth}

# A model takes the propagation settings that its preset names, and no others.
MODEL_PRESETS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "sgc": _GRAPH,
    "label-sbp": {**_SIGNED, "label_softmax": "all"},
    "feature-sbp": {**_SIGNED, "temperature": 1.0},
    "label-sbp-v2": {**_GRAPH, "alpha": 1.0, "lam": lam_for_depth},
    "feature-sbp-v2": _SIGNED,
}

# Edge direction and beta chosen on validation accuracy over the three graphs together.
_WEBKB = {
    "feature_norm": "none",
    "norm": "row",
    "edges": "reversed",
    "lam": 0.1,
    "beta": 0.1,
    "lr": 0.1,
    "weight_decay": 5e-4,
}

DATASET_PRESETS: dict[str, dict[str, Any]] = {
    # Learning rates and weight decays of DGC, arXiv 2102.10739.
    "cora": {"lr": 0.156, "weight_decay": 3.544e-5},
    "citeseer": {"lr": 1.39, "weight_decay": 2e-4},
    "pubmed": {"lr": 0.627, "weight_decay": 9.38e-6},
    "texas": _WEBKB,
    "wisconsin": _WEBKB,
    "cornell": _WEBKB,
    # Features are the identity already.
    "karate": {"feature_norm": "none"},
    # A draw has 40 test nodes and varies more than a seed does: many draws, one seed each.
    "csbm": {"norm": "row", "split": "all", "seeds": 1, "lr": 0.1},
}

PAIR_PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("csbm", "label-sbp"): {"lam": 0.9, "beta": 0.9, "layer_norm": "every"},
    ("csbm", "feature-sbp"): {"lam": 0.5, "beta": 0.5, "layer_norm": "every"},
}


def resolve(
    dataset: str,
    model: str,
    layers: int = 2,
    *,
    num_splits: int = 1,
    split: int | str | None = None,
    seeds: int | None = None,
    first_seed: int = 42,
    **overrides: Any,
) -> Config:
    """Fill a `Config` from, in rising order: common, model, dataset and pair presets, then `overrides`.

    `split` is an index below `num_splits` (0), or "all"; `seeds` how many seeds (10), counted from
    `first_seed`; `overrides` are settings in `OPTIONS`.
    Raises `UserError` for an unknown or unused setting and for a value out of range.
    """
    require_known("model", model, MODEL_PRESETS)
    for name in overrides:
        require_known("setting", name, OPTIONS)
    values: dict[str, Any] = {**_COMMON, **MODEL_PRESETS[model]}
    unused = [name for name in overrides if name not in values]
    if unused:
        raise UserError(f"model {model} has no setting {', '.join(unused)}: it takes {', '.join(sorted(values))}")
    preset = {**DATASET_PRESETS.get(dataset, {}), **PAIR_PRESETS.get((dataset, model), {})}
    values.update({name: value for name, value in preset.items() if name in values})
    values.update(overrides)
    seeds = preset.get("seeds", 10) if seeds is None else seeds
    _check(layers, seeds, values)
    values = {name: value(layers) if callable(value) else value for name, value in values.items()}
    unset: dict[str, Any] = {name: None for name in OPTIONS if name not in values}
    split = preset.get("split", 0) if split is None else split
    splits = tuple(range(num_splits)) if split == "all" else (int(split),)
    return Config(dataset, model, layers, splits, tuple(range(first_seed, first_seed + seeds)), **unset, **values)


def takes(model: str, setting: str) -> bool:
    """Whether `resolve` accepts this setting for the model."""
    return setting in _COMMON or setting in MODEL_PRESETS[model] or setting in ("split", "seeds", "first_seed")


def _check(layers: int, seeds: int, values: dict[str, Any]) -> None:
    if layers < 0:
        raise UserError(f"layers must be >= 0, got {layers}")
    if seeds < 1:
        raise UserError(f"seeds must be >= 1, got {seeds}")
    if values["epochs"] < 1:
        raise UserError(f"epochs must be >= 1, got {values['epochs']}")
    for name, value in values.items():
        choices = OPTIONS[name].choices
        if choices and value not in choices:
            raise UserError(f"{name} must be one of {', '.join(choices)}, got {value}")
