"""Presets, rules and overrides."""

from __future__ import annotations

from typing import Any

import pytest

from sbp_study import UserError
from sbp_study.config import OPTIONS, resolve
from sbp_study.datasets import DATASETS
from sbp_study.models import MODELS
from sbp_study.presets import BACKBONE_PRESETS, BACKBONES, COMMON, MODEL_PRESETS, RULES


def test_registries_and_presets_agree() -> None:
    assert set(MODEL_PRESETS) == set(MODELS) and tuple(BACKBONE_PRESETS) == BACKBONES
    for rule in RULES:
        assert set(rule.datasets or ()) <= set(DATASETS) and set(rule.models or ()) <= set(MODELS)
        assert set(rule.backbones or ()) <= set(BACKBONES)
    entries = [entry.settings for entry in MODEL_PRESETS.values()]
    for preset in (COMMON, *entries, *BACKBONE_PRESETS.values(), *(rule.values for rule in RULES)):
        assert set(preset) <= {*OPTIONS, "split", "seeds", "first_seed"}


@pytest.mark.parametrize("dataset", sorted(DATASETS))
@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("layers", [0, 2, 300])
def test_every_model_resolves_on_every_dataset(dataset: str, model: str, layers: int) -> None:
    config = resolve(dataset, model, layers)
    assert config.lr > 0 and config.backbone == MODEL_PRESETS[model].backbones[0]
    used = {*COMMON, *BACKBONE_PRESETS[config.backbone], *MODEL_PRESETS[model].settings}
    for name in set(OPTIONS) - {"backend", "phi"}:
        assert (getattr(config, name) is None) == (name not in used)


@pytest.mark.parametrize(
    ("layers", "lam"), [(1, 0.9), (2, 0.9), (3, 0.5), (10, 0.5), (11, 0.1), (30, 0.1), (300, 0.01)]
)
def test_lambda_depends_on_depth(layers: int, lam: float) -> None:
    assert resolve("cora", "label-sbp", layers).lam == lam
    assert resolve("cora", "label-sbp", layers, lam=0.3).lam == 0.3


def test_order_of_precedence() -> None:
    assert resolve("cora", "sgc").lr == 0.156
    assert resolve("cora", "sgc", lr=1.0).lr == 1.0
    assert resolve("csbm", "feature-sbp").beta == 0.5
    assert resolve("texas", "label-sbp", 300).lam == 0.1 and resolve("texas", "label-sbp").norm == "row"
    assert resolve("csbm", "sgc", num_splits=3).splits == (0, 1, 2)
    assert resolve("csbm", "sgc", num_splits=3, split=1, seeds=2, first_seed=7).seeds == (7, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "lable-sbp"}, "unknown model 'lable-sbp': did you mean label-sbp"),
        ({"betta": 1.0}, "unknown setting 'betta': did you mean beta"),
        ({"model": "sgc", "lam": 0.5}, "model sgc has no setting lam: it takes"),
        ({"norm": "col"}, "norm must be one of sym, row, got col"),
        ({"layers": -1}, "layers must be >= 0, got -1"),
        ({"seeds": 0}, "seeds must be >= 1, got 0"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(**{"dataset": "cora", "model": "label-sbp", **settings})
