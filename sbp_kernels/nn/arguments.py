"""Validation of the numbers in the constructors of layers."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..adjacency.checks import describe


def finite_number(name: str, value: Any) -> float:
    """Return a finite number, or a tensor that holds one, as a float."""
    if isinstance(value, Tensor) and value.layout is torch.strided and value.numel() == 1 and not value.is_complex():
        value = value.detach().item()
    try:
        result = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"{name} must be a finite number, got {describe(value)}")
    return result


def coefficient(name: str, value: Any) -> Any:
    """Return a finite number as a float, and a real tensor of one element unchanged, with its gradient."""
    if isinstance(value, float):
        return value
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point() and value.layout is torch.strided:
        return value
    return finite_number(name, value)


def positive_number(name: str, value: Any) -> float:
    """Return a finite number > 0 as a float."""
    result = finite_number(name, value)
    if not result > 0:
        raise ValueError(f"{name} must be > 0, got {value!r}")
    return result
