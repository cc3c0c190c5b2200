"""Degrees of absolute weights, and the diagonal scales that normalise by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .csr import CSR


def degree(matrix: CSR, dim: int) -> Tensor:
    """Sums of absolute weights over each row (`dim=0`) or column (`dim=1`), float64."""
    weight = matrix.weight
    if weight is None and dim == 0:
        return matrix.rowptr.diff().double()
    if weight is None:
        return torch.bincount(matrix.col, minlength=matrix.num_cols).double()
    if dim == 0 and not matrix.learns():
        return torch.segment_reduce(weight.abs().double(), "sum", offsets=matrix.rowptr, initial=0.0)
    index = matrix.pattern.row_index() if dim == 0 else matrix.col.long()
    # |w|, with derivative 1 at 0, so that weights >= 0 have the gradients of plain sums.
    size = torch.where(weight < 0, -weight, weight).double()
    return weight.new_zeros(matrix.shape[dim], dtype=torch.float64).index_add(0, index, size)


def degree_scales(
    matrix: CSR, mode: str, row_degree: Tensor, col_degree: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """(row_scale, col_scale) that normalise `matrix`; nodes of degree 0 get 0. Own column degrees if none are given."""
    if mode not in ("row", "sym"):
        raise ValueError(f'mode must be "row" or "sym", got {mode!r}')
    if mode == "row":
        return _where_positive(torch.reciprocal, row_degree), None
    left = _where_positive(torch.rsqrt, row_degree)
    if matrix.num_rows == matrix.num_cols:
        return left, left
    return left, _where_positive(torch.rsqrt, degree(matrix, 1) if col_degree is None else col_degree)


def _where_positive(function: Callable[[Tensor], Tensor], degree: Tensor) -> Tensor:
    positive = degree > 0
    return function(torch.where(positive, degree, 1.0)) * positive
