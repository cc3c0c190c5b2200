"""The explicit sparse adjacency: compressed rows with optional weights and node scales."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .checks import check_edges, check_pattern, check_values
from .pattern import Pattern


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


class CSR:
    r"""A sparse adjacency in compressed rows, \( A_{ij} = s_i \sum_{e: i \to j} w_e t_j \).

    Args:
        rowptr: int64 `[num_rows + 1]`, from 0 to `num_edges`, not decreasing.
        col: int32 or int64 `[num_edges]`, in `[0, num_cols)`.
        weight: floating `[num_edges]`; 1 if absent. May require a gradient.
        row_scale, col_scale: floating `[num_rows]`, `[num_cols]`; 1 if absent. They carry degree
            normalisation, so that a normalised graph stores no edge weights: 4 bytes an edge.
        num_cols: number of columns; `num_rows` if absent.

    Raises:
        ValueError: naming the rule that the arrays break, and the value that breaks it.
    """

    __slots__ = ("pattern", "weight", "row_scale", "col_scale", "_transposed", "_terms")

    def __init__(
        self,
        rowptr: Tensor,
        col: Tensor,
        weight: Tensor | None = None,
        row_scale: Tensor | None = None,
        col_scale: Tensor | None = None,
        *,
        num_cols: int | None = None,
    ) -> None:
        num_cols = rowptr.numel() - 1 if num_cols is None else num_cols
        check_pattern(rowptr, col, num_cols)
        check_values("weight", weight, col.numel(), "num_edges", rowptr.device)
        check_values("row_scale", row_scale, rowptr.numel() - 1, "num_rows", rowptr.device)
        check_values("col_scale", col_scale, num_cols, "num_cols", rowptr.device)
        self._set(Pattern(rowptr.contiguous(), col.contiguous(), num_cols), weight, row_scale, col_scale)

    def _set(self, pattern: Pattern, weight: Tensor | None, row_scale: Tensor | None, col_scale: Tensor | None) -> None:
        self.pattern = pattern
        self.weight = None if weight is None else weight.contiguous()
        self.row_scale = None if row_scale is None else row_scale.contiguous()
        self.col_scale = None if col_scale is None else col_scale.contiguous()
        self._transposed: CSR | None = None
        self._terms: dict[torch.dtype, Term] = {}

    @staticmethod
    def _trusted(
        pattern: Pattern,
        weight: Tensor | None = None,
        row_scale: Tensor | None = None,
        col_scale: Tensor | None = None,
    ) -> CSR:
        """Build without checking: for parts that are valid by construction."""
        csr = object.__new__(CSR)
        csr._set(pattern, weight, row_scale, col_scale)
        return csr

    @staticmethod
    def from_edge_index(
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        num_nodes: int | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> CSR:
        """Build from PyG's `edge_index` `[2, num_edges]`: sources in row 0, targets in row 1.

        Row i of the matrix gathers from the sources of the edges that end in i. `num_nodes` is read
        off the edges if absent; `size=(num_sources, num_targets)` makes a rectangular matrix.
        Duplicate edges add up.
        """
        source, target, num_sources, num_targets = check_edges(edge_index, num_nodes, size)
        check_values("edge_weight", edge_weight, source.numel(), "num_edges", edge_index.device)
        pattern, order = Pattern.from_coo(target, source, num_targets, num_sources)
        weight = None if edge_weight is None else edge_weight.index_select(0, order)
        return CSR._trusted(pattern, weight)

    @property
    def rowptr(self) -> Tensor:
        return self.pattern.rowptr

    @property
    def col(self) -> Tensor:
        return self.pattern.col

    @property
    def num_rows(self) -> int:
        return self.pattern.num_rows

    @property
    def num_cols(self) -> int:
        return self.pattern.num_cols

    @property
    def num_nodes(self) -> int:
        """Number of rows; of a square matrix also the number of columns."""
        return self.pattern.num_rows

    @property
    def num_edges(self) -> int:
        return self.pattern.num_edges

    @property
    def shape(self) -> tuple[int, int]:
        return self.num_rows, self.num_cols

    @property
    def device(self) -> torch.device:
        return self.col.device

    def __repr__(self) -> str:
        parts = [n for n in ("weight", "row_scale", "col_scale") if getattr(self, n) is not None]
        return f"CSR({self.num_rows}x{self.num_cols}, num_edges={self.num_edges}{''.join(', ' + p for p in parts)})"

    @property
    def T(self) -> CSR:
        """The transpose; built once, and sharing its arrays with this matrix if symmetric."""
        if self._transposed is not None:
            return self._transposed
        pattern, order = self.pattern.transpose()
        weight = None if self.weight is None else self.weight.index_select(0, order)
        transposed = CSR._trusted(pattern, weight, self.col_scale, self.row_scale)
        # Reordered weights that carry a gradient belong to one autograd graph: never reuse them.
        if weight is None or not weight.requires_grad:
            self._transposed = transposed
        return transposed

    def with_weight(self, weight: Tensor | None) -> CSR:
        """The same matrix with other edge weights `[num_edges]` (in this matrix's edge order)."""
        if weight is self.weight:
            return self
        return CSR._trusted(self.pattern, weight, self.row_scale, self.col_scale)

    def add_self_loops(self, fill_value: float = 1.0) -> CSR:
        """Add an edge i -> i of weight `fill_value` to every node that has none (PyG's "remaining" rule).

        Raises ValueError on a rectangular or already normalised matrix.
        """
        self._require_square("add_self_loops")
        self._require_unscaled("add_self_loops")
        row, col = self.pattern.row_index(), self.col.long()
        missing = torch.ones(self.num_rows, dtype=torch.bool, device=self.device)
        missing[row[row == col]] = False
        loops = missing.nonzero().squeeze(1)
        weight = self.weight
        if weight is None and fill_value != 1.0:
            weight = torch.ones(self.num_edges, device=self.device)
        if weight is not None:
            weight = torch.cat([weight, weight.new_full((loops.numel(),), fill_value)])
        pattern, order = Pattern.from_coo(torch.cat([row, loops]), torch.cat([col, loops]), *self.shape)
        return CSR._trusted(pattern, None if weight is None else weight.index_select(0, order))

    def normalize(self, mode: str) -> CSR:
        r"""Scale by degrees of absolute weights, \( d_i = \sum_j |A_{ij}| \).

        `"row"`: \( D^{-1} A \). `"sym"`: \( D^{-1/2} A D^{-1/2} \) with the row degrees on both
        sides, as PyG's `gcn_norm`; a rectangular matrix takes its column degrees on the right.
        Rows and columns of degree 0 stay 0. Weights that require a gradient are scaled themselves,
        so that the gradient passes through the degrees.
        """
        if mode not in ("row", "sym"):
            raise ValueError(f'mode must be "row" or "sym", got {mode!r}')
        self._require_unscaled("normalize")
        return self.scaled(*self.degree_scales(mode, self.degree(0), self.degree(1)))

    def degree(self, dim: int) -> Tensor:
        """Sums of absolute weights over each row (`dim=0`) or column (`dim=1`), float64."""
        size = self.shape[dim]
        if self.weight is None:
            if dim == 0:
                return self.rowptr.diff().double()
            return torch.bincount(self.col, minlength=size).double()
        index = self.pattern.row_index() if dim == 0 else self.col.long()
        return self.weight.new_zeros(size, dtype=torch.float64).index_add(0, index, self.weight.abs().double())

    def degree_scales(self, mode: str, row_degree: Tensor, col_degree: Tensor) -> tuple[Tensor, Tensor | None]:
        if mode == "row":
            return _power(row_degree, -1.0), None
        right = row_degree if self.num_rows == self.num_cols else col_degree
        return _power(row_degree, -0.5), _power(right, -0.5)

    def scaled(self, row_scale: Tensor, col_scale: Tensor | None) -> CSR:
        """The matrix between two diagonals; folded into the weights if those take a gradient."""
        if self.weight is None or not self.weight.requires_grad:
            return CSR._trusted(self.pattern, self.weight, row_scale.detach(), _detach(col_scale))
        factor = row_scale.index_select(0, self.pattern.row_index())
        if col_scale is not None:
            factor = factor * col_scale.index_select(0, self.col.long())
        return CSR._trusted(self.pattern, (self.weight * factor).to(self.weight.dtype))

    def to(self, device: torch.device | str) -> CSR:
        """The same matrix on another device."""
        move = lambda t: None if t is None else t.to(device)  # noqa: E731
        return CSR._trusted(self.pattern.to(device), move(self.weight), move(self.row_scale), move(self.col_scale))

    def to_dense(self) -> Tensor:
        """The definition: float64 `[num_rows, num_cols]`. For tests and small graphs."""
        row, col = self.pattern.row_index(), self.col.long()
        value = torch.ones(self.num_edges, dtype=torch.float64, device=self.device)
        if self.weight is not None:
            value = value * self.weight.double()
        if self.row_scale is not None:
            value = value * self.row_scale.double()[row]
        if self.col_scale is not None:
            value = value * self.col_scale.double()[col]
        dense = torch.zeros(self.num_rows * self.num_cols, dtype=torch.float64, device=self.device)
        return dense.index_add(0, row * self.num_cols + col, value).view(self.num_rows, self.num_cols)

    def term(self, x: Tensor, acc_dtype: torch.dtype, kernels: object) -> Term:
        """What the kernels read, with scales and weights in the type they accumulate in."""
        term = self._terms.get(acc_dtype)
        if term is None:
            cast = lambda t: None if t is None else t.to(acc_dtype)  # noqa: E731
            term = Term(self.rowptr, self.col, cast(self.weight), cast(self.row_scale), cast(self.col_scale))
            # A cast weight that takes a gradient belongs to one autograd graph: never reuse it.
            if self.weight is None or not self.weight.requires_grad:
                self._terms[acc_dtype] = term
        return term

    def _require_square(self, what: str) -> None:
        if self.num_rows != self.num_cols:
            raise ValueError(f"{what} needs a square matrix, got {self.num_rows}x{self.num_cols}")

    def _require_unscaled(self, what: str) -> None:
        if self.row_scale is not None or self.col_scale is not None:
            raise ValueError(f"{what} must come before scaling, but this matrix has node scales already")


def _detach(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.detach()


def _power(degree: Tensor, exponent: float) -> Tensor:
    return torch.where(degree > 0, degree, 1.0).pow(exponent) * (degree > 0)
