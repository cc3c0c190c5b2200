"""The settings of a run: one dataclass, filled from the presets of model, backbone and dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

from .errors import UserError, require_known
from .presets import BACKBONE_PRESETS, COMMON, MODEL_PRESETS, RULES


@dataclass(frozen=True)
class Option:
    """Metadata of a setting for the command line and the checks."""

    help: str
    type: type = float
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Config:
    """Every setting that determines a result. `| Any` marks settings that are None for models that do not use them."""

    dataset: str
    model: str
    backbone: str
    layers: int
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    feature_norm: Annotated[str, Option("input features: row = normalize rows to sum 1", str, ("none", "row"))]
    norm: Annotated[str | Any, Option("adjacency: sym = D^-1/2 A D^-1/2, row = D^-1 A", str, ("sym", "row"))]
    self_loops: Annotated[bool | Any, Option("add missing self-loops to the adjacency", bool)]
    edges: Annotated[
        str | Any,
        Option("directed edges: stored = targets aggregate sources", str, ("stored", "reversed", "undirected")),
    ]
    alpha: Annotated[float | Any, Option("strength of the positive edges")]
    beta: Annotated[float | Any, Option("strength of the negative edges")]
    lam: Annotated[float | Any, Option("step size lambda in [0, 1]; the residual gets 1 - lambda")]
    learn: Annotated[bool | Any, Option("learn alpha, beta and lambda, starting from these values", bool)]
    label_softmax: Annotated[str | Any, Option("nodes that the label softmax includes", str, ("all", "labelled"))]
    label_ratio: Annotated[float | Any, Option("fraction of the training labels used for negative edges")]
    temperature: Annotated[float | Any, Option("temperature of the softmax of similarities")]
    layer_norm: Annotated[str | Any, Option("LayerNorm at the end or every step", str, ("none", "final", "every"))]
    norm_mode: Annotated[str | Any, Option("PairNorm's mode", str, ("PN", "PN-SI", "PN-SCS"))]
    column_scale: Annotated[str | Any, Option("what BatchNorm scales to 1 per column", str, ("deviation", "length"))]
    norm_scale: Annotated[float | Any, Option("scale s of PairNorm and ContraNorm")]
    drop_rate: Annotated[float | Any, Option("fraction of edges or messages dropped in training, in [0, 1)")]
    teleport: Annotated[float | Any, Option("weight a of X0 in every step of APPNP and GCNII, in [0, 1]")]
    theta: Annotated[float | Any, Option("strength of GCNII's weights: b_l = log(theta / l + 1)")]
    jump: Annotated[str | Any, Option("how JKNet combines its steps", str, ("mean", "max", "cat", "learned"))]
    heads: Annotated[int | Any, Option("GAT's attention heads", int)]
    hidden: Annotated[int | Any, Option("hidden channels of the network", int)]
    dropout: Annotated[float | Any, Option("dropout before every layer with weights, in [0, 1)")]
    epochs: Annotated[int, Option("full-batch Adam epochs", int)]
    lr: Annotated[float, Option("learning rate")]
    weight_decay: Annotated[float, Option("weight decay")]
    report: Annotated[str, Option("reported epoch: the last, or the best on validation", str, ("last", "best"))]
    amp: Annotated[bool, Option("bfloat16 autocast in training", bool)]
    compile: Annotated[bool, Option("torch.compile the network", bool)]
    phi: Annotated[float | None, Option("homophily of csbm in [-1, 1] (default 1/3)")]
    backend: Annotated[str | None, Option("required sbp_kernels backend (default: the first that can run)", str)]
    device: Annotated[str, Option("torch device, for instance cpu or cuda", str)]


OPTIONS: dict[str, Option] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Config, include_extras=True).items()
    if get_origin(hint) is Annotated
}

# Ranges of numbers. Both ends are included, unless the range is open on the right.
_RANGES: dict[str, tuple[float, float, str]] = {
    "lam": (0.0, 1.0, "]"),
    "label_ratio": (0.0, 1.0, "]"),
    "drop_rate": (0.0, 1.0, ")"),
    "dropout": (0.0, 1.0, ")"),
    "teleport": (0.0, 1.0, "]"),
    "phi": (-1.0, 1.0, "]"),
}
# The minimum of other numbers. Numbers that are not listed may be negative.
_LEAST = {"lr": 0.0, "weight_decay": 0.0, "theta": 0.0, "temperature": 1e-30}
_FLOAT32_MAX = 3.4028234e38
# The minimum and maximum of integers. The maxima are far above any study: 100,000 steps take minutes on the smallest
# graph, and a longer list of seeds would itself fill the memory. `training.limits` also considers the size of the data.
COUNTS = {
    "layers": (0, 100_000),
    "seeds": (1, 10_000),
    "first_seed": (0, 2**32 - 1),
    "epochs": (1, 10_000_000),
    "hidden": (1, 1_000_000),
    "heads": (1, 1_000),
}
# Settings whose default is None.
_MAY_BE_NONE = ("phi", "backend")


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
    """Return a `Config`, filled from common, backbone and model presets, rules and `overrides`; the last one wins.

    Args:
        backbone: one that the model runs on; default: the model's first.
        num_splits: how many splits the dataset has.
        split: an index below `num_splits`, or "all"; default 0.
        seeds: the number of seeds, default 10, counted from `first_seed`, default 42.
        overrides: settings in `OPTIONS`.

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
    for name, value in {"layers": layers, "seeds": runs["seeds"], "first_seed": runs["first_seed"]}.items():
        _check_count(name, value)
    if runs["split"] != "all" and (not isinstance(runs["split"], int) or runs["split"] not in range(num_splits)):
        raise UserError(f"split must be an index below {num_splits} for {dataset}, got {runs['split']}")
    values = {name: value(layers) if callable(value) else value for name, value in values.items()}
    for name, value in values.items():
        _check(name, value)
    unset: dict[str, Any] = {name: None for name in OPTIONS if name not in values}
    splits = tuple(range(num_splits)) if runs["split"] == "all" else (runs["split"],)
    first = runs["first_seed"]
    return Config(
        dataset, model, backbone, layers, splits, tuple(range(first, first + runs["seeds"])), **unset, **values
    )


