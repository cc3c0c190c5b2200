"""What a backend is: a module with these functions, and the operands that they take."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

# The types that features and edge weights may have.
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# r, p, q of r R + p A+ x + q A- x_neg.
Coefficients = tuple[float, float, float]


class KernelOperand(NamedTuple):
    """One adjacency as the kernels read it: a sparse part, a dense term, or neither.

    `(A x)_i = row_scale_i sum_e weight_e col_scale_col_e x_col_e + table[group_i]`; the sum runs over the edges e of
    row i. Absent arrays are ones (weight and scales), and a table without groups has a row per node.
    """

    rowptr: Tensor | None = None  # int64 [num_rows + 1]
    col: Tensor | None = None  # int32 or int64 [num_edges]
    weight: Tensor | None = None  # [num_edges], accumulation type
    row_scale: Tensor | None = None  # [num_rows]
    col_scale: Tensor | None = None  # [num_cols]
    table: Tensor | None = None  # [num_groups or num_rows, d]
    group: Tensor | None = None  # int64 [num_rows]


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """Return the type that sums run in: float64 for float64 features, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def unsupported_dtype(x: Tensor) -> str | None:
    """Return why no backend can run on features of this type, or None if their type is one of `FLOATS`."""
    if x.dtype in FLOATS:
        return None
    return f"features must be float32, float64, bfloat16 or float16, got {x.dtype}"


def is_zero(factor: Any) -> bool:
    """Return whether a coefficient is the number 0, so that its part is not read."""
    return not isinstance(factor, Tensor) and factor == 0.0


class Backend(Protocol):
    """A module with these functions. Shapes: n rows, m columns, d features, E edges.

    A backend raises nothing that the caller could have avoided: the public functions have checked the arguments, and
    `unsupported` has been asked. It may also have the functions of `MergedBackend` and `MultiStepBackend`.
    """

    @property
    def __name__(self) -> str: ...

    def unsupported(self, x: Tensor) -> str | None:
        """Return why this backend cannot run a call with these features, or None if it can."""

    def degree_bins(self, pos: Tensor | None, neg: Tensor | None) -> Any:
        """Return the rows of two row pointers binned by degree, if the kernels use such bins; computed once a graph."""

    def signed_spmm(
        self,
        x: Tensor,
        x_neg: Tensor | None,
        residual: Tensor | None,
        pos: Any,
        neg: Any,
        coefs: Coefficients,
        coef: Tensor | None,
        num_rows: int,
        eps: float | None,
        bins: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return r R + p A+ x + q A- x_neg `[n, d]`, with LayerNorm if `eps` is given, and 1/std of each row then."""

    def signed_pair(self, x: Tensor, pos: Any, neg: Any, num_rows: int, bins: Any) -> tuple[Tensor, Tensor]:
        """Return A+ x and A- x, each `[n, d]`."""

    def signed_dot(self, y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any, bins: Any) -> Tensor:
        """Return <y, R>, <y, A+ x> and <y, A- x>, `[3]`."""

    def edge_dot(self, a: Tensor, b: Tensor, operand: Any) -> Tensor:
        """Return row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, `[E]`."""

    def group_sum(self, x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
        """Return the sum of x over each group, `[num_groups, d]`."""

    def mix_groups(self, block: Tensor, sums: Tensor) -> Tensor:
        """Return block `[rows, num_groups]` @ sums, `[rows, d]`."""

    def similarity_lse(self, x0: Tensor, scale: Tensor) -> Tensor:
        """Return log sum_j exp(scale <x0_i, x0_j>), `[n]`."""

    def similarity(self, x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
        """Return softmax(scale x0 x0^T) x, or its transpose times x, `[n, d]`."""

    def similarity_grad(self, x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
        """Return the gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T), `[n, width]`."""


class MergedBackend(Backend, Protocol):
    """A backend that reads both signs from one merged CSR faster than from two halves."""

    def merge_signs(self, pos: Any, neg: Any, factors: tuple[float, float], acc_dtype: torch.dtype) -> Any:
        """Return the merged CSR of two sparse operands, edge values times their sign's factor; None if it cannot."""

    def merged_spmm(
        self, x: Tensor, residual: Tensor | None, csr: Any, coefs: Tensor | Coefficients, eps: float | None
    ) -> tuple[Tensor, Tensor | None]:
        """Take one step of a merged CSR, with x_neg = x; results as `signed_spmm`."""


class MultiStepBackend(MergedBackend, Protocol):
    """A backend that takes K steps in one call."""

    def signed_spmm_steps(
        self,
        x: Tensor,
        residual: Tensor | None,
        own_residual: bool,
        pos: Any,
        neg: Any,
        coefs: Coefficients,
        coef: Tensor | None,
        eps: float | None,
        num_steps: int,
        gamma: Tensor | None,
        bins: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return x_K, and sum_k gamma_k x_k if gamma `[K + 1]` is given (else an empty tensor)."""

    def merged_spmm_steps(
        self,
        x: Tensor,
        residual: Tensor | None,
        own_residual: bool,
        csr: Any,
        coefs: Tensor | Coefficients,
        eps: float | None,
        num_steps: int,
        gamma: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Take K steps of a merged CSR; results as `signed_spmm_steps`."""
