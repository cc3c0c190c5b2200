"""Loads the compiled extension once and remembers why, when it cannot."""

from __future__ import annotations

from pathlib import Path

import torch


def _load() -> str | None:
    """Register `torch.ops.sbp` and return None, or return the reason why it is not there."""
    built = sorted(Path(__file__).parent.glob("_C*.so")) + sorted(Path(__file__).parent.glob("_C*.pyd"))
    if not built:
        return (
            "the C++ extension was not built: install a C++17 compiler and torch >= 2.10, "
            "then reinstall with `pip install --no-build-isolation .`"
        )
    try:
        torch.ops.load_library(str(built[0]))
    except OSError as error:
        return f"the C++ extension {built[0].name} does not load with torch {torch.__version__}: {error}"
    return None


NOT_LOADED: str | None = _load()
