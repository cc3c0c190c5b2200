"""A half of a graph as dense arrays, which the oracle multiplies with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..inputs.tensors import Array

Signs = tuple[Array, Array, Array]


@dataclass
class Dense:
    """A half as arrays: its matrix, the magnitudes its terms add up to, and how many roundings a row takes."""

    matrix: Array
    size: Array
    terms: Array  # [rows, 1]
    col_terms: Array  # [cols, 1]
    # Relative error of the entries themselves, beside the roundings of the sum: fixed, and in units of rounding.
    entry_error: float = 0.0
    entry_units: float = 0.0
    # Whether only stored edges carry non-finite values, and how many positive, negative and zero ones there are.
    by_edges: bool = True
    signs_of: Callable[[], Signs] = field(default=lambda: (np.zeros((0, 0)),) * 3)

    @cached_property
    def signs(self) -> Signs:
        return self.signs_of()

    @cached_property
    def smallest(self) -> float:
        """The smallest magnitude of an entry that is not 0."""
        return float(np.min(self.size, where=self.size > 0, initial=np.inf))

    @cached_property
    def largest(self) -> float:
        return float(np.max(self.size, initial=0.0))

    @cached_property
    def T(self) -> Dense:
        a, b = np.ascontiguousarray(self.matrix.T), np.ascontiguousarray(self.size.T)
        signs = lambda: tuple(s.T for s in self.signs)  # noqa: E731
        return Dense(a, b, self.col_terms, self.terms, self.entry_error, self.entry_units, self.by_edges, signs)  # type: ignore[arg-type]
