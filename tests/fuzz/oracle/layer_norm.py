"""LayerNorm of features that carry an error bound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..inputs.tensors import Array
from .units import Unit


class Norm(NamedTuple):
    eps: float = 1e-5
    weight: Array | None = None
    bias: Array | None = None


class State:
    """Features between steps: value, bound, and mask of what may be anything."""

    def __init__(self, x: Array) -> None:
        self.x, self.error, self.loose = x, None, None  # type: ignore[assignment]
        self.any_kind = False

    x: Array
    error: Array | None
    loose: NDArray[np.bool_] | None


def tight(state: State) -> State:
    state.loose = None
    return state


def normalize(state: State, norm: Norm, unit: Unit) -> State:
    """LayerNorm of each row; where the variance is uncertain, so is the result."""
    z, error = state.x, state.error
    assert error is not None
    width = z.shape[1]
    if width == 0:
        return state
    mean = z.mean(1, keepdims=True)
    centred = z - mean
    size = np.abs(z)
    error_c = error + error.mean(1, keepdims=True) + unit.acc * ((width + 2) * size.mean(1, keepdims=True) + size)
    var = np.square(centred).mean(1, keepdims=True)
    error_v = (2 * np.abs(centred) * error_c + np.square(error_c)).mean(1, keepdims=True) + unit.acc * (width + 4) * var
    rstd = 1 / np.sqrt(var + norm.eps)
    low, high = 1 / np.sqrt(var + error_v + norm.eps), 1 / np.sqrt(np.maximum(var - error_v, 0.0) + norm.eps)
    error_r = np.maximum(rstd - low, high - rstd) + 4 * unit.acc * rstd
    out = State(centred * rstd)
    out.error = error_c * (rstd + error_r) + np.abs(centred) * error_r + 4 * unit.acc * np.abs(out.x) + unit.acc_tiny
    out.any_kind = state.any_kind
    rows = ~np.isfinite(error_r) | (width * np.square(np.abs(centred) + error_c).max(1, keepdims=True) > unit.acc_max)
    # Any NaN or infinity makes all of its row NaN, as mean and variance have it.
    broken = ~np.isfinite(z).all(1, keepdims=True)
    out.x = np.where(broken, np.nan, out.x)
    rows = np.where(broken, False, rows)
    if state.loose is not None:
        rows = rows | state.loose.any(1, keepdims=True)
    out.loose = np.broadcast_to(rows, z.shape)
    return out if rows.any() else tight(out)


def affine(state: State, norm: Norm, unit: Unit) -> State:
    """Scale and shift of a LayerNorm module; its input has been rounded to the storage type."""
    assert state.error is not None and norm.weight is not None
    bias = 0.0 if norm.bias is None else norm.bias
    out = State(state.x * norm.weight + bias)
    out.any_kind, out.loose = state.any_kind, state.loose
    size = np.abs(state.x * norm.weight) + np.abs(bias)
    out.error = state.error * np.abs(norm.weight) + 3 * unit.acc * size
    return out
