"""The explicit sparse adjacency: compressed rows with optional weights and node scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .checks import check_edges, check_pattern, check_values
from .degrees import degree, degree_scales
from .pattern import Pattern
from .term import Term
from .weight import Reordered, given, stamp


class CSR:
    r"""A sparse adjacency in compressed rows, \( A_{ij} = s_i \sum_{e: i \to j} w_e t_j \).

    Args:
        rowptr: int64 `[num_rows + 1]`, from 0 to `num_edges`, not decreasing.
        col: int32 or int64 `[num_edges]`, in `[0, num_cols)`.
        weight: floating `[num_edges]`; 1 if absent. May require a gradient; then a matrix derived
            from it (`normalize`, `add_self_loops`) belongs inside the training step, as it depends
            on the weights, while the matrix itself can be built once.
        row_scale, col_scale: floating `[num_rows]`, `[num_cols]`; 1 if absent. They carry degree
            normalisation, so that a normalised graph stores no edge weights: 4 bytes an edge.
        num_cols: number of columns; `num_rows` if absent.

    Raises:
        ValueError: naming the rule that the arrays break, and the value that breaks it.
    """

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

    def _set(
        self,
        pattern: Pattern,
        weight: Tensor | Reordered | None,
        row_scale: Tensor | None,
        col_scale: Tensor | None,
    ) -> None:
        self.pattern = pattern
        self.rowptr, self.col, self.device = pattern.rowptr, pattern.col, pattern.col.device
        self.num_rows, self.num_cols, self.num_edges = pattern.num_rows, pattern.num_cols, pattern.num_edges
        self.num_nodes, self.shape = pattern.num_rows, (pattern.num_rows, pattern.num_cols)
        self._weight = weight.contiguous() if isinstance(weight, Tensor) else weight
        self.row_scale = None if row_scale is None else row_scale.contiguous()
        self.col_scale = None if col_scale is None else col_scale.contiguous()
        self.weightless = weight is None
        # What is kept, with the stamp of the weights that it was made of.
        self._transposed: tuple[Any, CSR] | None = None
        self._terms: dict[torch.dtype, tuple[Any, Term]] = {}

    @staticmethod
    def _trusted(
        pattern: Pattern,
        weight: Tensor | Reordered | None = None,
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
        return CSR._sorted(pattern, edge_weight, order)

    @staticmethod
    def _sorted(pattern: Pattern, edge_weight: Tensor | None, order: Tensor, sign: float = 1.0) -> CSR:
        """Build from weights in another edge order: entry e takes `sign * edge_weight[order[e]]`."""
        if edge_weight is None:
            return CSR._trusted(pattern)
        view = Reordered(edge_weight, order, sign)
        return CSR._trusted(pattern, view if edge_weight.requires_grad else view.sorted())

    @property
    def weight(self) -> Tensor | None:
        """Edge weights `[num_edges]` in row order, or None where all are 1."""
        return self._weight.sorted() if isinstance(self._weight, Reordered) else self._weight

    def __repr__(self) -> str:
        parts = [n for n in ("weight", "row_scale", "col_scale") if getattr(self, n) is not None]
        return f"CSR({self.num_rows}x{self.num_cols}, num_edges={self.num_edges}{''.join(', ' + p for p in parts)})"

    @property
    def T(self) -> CSR:
        """The transpose, built once; this very matrix where it is symmetric and weightless."""
        if self._transposed is not None and self._is_current(self._transposed[0]):
            return self._transposed[1]
        pattern, order = self.pattern.transpose()
        if pattern is self.pattern and self.weightless and self.row_scale is self.col_scale:
            return self
        weight = self.weight
        weight = None if weight is None else weight.index_select(0, order)
        transposed = CSR._trusted(pattern, weight, self.col_scale, self.row_scale)
        # Reordered weights that carry a gradient belong to one autograd graph: never reuse them.
        made = self.stamp()
        if made is not None and not self.learns():
            self._transposed = (made, transposed)
        return transposed

    def with_weight(self, weight: Tensor | None) -> CSR:
        """The same matrix with other edge weights `[num_edges]` (in this matrix's edge order)."""
        if weight is self._weight:
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
        self._require_unscaled("normalize")
        return self.scaled(*degree_scales(self, mode, degree(self, 0)))

    def scaled(self, row_scale: Tensor, col_scale: Tensor | None) -> CSR:
        """The matrix between two diagonals; folded into the weights if those take a gradient."""
        weight = self.weight
        if weight is None or not self.learns():
            return CSR._trusted(self.pattern, weight, row_scale, col_scale)
        factor = row_scale.index_select(0, self.pattern.row_index())
        if col_scale is not None:
            factor = factor * col_scale.index_select(0, self.col.long())
        return CSR._trusted(self.pattern, (weight * factor).to(weight.dtype))

    def to(self, device: torch.device | str) -> CSR:
        """The same matrix on another device."""
        move = lambda t: None if t is None else t.to(device)  # noqa: E731
        return CSR._trusted(self.pattern.to(device), move(self.weight), move(self.row_scale), move(self.col_scale))

    def to_dense(self) -> Tensor:
        """The definition: float64 `[num_rows, num_cols]`. For tests and small graphs."""
        row, col = self.pattern.row_index(), self.col.long()
        value = torch.ones(self.num_edges, dtype=torch.float64, device=self.device)
        for factor, index in ((self.weight, slice(None)), (self.row_scale, row), (self.col_scale, col)):
            if factor is not None:
                value = value * factor.double()[index]
        dense = torch.zeros(self.num_rows * self.num_cols, dtype=torch.float64, device=self.device)
        return dense.index_add(0, row * self.num_cols + col, value).view(self.num_rows, self.num_cols)

    def prepare(self, acc_dtype: torch.dtype, kernels: object) -> Term:
        """What the kernels read, in the type they accumulate in; kept.

        Weights that take a gradient belong to one autograd graph, so they are left out and travel
        beside the term.
        """
        made, term = self._terms.get(acc_dtype, (None, None))
        if term is None or not self._is_current(made):
            cast = lambda t: None if t is None else t.to(acc_dtype)  # noqa: E731
            weight = None if self.learns() else cast(self.weight)
            term = Term(self.rowptr, self.col, weight, cast(self.row_scale), cast(self.col_scale))
            # What torch.export computes is a part of its graph, not a value.
            if not torch.compiler.is_exporting() and (made := self.stamp()) is not None:
                self._terms[acc_dtype] = (made, term)
        return term

    def term(self, x: Tensor, acc_dtype: torch.dtype, kernels: object, weight: Tensor | None = None) -> Term:
        """This adjacency for the row pass over x (whose values it need not see), with `weight` if it learns."""
        term = self.prepare(acc_dtype, kernels)
        return term if weight is None else Term(*term[:2], weight, *term[3:])

    def summarised(self, acc_dtype: torch.dtype) -> tuple[Term, None] | None:
        """This adjacency for several steps in one call; None where edge weights take a gradient."""
        return None if self.learns() else (self.prepare(acc_dtype, None), None)

    def learnt_weight(self, acc_dtype: torch.dtype) -> Tensor | None:
        """Edge weights that take a gradient, in the accumulation type; None where they are fixed."""
        weight = self.weight if self.learns() else None
        return None if weight is None else weight.to(acc_dtype)

    def weight_grad(self, weight: Tensor, a: Tensor, b: Tensor, kernels: Any) -> Tensor:
        """Gradient of <a, A b> with respect to the edge weights: `[num_edges]`, the same for any of them."""
        return kernels.edge_dot(a, b, self.prepare(weight.dtype, kernels))

    def learns(self) -> bool:
        weight = given(self._weight)
        return weight is not None and weight.requires_grad

    def stamp(self) -> tuple[Any, ...] | None:
        """See `weight.stamp`."""
        return stamp(self._weight)

    def _is_current(self, made: tuple[Any, ...] | None) -> bool:
        # A trace takes what there is: torch.compile has just prepared it.
        return self.weightless or torch.compiler.is_dynamo_compiling() or made == self.stamp()

    def _require_square(self, what: str) -> None:
        if self.num_rows != self.num_cols:
            raise ValueError(f"{what} needs a square matrix, got {self.num_rows}x{self.num_cols}")

    def _require_unscaled(self, what: str) -> None:
        if self.row_scale is not None or self.col_scale is not None:
            raise ValueError(f"{what} must come before scaling, but this matrix has node scales already")
