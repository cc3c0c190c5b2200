"""Where the entries of a sparse matrix are, apart from their values: sorting and transposing."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends._extension import NOT_LOADED
from ..transforms import outside

INT32_MAX = 2**31 - 1


class SparsityPattern:
    """Row pointers and column indices of a sparse matrix, columns ascending in each row.

    `rowptr` int64 [num_rows + 1], `col` int32 or int64 [num_edges]. Matrices that differ only in
    weights or scales share one pattern, and so share its cached transpose.
    """

    __slots__ = ("_col", "_num_cols", "_rowptr", "_transpose", "orders")

    def __init__(self, rowptr: Tensor, col: Tensor, num_cols: int, orders: tuple[Tensor, ...] = ()) -> None:
        """Take over valid arrays, which nobody else may write to: kernels read them without checks.

        Each of `orders` sorted the edges of the one before, the first one those of the caller; see `edge_permutation`.
        """
        self._rowptr, self._col, self._num_cols, self.orders = rowptr, col, num_cols, orders
        self._transpose: tuple[SparsityPattern | None, Tensor] | None = None

    @property
    def rowptr(self) -> Tensor:
        """A copy of the row pointers."""
        return self._rowptr.clone()

    @property
    def col(self) -> Tensor:
        """A copy of the column indices."""
        return self._col.clone()

    @property
    def num_rows(self) -> int:
        return self._rowptr.numel() - 1

    @property
    def num_cols(self) -> int:
        return self._num_cols

    @staticmethod
    def from_coo(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[SparsityPattern, Tensor]:
        """Sort edges by (row, col), stably; return the pattern and the order that sorts the edges."""
        if NOT_LOADED is None and row.device.type == "cpu":
            rowptr, col, order = torch.ops.sbp.coo_to_csr(row.contiguous(), col.contiguous(), num_rows, num_cols)
        else:
            order = torch.argsort(row * num_cols + col, stable=True)
            rowptr = _offsets(row, num_rows)
            col = col[order].to(torch.int32 if num_cols <= INT32_MAX else torch.int64)
        return SparsityPattern(rowptr, col, num_cols, (order,)), order

    def edge_permutation(self) -> Tensor:
        """Return the caller's edge of every entry, int64 [num_edges]; edges added later follow those of the caller."""
        if not self.orders:
            return torch.arange(self.num_edges, device=self._col.device)
        first, *others = self.orders
        with outside():
            total = first.clone()
            for order in others:
                added = torch.arange(total.numel(), order.numel(), device=order.device)
                total = torch.cat([total, added])[order]
        return total

    @property
    def num_edges(self) -> int:
        return self._col.numel()

    def split(self, num_rows: int) -> tuple[SparsityPattern, SparsityPattern]:
        """Return the first `num_rows` rows, and the others; both share this pattern's arrays."""
        cut = int(self._rowptr[num_rows])
        *before, last = self.orders
        return (
            SparsityPattern(self._rowptr[: num_rows + 1], self._col[:cut], self.num_cols, (*before, last[:cut])),
            SparsityPattern(self._rowptr[num_rows:] - cut, self._col[cut:], self.num_cols, (*before, last[cut:])),
        )

    def row_index(self) -> Tensor:
        """Return the row of every edge, int64 [num_edges]."""
        degree = self._rowptr.diff()
        rows = torch.arange(self.num_rows, device=self._col.device)
        return torch.repeat_interleave(rows, degree, output_size=self.num_edges)

    def edge_factors(self, weight: Tensor, row_scale: Tensor | None, col_scale: Tensor | None) -> Tensor:
        """Return `row_scale_i weight_e col_scale_j` for every edge e from j to i, `[num_edges]`; scales as float64."""
        if row_scale is not None:
            weight = weight * row_scale.to(torch.float64).index_select(0, self.row_index())
        if col_scale is not None:
            weight = weight * col_scale.to(torch.float64).index_select(0, self._col.long())
        return weight

    def transpose(self) -> tuple[SparsityPattern, Tensor]:
        """Return the transposed pattern and, for each of its edges, the edge here that it comes from.

        Built once. A symmetric pattern is its own transpose, so its arrays are stored once.
        """
        if self._transpose is None:
            with outside():
                flipped, order = self._build_transpose()
                symmetric = self.num_rows == self.num_cols and _same(flipped, self)
            # None stands for this very object: a reference to it would never be freed without the garbage collector.
            self._transpose = (None if symmetric else flipped, order)
        other, order = self._transpose
        return (self if other is None else other), order

    def _build_transpose(self) -> tuple[SparsityPattern, Tensor]:
        if NOT_LOADED is None and self._col.device.type == "cpu":
            rowptr, col, order = torch.ops.sbp.csr_transpose(self._rowptr, self._col, self.num_cols)
            return SparsityPattern(rowptr, col, self.num_rows, (*self.orders, order)), order
        flipped, order = SparsityPattern.from_coo(self._col.long(), self.row_index(), self.num_cols, self.num_rows)
        flipped.orders = (*self.orders, order)
        return flipped, order

    def to(self, device: torch.device | str) -> SparsityPattern:
        """Return the same pattern on another device (its transpose is built again there when asked for)."""
        orders = tuple(order.to(device) for order in self.orders)
        return SparsityPattern(self._rowptr.to(device), self._col.to(device), self.num_cols, orders)


def _offsets(row: Tensor, num_rows: int) -> Tensor:
    rowptr = row.new_zeros(num_rows + 1)
    torch.cumsum(torch.bincount(row, minlength=num_rows), 0, out=rowptr[1:])
    return rowptr


def _same(a: SparsityPattern, b: SparsityPattern) -> bool:
    return torch.equal(a._rowptr, b._rowptr) and torch.equal(a._col, b._col)
