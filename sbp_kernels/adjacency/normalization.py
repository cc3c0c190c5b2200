"""Degrees of absolute weights, and the diagonal scales that normalize by them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .checks import describe
from .sparse_matrix import SparseMatrix
from .sparsity import SparsityPattern

# Products of two scales and a weight of these magnitudes neither overflow in float32 nor lose digits to underflow.
_SAFE_SCALE, _SAFE_WEIGHT = (1e-9, 1e9), (1e-19, 1e19)


def degree(matrix: SparseMatrix, dim: int) -> Tensor:
    """Sums of absolute weights over each row (`dim=0`) or column (`dim=1`), float64."""
    weight = matrix.weight
    if weight is None and dim == 0:
        return matrix.pattern._rowptr.diff().double()
    if weight is None:
        return torch.bincount(matrix.pattern._col, minlength=matrix.num_cols).double()
    if dim == 0 and not matrix.requires_derivative():
        return torch.segment_reduce(weight.abs().double(), "sum", offsets=matrix.pattern._rowptr, initial=0.0)
    index = matrix.pattern.row_index() if dim == 0 else matrix.pattern._col.long()
    # |w|, with derivative 1 at 0, so that weights >= 0 have the gradients of plain sums.
    size = torch.where(weight < 0, -weight, weight).double()
    return weight.new_zeros(matrix.shape[dim], dtype=torch.float64).index_add(0, index, size)


def degree_scales(
    matrix: SparseMatrix, mode: str, row_degree: Tensor, col_degree: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return (row_scale, col_scale) that normalize `matrix`; 0 for degree 0. Without `col_degree` by its own."""
    if not isinstance(mode, str) or mode not in ("row", "sym"):
        raise ValueError(f'mode must be "row" or "sym", got {describe(mode)}')
    if mode == "row":
        return _where_positive(torch.reciprocal, row_degree), None
    left = _where_positive(torch.rsqrt, row_degree)
    if matrix.num_rows == matrix.num_cols:
        return left, left
    return left, _where_positive(torch.rsqrt, degree(matrix, 1) if col_degree is None else col_degree)


def _where_positive(function: Callable[[Tensor], Tensor], degree: Tensor) -> Tensor:
    positive = degree > 0
    return function(torch.where(positive, degree, 1.0)) * positive


def needs_folding(
    acc_dtype: torch.dtype, weight: Tensor | None, row_scale: Tensor | None, col_scale: Tensor | None
) -> bool:
    """Return whether the product of a weight with its scales must be taken in float64, as float32 may lose it."""
    if acc_dtype == torch.float64 or (row_scale is None and col_scale is None):
        return False
    if torch.compiler.is_exporting():
        # An exported program cannot ask for the values.
        return weight is not None
    parts = ((weight, _SAFE_WEIGHT), (row_scale, _SAFE_SCALE), (col_scale, _SAFE_SCALE))
    return any(part is not None and not _within(part, *bounds) for part, bounds in parts)


def _within(part: Tensor, low: float, high: float) -> bool:
    """Return whether all magnitudes are 0 or lie in [low, high]."""
    size = part.abs()
    return bool(((size == 0) | ((size >= low) & (size <= high))).all())


def with_self_loops(
    pattern: SparsityPattern, weight: Tensor | None, fill_value: float
) -> tuple[SparsityPattern, Tensor | None]:
    """Return the pattern and weights with an edge i -> i of weight `fill_value` for every node that has none."""
    row, col = pattern.row_index(), pattern._col.long()
    missing = torch.ones(pattern.num_rows, dtype=torch.bool, device=row.device)
    missing[row[row == col]] = False
    loops = missing.nonzero().squeeze(1)
    if weight is None and fill_value != 1.0:
        weight = torch.ones(pattern.num_edges, device=row.device)
    if weight is not None:
        weight = torch.cat([weight, weight.new_full((loops.numel(),), fill_value)])
    shape = (pattern.num_rows, pattern.num_cols)
    looped, order = SparsityPattern.from_coo(torch.cat([row, loops]), torch.cat([col, loops]), *shape)
    looped.orders = (*pattern.orders, order)
    return looped, None if weight is None else weight.index_select(0, order)
