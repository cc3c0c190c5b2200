"""Loads the compiled extension once and remembers why, when it cannot."""

from __future__ import annotations

from pathlib import Path

import torch

from . import _fakes

# The extension lies in the package's folder.
_PACKAGE = Path(__file__).parents[1]


def _load() -> str | None:
    """Register `torch.ops.sbp` and return None, or return the reason why it is not there."""
    built = sorted(_PACKAGE.glob("_C*.so")) + sorted(_PACKAGE.glob("_C*.pyd"))
    if not built:
        return "the C++ extension was not built: install a C++17 compiler and torch >= 2.10, then reinstall"
    try:
        torch.ops.load_library(str(built[0]))
    except OSError as error:
        return f"the C++ extension {built[0].name} does not load with torch {torch.__version__}: {error}"
    missing = [name for name in (*_fakes.OPS, "cpu_isa", "cpu_traits") if not hasattr(torch.ops.sbp, name)]
    if missing:
        return f"the C++ extension {built[0].name} is of another version (no {missing[0]}): reinstall to rebuild it"
    _fakes.register()
    return None


NOT_LOADED: str | None = _load()
