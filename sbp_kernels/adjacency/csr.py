"""The explicit sparse adjacency: compressed rows with optional weights and node scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backends.interface import KernelOperand
from ..transforms import needs_derivative, outside, plain
from .checks import (
    check_count,
    check_device,
    check_edges,
    check_order,
    check_pattern,
    check_permutation,
    check_real,
    check_scale,
    check_storage,
    check_tensor,
    check_values,
)
from .conversion import ConvertedMatrix
from .edge_weight import EdgeWeight
from .normalization import degree, degree_scales, needs_folding, with_self_loops
from .sparse_matrix import own_copy
from .sparsity import SparsityPattern


class CSR(ConvertedMatrix):
    r"""A sparse adjacency in compressed rows, \( A_{ij} = s_i \sum_{e: i \to j} w_e t_j \).

    The matrix owns its arrays: it copies `rowptr`, `col` and the scales when it is built, and its attributes of
    these names are copies again. Weights are shared with the caller, and in-place changes of them are followed
    (those that PyTorch counts: not through `.data`, NumPy or another process).

    Args:
        rowptr: int64 `[num_rows + 1]`, from 0 to `num_edges`, not decreasing.
        col: int32 or int64 `[num_edges]`, in `[0, num_cols)`.
        weight: floating `[num_edges]`; 1 if absent. May require a gradient; then a matrix derived
            from it (`normalize`, `add_self_loops`) belongs inside the training step, as it depends
            on the weights, while the matrix itself can be built once.
        row_scale, col_scale: floating `[num_rows]`, `[num_cols]`, without a gradient; 1 if absent. They carry
            degree normalization, so that a normalized graph stores no edge weights: 4 bytes an edge.
        num_cols: number of columns; `num_rows` if absent.

    Raises:
        ValueError: naming the rule that the arrays break, and the value that breaks it.
    """

    __slots__ = ()

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
        check_tensor("rowptr", rowptr)
        num_cols = rowptr.numel() - 1 if num_cols is None else check_count("num_cols", num_cols)
        check_tensor("col", col)
        rowptr, col = plain(rowptr), plain(col)
        check_pattern(rowptr, col, num_cols)
        check_values("weight", weight, col.numel(), "num_edges", rowptr.device)
        check_scale("row_scale", row_scale, rowptr.numel() - 1, "num_rows", rowptr.device)
        check_scale("col_scale", col_scale, num_cols, "num_cols", rowptr.device)
        self._set(
            SparsityPattern(own_copy(rowptr), own_copy(col), num_cols), weight, own_copy(row_scale), own_copy(col_scale)
        )

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
        with outside():
            pattern, order = SparsityPattern.from_coo(target, source, num_targets, num_sources)
        return CSR._sorted(pattern, edge_weight, order)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles share no cache, and what is loaded is checked again.
        own = self._weight
        if own is not None:
            check_storage("weight", own.values)
        weight = () if own is None else (own.values, own.order, own.sign)
        pattern = self._pattern
        arrays = (pattern._rowptr, pattern._col, self._row_scale, self._col_scale, self.num_cols)
        return _load, (*arrays, *(weight or (None, None, 1.0)), pattern.edge_permutation() if pattern.orders else None)

    def with_weight(self, weight: Tensor | None) -> CSR:
        """Return the matrix with other edge weights: floating, finite `[num_edges]`, in this matrix's edge order."""
        check_values("weight", weight, self.num_edges, "num_edges", self.device)
        return self._with_weight(weight)

    def add_self_loops(self, fill_value: float = 1.0) -> CSR:
        """Add an edge i -> i of weight `fill_value` to every node that has none (PyG's "remaining" rule).

        Raises ValueError on a rectangular or already normalized matrix.
        """
        fill_value = check_real("fill_value", fill_value)
        if self.num_rows != self.num_cols:
            raise ValueError(f"add_self_loops needs a square matrix, got {self.num_rows}x{self.num_cols}")
        self._require_unscaled("add_self_loops")
        dtype = torch.float32 if self._weight is None else self._weight.values.dtype
        if abs(fill_value) > torch.finfo(dtype).max:
            raise ValueError(f"fill_value must lie in the range of the weights, {dtype}, got {fill_value}")
        return CSR._trusted(*with_self_loops(self._pattern, self.weight, fill_value))

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
        """Return the matrix between two diagonals; folded into the weights if those or the scales need a derivative."""
        weight = self.weight
        if not (self.requires_derivative() or needs_derivative(row_scale) or needs_derivative(col_scale)):
            return CSR._trusted(self._pattern, weight, row_scale, col_scale)
        if weight is None:
            weight = torch.ones(self.num_edges, dtype=torch.float64, device=self.device)
        return CSR._trusted(self._pattern, self._pattern.edge_factors(weight, row_scale, col_scale).to(weight.dtype))

    def to(self, device: torch.device | str) -> CSR:
        """Return the same matrix on another device."""
        device = check_device(device)
        move = lambda t: None if t is None else t.to(device)  # noqa: E731
        return CSR._trusted(self._pattern.to(device), move(self.weight), move(self._row_scale), move(self._col_scale))

    def prepare(self, acc_dtype: torch.dtype, kernels: object) -> KernelOperand:
        """Return what the kernels read, in the type they accumulate in; cached until the weights change.

        Weights that need a derivative belong to one autograd graph, so they travel beside the operand.
        """
        operand = self._cached(acc_dtype)
        if operand is None:
            operand = KernelOperand(self._pattern._rowptr, self._pattern._col, *self._values(acc_dtype))
            self._derived.store(acc_dtype, self.weight_version(), operand)
        return operand

    def _values(self, acc_dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return (weight, row_scale, col_scale) in the accumulation type; without a weight that needs a derivative."""
        weight = None if self.requires_derivative() else self.weight
        row_scale, col_scale = self._row_scale, self._col_scale
        if not self.requires_derivative() and needs_folding(acc_dtype, weight, row_scale, col_scale):
            ones = torch.ones(self.num_edges, device=self.device) if weight is None else weight
            weight, row_scale, col_scale = self._pattern.edge_factors(ones.double(), row_scale, col_scale), None, None
        return tuple(None if t is None else t.to(acc_dtype) for t in (weight, row_scale, col_scale))  # type: ignore[return-value]

    def operand(
        self, x: Tensor, acc_dtype: torch.dtype, kernels: object, weight: Tensor | None = None
    ) -> KernelOperand:
        """Return what the row pass reads, with `weight` if it is given; it does not depend on x."""
        operand = self.prepare(acc_dtype, kernels)
        return operand if weight is None else KernelOperand(*operand[:2], weight, *operand[3:])

    def multi_step_operand(self, acc_dtype: torch.dtype) -> tuple[KernelOperand, None] | None:
        """Return what K steps in one call read; None if edge weights need a derivative."""
        return None if self.requires_derivative() else (self.prepare(acc_dtype, None), None)

    def learnable_weight(self, acc_dtype: torch.dtype) -> Tensor | None:
        """Return edge weights that need a derivative, in the accumulation type; None where they are fixed."""
        return self.weight.to(acc_dtype) if self.requires_derivative() else None  # type: ignore[union-attr]

    def weight_grad(self, weight: Tensor, a: Tensor, b: Tensor, kernels: Any) -> Tensor:
        """Return the gradient of <a, A b> with respect to the edge weights, `[num_edges]`, the same for any of them."""
        return kernels.edge_dot(a, b, self.prepare(weight.dtype, kernels))

    def _require_unscaled(self, what: str) -> None:
        if self._row_scale is not None or self._col_scale is not None:
            raise ValueError(f"{what} must come before scaling, but this matrix has node scales already")


def _load(
    rowptr: Tensor,
    col: Tensor,
    row_scale: Tensor | None,
    col_scale: Tensor | None,
    num_cols: int,
    weight: Tensor | None = None,
    order: Tensor | None = None,
    sign: float = 1.0,
    edge_permutation: Tensor | None = None,
) -> CSR:
    """Return the CSR from the parts of `__reduce__`, checked as by its constructor; `order` as in `EdgeWeight`."""
    csr = CSR(rowptr, col, weight if order is None else None, row_scale, col_scale, num_cols=num_cols)
    if edge_permutation is not None:
        check_permutation(edge_permutation, csr.num_edges)
        csr._pattern.orders = (edge_permutation.clone(),)
    if order is None:
        return csr
    check_order(order, csr.num_edges, weight)
    return csr._with_weight(EdgeWeight(weight, order.clone(), sign))  # type: ignore[arg-type]


torch.serialization.add_safe_globals([_load])
