"""Structural balance propagation: the study of arXiv 2502.11394, built on `sbp_kernels`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import list_datasets, load_dataset
    from .errors import UserError
    from .study import depth, list_models, sweep, train
    from .training.runner import Options

_MODULES = {
    "Options": "training.runner",
    "UserError": "errors",
    "depth": "study",
    "list_datasets": "datasets",
    "list_models": "study",
    "load_dataset": "datasets",
    "sweep": "study",
    "train": "study",
}

__all__ = ["Options", "UserError", "depth", "list_datasets", "list_models", "load_dataset", "sweep", "train"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch and PyG take seconds to import, and `--help` needs neither.
    if name not in _MODULES:
        raise AttributeError(f"module 'sbp_study' has no attribute '{name}'")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
