"""The registry of backends, and how one is chosen."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache

import torch

from . import native, reference
from ._extension import NOT_LOADED
from .interface import Backend
from .triton import ops as triton

# In order of preference.
BACKENDS: dict[str, Backend] = {"native": native, "triton": triton, "reference": reference}


class _Forced(threading.local):
    """The backend that `use_backend` chose in this thread, or None."""

    name: str | None = None


_forced = _Forced()


def check_name(name: str) -> str:
    """Return `name` if it names a backend, else raise ValueError with the nearest names."""
    if not isinstance(name, str):
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, got {type(name).__name__}")
    if name not in BACKENDS:
        near = get_close_matches(name, BACKENDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}{hint}")
    return name


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every op inside the `with` block, in this thread, on the named backend; it never falls back on another."""
    before, _forced.name = _forced.name, check_name(name)
    try:
        yield
    finally:
        _forced.name = before


def select(x: torch.Tensor, name: str | None) -> Backend:
    """Return the named backend, or the first that can run x; NotImplementedError with every reason if none can."""
    if name is None:
        name = _forced.name
    if name is not None:
        kernels = BACKENDS[check_name(name)]
        reason = kernels.unsupported(x)
        if reason is not None:
            raise NotImplementedError(f"backend {name!r} cannot run this call: {reason}")
        return kernels
    for kernels in BACKENDS.values():
        if kernels.unsupported(x) is None:
            if NOT_LOADED is not None and x.is_cpu and kernels is reference and not torch.compiler.is_compiling():
                _warn_without_kernels()
            return kernels
    reasons = "; ".join(f"{n}: {k.unsupported(x)}" for n, k in BACKENDS.items())
    raise NotImplementedError(f"no backend can run this call: {reasons}")


@cache
def _warn_without_kernels() -> None:
    """Warn once a process that calls run on plain PyTorch, because pip hides what the build printed."""
    text = f"sbp_kernels runs on plain PyTorch, which is many times slower: {NOT_LOADED}"
    warnings.warn(text, RuntimeWarning, stacklevel=2)
