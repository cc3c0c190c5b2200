"""Settings of a run: one dataclass, filled from the presets of model, backbone and dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

from .errors import UserError, require_known
from .presets import BACKBONE_PRESETS, COMMON, MODEL_PRESETS, RULES


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
    backbone: str
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
    learn: Annotated[bool | Any, Option("train alpha, beta and lambda, from these values", bool)]
    label_softmax: Annotated[str | Any, Option("nodes the label softmax runs over", str, ("all", "labelled"))]
    label_ratio: Annotated[float | Any, Option("share of the training labels that make negative edges")]
    temperature: Annotated[float | Any, Option("temperature of the softmax of similarities")]
    layer_norm: Annotated[str | Any, Option("LayerNorm at the end or every step", str, ("none", "final", "every"))]
    norm_mode: Annotated[str | Any, Option("PairNorm's mode", str, ("PN", "PN-SI", "PN-SCS"))]
    column_scale: Annotated[str | Any, Option("BatchNorm's columns get 1 of this", str, ("deviation", "length"))]
    norm_scale: Annotated[float | Any, Option("scale s of PairNorm and ContraNorm")]
    drop_rate: Annotated[float | Any, Option("share of edges or message entries dropped in training, in [0, 1)")]
    teleport: Annotated[float | Any, Option("share a of X0 in every step of APPNP and GCNII, in [0, 1]")]
    theta: Annotated[float | Any, Option("strength of GCNII's weights: b_l = log(theta / l + 1)")]
    jump: Annotated[str | Any, Option("how JKNet joins its steps", str, ("mean", "max", "cat", "learnt"))]
    heads: Annotated[int | Any, Option("GAT's attention heads", int)]
    hidden: Annotated[int | Any, Option("hidden channels of the network", int)]
    dropout: Annotated[float | Any, Option("dropout before every weight of the network, in [0, 1)")]
    epochs: Annotated[int, Option("full-batch Adam epochs", int)]
    lr: Annotated[float, Option("learning rate")]
    weight_decay: Annotated[float, Option("weight decay")]
    report: Annotated[str, Option("epoch reported: the last, or the best on validation", str, ("last", "best"))]
    amp: Annotated[bool, Option("bfloat16 autocast in training", bool)]
    compile: Annotated[bool, Option("torch.compile the network", bool)]
    phi: Annotated[float | None, Option("homophily of csbm in [-1, 1] (default 1/3)")]
    backend: Annotated[str | None, Option("sbp_kernels backend to insist on (default: the first that can run)", str)]
    device: Annotated[str, Option("torch device, for instance cpu or cuda", str)]


OPTIONS: dict[str, Option] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Config, include_extras=True).items()
    if get_origin(hint) is Annotated
}

# Numbers that must lie in a range, ends included unless it is open on the right.
_RANGES: dict[str, tuple[float, float, str]] = {
    "label_ratio": (0.0, 1.0, "]"),
    "drop_rate": (0.0, 1.0, ")"),
    "dropout": (0.0, 1.0, ")"),
    "teleport": (0.0, 1.0, "]"),
    "phi": (-1.0, 1.0, "]"),
}
_AT_LEAST_ONE = ("epochs", "hidden", "heads")


def resolve(
    dataset: str,
    model: str,
    layers: int = 2,
    *,
    backbone: str | None = None,
    num_splits: int = 1,
    split: int | str | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    **overrides: Any,
) -> Config:
    """Fill a `Config` from, in rising order: common, backbone and model presets, rules, then `overrides`.

    `backbone` is one that the model runs on (its first); `split` an index below `num_splits` (0), or "all";
    `seeds` how many seeds (10), counted from `first_seed` (42); `overrides` are settings in `OPTIONS`.
    Raises `UserError` for an unknown or unused setting and for a value out of range.
    """
    require_known("model", model, MODEL_PRESETS)
    for name in overrides:
        require_known("setting", name, OPTIONS)
    backbone = _backbone(model, backbone)
    values: dict[str, Any] = {**COMMON, **BACKBONE_PRESETS[backbone], **MODEL_PRESETS[model].settings}
    unused = [name for name in overrides if name not in values]
    if unused:
        taken = sorted(name for name in values if name in OPTIONS)
        raise UserError(f"model {model} has no setting {', '.join(unused)}: it takes {', '.join(taken)}")
    runs: dict[str, Any] = {"split": 0, "seeds": 10, "first_seed": 42}
    for rule in RULES:
        if rule.applies(dataset, model, backbone):
            values.update({name: value for name, value in rule.values.items() if name in values or name in runs})
    runs.update({name: values.pop(name) for name in runs if name in values})
    given = {"split": split, "seeds": seeds, "first_seed": first_seed}
    runs.update({name: value for name, value in given.items() if value is not None})
    values.update(overrides)
    _check(layers, runs["seeds"], values)
    values = {name: value(layers) if callable(value) else value for name, value in values.items()}
    unset: dict[str, Any] = {name: None for name in OPTIONS if name not in values}
    splits = tuple(range(num_splits)) if runs["split"] == "all" else (int(runs["split"]),)
    first = runs["first_seed"]
    return Config(
        dataset, model, backbone, layers, splits, tuple(range(first, first + runs["seeds"])), **unset, **values
    )


def takes(model: str, setting: str, backbone: str | None = None) -> bool:
    """Whether `resolve` accepts this setting for the model."""
    own = {**COMMON, **BACKBONE_PRESETS[_backbone(model, backbone)], **MODEL_PRESETS[model].settings}
    return setting in own or setting in ("backbone", "split", "seeds", "first_seed")


def _backbone(model: str, backbone: str | None) -> str:
    known = MODEL_PRESETS[model].backbones
    if backbone is not None and backbone not in known:
        raise UserError(f"model {model} runs on the backbone {' or '.join(known)}, got {backbone}")
    return backbone or known[0]


def _check(layers: int, seeds: int, values: dict[str, Any]) -> None:
    if layers < 0:
        raise UserError(f"layers must be >= 0, got {layers}")
    if seeds < 1:
        raise UserError(f"seeds must be >= 1, got {seeds}")
    for name, value in values.items():
        if value is None or name not in OPTIONS:
            continue
        choices = OPTIONS[name].choices
        if choices and value not in choices:
            raise UserError(f"{name} must be one of {', '.join(choices)}, got {value}")
        if name in _AT_LEAST_ONE and value < 1:
            raise UserError(f"{name} must be >= 1, got {value}")
        low, high, end = _RANGES.get(name, (-math.inf, math.inf, "]"))
        if name in _RANGES and not (low <= value < high or (end == "]" and value == high)):
            raise UserError(f"{name} must lie in [{low:g}, {high:g}{end}, got {value}")
