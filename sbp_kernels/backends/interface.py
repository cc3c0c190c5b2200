"""One adjacency as the kernels read it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Term(NamedTuple):
    """One adjacency as the kernels see it: a sparse part, a summary table, or neither.

    `(A x)_i = row_scale_i sum_e weight_e col_scale_col_e x_col_e + table[group_i]`
    """

    rowptr: Tensor | None = None
    col: Tensor | None = None
    weight: Tensor | None = None
    row_scale: Tensor | None = None
    col_scale: Tensor | None = None
    table: Tensor | None = None
    group: Tensor | None = None
