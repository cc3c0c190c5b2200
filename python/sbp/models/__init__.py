"""Propagation rules by name; to add one, write a file beside these, enter it here, give it a preset."""

from __future__ import annotations

from .base import Model
from .feature_sbp import FeatureSBP
from .label_sbp import LabelSBP
from .mlp import MLP
from .sgc import SGC

MODELS: dict[str, type[Model]] = {
    "mlp": MLP,
    "sgc": SGC,
    "label-sbp": LabelSBP,
    "feature-sbp": FeatureSBP,
}

__all__ = ["MODELS", "Model", "list_models"]


def list_models() -> dict[str, str]:
    """Return every model's name and one-line description."""
    return {name: model.summary for name, model in MODELS.items()}
