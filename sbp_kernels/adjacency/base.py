"""What an adjacency is: one half of a signed graph."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..backends.interface import KernelOperand


@runtime_checkable
class Adjacency(Protocol):
    """An n x m matrix that a backend can multiply with features, stored or not.

    A *learnable weight* is the tensor that the matrix depends on differentiably: the edge weights of a `CSR`, the block
    of a `ClassBlock`, the x0 of a `Similarity`. While it needs a derivative, it travels beside the operand, as an
    argument that autograd sees.
    """

    @property
    def num_rows(self) -> int: ...
    @property
    def num_cols(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def T(self) -> Any:
        """The transpose."""

    def to(self, device: torch.device | str) -> Any:
        """Return the same matrix on another device."""

    def to_dense(self) -> Tensor:
        """Return the definition: float64 `[num_rows, num_cols]`."""

    def requires_derivative(self) -> bool:
        """Return whether the learnable weight needs a derivative."""

    def learnable_weight(self, acc_dtype: torch.dtype) -> Tensor | None:
        """Return the learnable weight if it needs a derivative, in the accumulation type; else None."""

    def transpose_with(self, weight: Any) -> tuple[Any, Tensor | None]:
        """Return the transpose and, in its order, the learnable weight that belongs to it (None for its own)."""

    def prepare(self, acc_dtype: torch.dtype, kernels: Any) -> Any:
        """Compute what does not depend on the features and can be cached."""

    def operand(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: Tensor | None = None) -> KernelOperand:
        """Return what the row pass reads to multiply with x, with another learnable weight if it is given."""

    def multi_step_operand(self, acc_dtype: torch.dtype) -> tuple[KernelOperand, Any] | None:
        """Return what K steps in one call read, (operand, class-block arrays or None); None if that is impossible."""
