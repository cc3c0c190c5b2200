"""Where the entries of a sparse matrix are, apart from their values: sorting and transposing."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends._extension import NOT_LOADED
from ..transforms import outside

INT32_MAX = 2**31 - 1


class Pattern:
    """Row pointers and column indices of a sparse matrix, columns ascending in each row.

    `rowptr` int64 [num_rows + 1], `col` int32 or int64 [num_edges]. Matrices that differ only in
    weights or scales share one pattern, and so share its cached transpose.
    """

    __slots__ = ("_col", "_num_cols", "_rowptr", "_transpose")

    def __init__(self, rowptr: Tensor, col: Tensor, num_cols: int) -> None:
        """Take over valid arrays, which nobody else may write to: kernels read them without checks."""
        self._rowptr, self._col, self._num_cols = rowptr, col, num_cols
        self._transpose: tuple[Pattern | None, Tensor] | None = None

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
    def from_coo(row: Tensor, col: Tensor, num_rows: int, num_cols: int) -> tuple[Pattern, Tensor]:
        """Sort edges by (row, col), stably; return the pattern and the order that sorts the edges."""
        if NOT_LOADED is None and row.device.type == "cpu":
            rowptr, col, order = torch.ops.sbp.coo_to_csr(row.contiguous(), col.contiguous(), num_rows, num_cols)
        else:
            order = torch.argsort(row * num_cols + col, stable=True)
            rowptr = _offsets(row, num_rows)
            col = col[order].to(torch.int32 if num_cols <= INT32_MAX else torch.int64)
        return Pattern(rowptr, col, num_cols), order

    @property
    def num_edges(self) -> int:
        return self._col.numel()

    def split(self, num_rows: int) -> tuple[Pattern, Pattern]:
        """The first `num_rows` rows, and the others; both share this pattern's arrays."""
        cut = int(self._rowptr[num_rows])
        return (
            Pattern(self._rowptr[: num_rows + 1], self._col[:cut], self.num_cols),
            Pattern(self._rowptr[num_rows:] - cut, self._col[cut:], self.num_cols),
        )

    def row_index(self) -> Tensor:
        """The row of every edge, int64 [num_edges]."""
        degree = self._rowptr.diff()
        rows = torch.arange(self.num_rows, device=self._col.device)
        return torch.repeat_interleave(rows, degree, output_size=self.num_edges)

    def transpose(self) -> tuple[Pattern, Tensor]:
        """The transposed pattern and, for each of its edges, the edge here that it comes from.

        Built once. A symmetric pattern is its own transpose, so its arrays are kept only once.
        """
        if self._transpose is None:
            with outside():
                flipped, order = self._build_transpose()
                symmetric = self.num_rows == self.num_cols and _same(flipped, self)
            # None stands for this very object: a reference to it would keep both alive for ever.
            self._transpose = (None if symmetric else flipped, order)
        other, order = self._transpose
        return (self if other is None else other), order

    def _build_transpose(self) -> tuple[Pattern, Tensor]:
        if NOT_LOADED is None and self._col.device.type == "cpu":
            rowptr, col, order = torch.ops.sbp.csr_transpose(self._rowptr, self._col, self.num_cols)
            return Pattern(rowptr, col, self.num_rows), order
        return Pattern.from_coo(self._col.long(), self.row_index(), self.num_cols, self.num_rows)

    def to(self, device: torch.device | str) -> Pattern:
        """The same pattern on another device (its transpose is built again there when asked for)."""
        return Pattern(self._rowptr.to(device), self._col.to(device), self.num_cols)


def _offsets(row: Tensor, num_rows: int) -> Tensor:
    rowptr = row.new_zeros(num_rows + 1)
    torch.cumsum(torch.bincount(row, minlength=num_rows), 0, out=rowptr[1:])
    return rowptr


def _same(a: Pattern, b: Pattern) -> bool:
    return torch.equal(a._rowptr, b._rowptr) and torch.equal(a._col, b._col)
