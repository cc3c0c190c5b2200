"""The value of a call in dense float64, and how far from it a correct result may be.

A bound on the error travels beside the value through the steps (a running error analysis of first order). Of one step
Y = r R + p A+ X + q A- X it has the error that X brings along, the roundings of each row's sum (number of terms times
the unit of the accumulation type times the sum of their magnitudes), and one rounding to the storage type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..inputs.tensors import DTYPES, Array
from .dense import Dense
from .layer_norm import Norm, State, affine, normalize, tight
from .units import SLACK, UNITS, Unit


class Coefficients(NamedTuple):
    """alpha, beta, lam as float64, and whether they come as a tensor, so that 1 - lam is rounded."""

    alpha: float
    beta: float
    lam: float
    tensor: bool = False

    @property
    def parts(self) -> tuple[float, float, float]:
        return 1.0 - self.lam, self.lam * self.alpha, -self.lam * self.beta


@dataclass
class Expected:
    """The value, its bound, and where nothing is promised: what overflows may be anything."""

    value: Array
    bound: Array
    loose: NDArray[np.bool_] | None = None
    # Implicit halves carry non-finite values as some non-finite value.
    any_kind: bool = False


class _Times(NamedTuple):
    value: Array
    size: Array
    error: Array | float


def _times(half: Dense, x: Array, size: Array, error: Array | None, finite: bool, unit: Unit) -> _Times:
    """A x, its sum of magnitudes, and the error it brings along."""
    if not finite:
        size = np.where(np.isfinite(size), size, 0.0)
    magnitude = half.size @ size
    value = half.matrix @ x if finite else _not_finite(half, x)
    brought: Array | float = half.size @ error if error is not None else 0.0
    entries = half.entry_error + half.entry_units * unit.acc
    return _Times(value, magnitude, brought + entries * magnitude if entries else brought)


def _vanishing(half: Dense, size: Array, unit: Unit) -> Array:
    """The error where a factor is too small for the accumulation type, which may round it to 0."""
    return unit.acc_tiny * (sum(half.signs) @ np.nan_to_num(size, posinf=0.0))  # type: ignore[no-any-return]


def _not_finite(half: Dense, x: Array) -> Array:
    """A x where only the edges carry NaN and infinity."""
    value = half.matrix @ np.where(np.isfinite(x), x, 0.0)
    plus, minus, zero = half.signs
    up, down = (x == np.inf).astype(float), (x == -np.inf).astype(float)
    nan = (plus + minus + zero) @ np.isnan(x).astype(float) + zero @ (up + down) > 0
    high, low = plus @ up + minus @ down > 0, plus @ down + minus @ up > 0
    value = np.where(high, np.inf, np.where(low, -np.inf, value))
    return np.where(nan | (high & low), np.nan, value)


def _spread(half: Dense | None, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that an edge links to a node of the mask."""
    assert half is not None
    return sum(half.signs) @ mask.astype(float) > 0  # type: ignore[operator, no-any-return]


class _Sum:
    """The sum of a step in the making: value, magnitudes, the error brought along, and what may be anything."""

    def __init__(self, state: State, shape: tuple[int, int], unit: Unit) -> None:
        self.state, self.unit = state, unit
        self.finite = bool(np.isfinite(state.x).all())
        self.value, self.size, self.brought, self.largest = (np.zeros(shape) for _ in range(4))
        self.terms: Array | float = 3.0
        # What the sum is multiplied by after products with x may have been flushed.
        self.factor = 1.0
        self.loose: NDArray[np.bool_] | None = None

    def add_half(self, coef: float, half: Dense) -> None:
        state, magnitude = self.state, np.abs(self.state.x)
        part = _times(half, state.x, magnitude, state.error, self.finite, self.unit)
        self.value += coef * part.value
        self.size += abs(coef) * part.size
        self.brought += abs(coef) * part.error
        # The coefficient may be applied to the sum.
        self.largest += max(abs(coef), 1.0) * part.size
        if np.max(magnitude, initial=0.0, where=np.isfinite(magnitude)) > 1e-8 * self.unit.acc_max:
            # And so may the scale of a row, which can be 0.
            self.largest += max(abs(coef), 1.0) * _raw(half, magnitude)
        self.terms = self.terms + half.terms
        self.factor = max(self.factor, abs(coef))
        vanishes = _may_vanish(half, coef, self.unit)
        if vanishes:
            self.brought += _vanishing(half, magnitude, self.unit)
        if not self.finite and (vanishes or not half.by_edges):
            state.any_kind = True
        self._spread(None if state.loose is None else _spread(half, state.loose))

    def add_residual(self, r: float, residual: Array | None, res_error: float) -> None:
        own = self.state.x if residual is None else residual
        if own.shape != self.value.shape:
            return
        self.value += r * own
        size = np.where(np.isfinite(own), np.abs(own), 0.0)
        self.size += abs(r) * size
        self.brought += res_error * size
        if residual is None:
            if self.state.error is not None:
                self.brought += abs(r) * self.state.error
            self._spread(self.state.loose)

    def _spread(self, mask: NDArray[np.bool_] | None) -> None:
        if mask is not None:
            self.loose = mask if self.loose is None else self.loose | mask

    def state_after(self) -> State:
        unit, size = self.unit, self.size
        out = State(self.value)
        out.any_kind = self.state.any_kind
        out.error = self.brought + unit.acc * self.terms * (size + self.brought)
        # A product with x may be flushed.
        out.error += unit.acc_tiny * self.terms * (self.factor + size)
        high = self.largest + size + self.brought > unit.acc_max
        out.loose = high if self.loose is None else self.loose | high
        return out if out.loose.any() else tight(out)