def takes(model: str, setting: str, backbone: str | None = None) -> bool:
    """Return whether `resolve` accepts this setting for the model."""
    own = {**COMMON, **BACKBONE_PRESETS[_backbone(model, backbone)], **MODEL_PRESETS[model].settings}
    return setting in own or setting in ("backbone", "split", "seeds", "first_seed")


def _backbone(model: str, backbone: str | None) -> str:
    known = MODEL_PRESETS[model].backbones
    if backbone is not None and backbone not in known:
        raise UserError(f"model {model} runs on the backbone {' or '.join(known)}, got {backbone}")
    return backbone or known[0]


def _check(name: str, value: Any) -> None:
    """Raise a `UserError` unless the value of a setting has its type and lies in its range."""
    option = OPTIONS[name]
    if value is None and name in _MAY_BE_NONE:
        return
    if name in COUNTS:
        _check_count(name, value)
    elif option.type is float:
        _check_number(name, value, option.help)
    elif not isinstance(value, option.type):
        raise UserError(f"{name} must be of type {option.type.__name__}, got {value!r}")
    elif option.choices and value not in option.choices:
        raise UserError(f"{name} must be one of {', '.join(option.choices)}, got {value}")


def _check_count(name: str, value: Any) -> None:
    low, high = COUNTS[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{name} must be a whole number, got {value!r}")
    if value < low:
        raise UserError(f"{name} must be >= {low}, got {value}")
    if value > high:
        raise UserError(f"{name} must be <= {high:,}, got {value:.3g}")


def _check_number(name: str, value: Any, about: str) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UserError(f"{name} must be a number, got {value!r}")
    if name in _RANGES:
        low, high, end = _RANGES[name]
        if not (low <= value < high or (end == "]" and value == high)):
            raise UserError(f"{name} must lie in [{low:g}, {high:g}{end}, got {value}")
        return
    low = _LEAST.get(name, -_FLOAT32_MAX)
    if not low <= value <= _FLOAT32_MAX:
        rule = f"finite in float32 and >= {low:g}" if name in _LEAST else "finite in float32"
        raise UserError(f"{name} must be {rule}, got {value}; it is the {about}")
