"""Structural balance propagation: the study of arXiv 2502.11394 on top of `sbp_kernels`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import list_datasets, load_dataset
    from .errors import UserError
    from .runner import Options
    from .study import depth, list_models, sweep, train

_HOMES = {
    "Options": "runner",
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
    # Imported on first use: torch and PyG take seconds, which the command line's help must not.
    if name not in _HOMES:
        raise AttributeError(f"module 'sbp' has no attribute '{name}'")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