def linear(
    state: State,
    halves: tuple[Dense | None, Dense | None],
    residual: Array | None,
    parts: tuple[float, float, float],
    unit: Unit,
    res_error: float = 0.0,
) -> State:
    """One step before normalization, in the accumulation type. A part whose coefficient is 0 is not read."""
    r, p, q = parts
    rows = next(half for half in halves if half is not None).matrix.shape[0]
    total = _Sum(state, (rows, state.x.shape[1]), unit)
    for coef, half in ((p, halves[0]), (q, halves[1])):
        if coef != 0.0 and half is not None:
            total.add_half(coef, half)
    if r != 0.0:
        total.add_residual(r, residual, res_error)
    return total.state_after()


def _raw(half: Dense, size: Array) -> Array:
    """The sum of magnitudes as if every entry were the largest one, 1 at least."""
    return max(half.largest, 1.0) * (sum(half.signs) @ np.where(np.isfinite(size), size, 0.0))  # type: ignore[no-any-return]


def _may_vanish(half: Dense, coef: float, unit: Unit) -> bool:
    """A factor that may be rounded to 0, so that 0 * inf is NaN."""
    return abs(coef) * half.smallest < 1e6 * unit.acc_tiny


def store(state: State, unit: Unit) -> State:
    """Round to the storage type; what is larger than it holds may be infinite."""
    assert state.error is not None
    finite = np.isfinite(state.x)
    size = np.abs(state.x) + state.error
    state.error = np.where(finite, state.error + unit.store * size + unit.store_tiny, 0.0)
    # Not a number where the oracle overflows itself.
    high = ~(size <= unit.store_max) & finite
    if high.any():
        state.loose = high if state.loose is None else state.loose | high
    if state.loose is not None:
        state.x = np.where(state.loose, 0.0, state.x)
    return state


def propagate(
    x: Array,
    halves: tuple[Dense | None, Dense | None],
    coefficients: Coefficients,
    residual: Array | None,
    num_steps: int,
    norm: Norm | None,
    dtype: str,
) -> Expected:
    """`signed_propagate` by its definition. On a rectangular graph there is no residual but a given one."""
    unit = UNITS[dtype]
    state = State(x)
    res_error = 2 * unit.acc * (1 + abs(coefficients.lam)) if coefficients.tensor else 0.0
    for _ in range(num_steps):
        state = linear(state, halves, residual, coefficients.parts, unit, res_error)
        if norm is not None:
            state = normalize(state, norm, unit)
            if norm.weight is not None:
                state = affine(store(state, unit), norm, unit)
        state = store(state, unit)
    bound = np.zeros_like(state.x) if state.error is None else SLACK * state.error
    return Expected(state.x, bound, state.loose, state.any_kind)


def weighted(states: list[Expected], gamma: list[float], dtype: str) -> Expected:
    """Return the sum of gamma_k times the states: their errors, the sum's roundings and one to the storage type."""
    unit = UNITS[dtype]
    with np.errstate(all="ignore"):
        value = sum(g * s.value for g, s in zip(gamma, states, strict=True))
        size = sum(abs(g) * (np.abs(s.value) + s.bound) for g, s in zip(gamma, states, strict=True))
        bound = sum(abs(g) * s.bound for g, s in zip(gamma, states, strict=True))
        bound = bound + SLACK * ((unit.acc * (len(gamma) + 3) + unit.store) * size + unit.store_tiny)
        loose = ~(size < 0.1 * min(unit.acc_max, float(torch.finfo(DTYPES[dtype]).max)))
    for state in states:
        loose = loose if state.loose is None else loose | state.loose
    return Expected(value, bound, loose, True)  # type: ignore[arg-type]
