"""Propagation rules by name; to add one, write a file beside these, enter it here, give it a preset."""

from __future__ import annotations

from .base import Model
from .feature_sbp import FeatureSBP
from .feature_sbp_v2 import FeatureSBPv2
from .label_sbp import LabelSBP
from .label_sbp_v2 import LabelSBPv2
from .mlp import MLP
from .sgc import SGC

MODELS: dict[str, type[Model]] = {
    "mlp": MLP,
    "sgc": SGC,
    "label-sbp": LabelSBP,
    "feature-sbp": FeatureSBP,
    "label-sbp-v2": LabelSBPv2,
    "feature-sbp-v2": FeatureSBPv2,
}

__all__ = ["MODELS", "Model", "list_models"]


def list_models() -> dict[str, str]:
    """Return every model's name and one-line description."""
    return {name: model.summary for name, model in MODELS.items()}
