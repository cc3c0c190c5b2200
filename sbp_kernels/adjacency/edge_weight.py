"""Edge weights as the caller gave them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..tensor_cache import tensor_version
from ..transforms import needs_derivative
from .checks import check_storage


class EdgeWeight:
    """Weights of the edges of a matrix: the caller's own tensor and, if that has another edge order, the order.

    Entry e of the matrix has the weight `sign * values[order[e]]`. Weights that need a derivative are sorted at
    each use: a sorted copy would tie every later step to one autograd graph.
    """

    __slots__ = ("_size", "order", "sign", "values")

    def __init__(self, values: Tensor, order: Tensor | None = None, sign: float = 1.0) -> None:
        self.values, self.order, self.sign = values, order, sign
        self._size = values.numel()

    def sorted(self) -> Tensor:
        """Return the weights `[num_edges]` in the edge order of the matrix.

        Raises ValueError if someone has resized the caller's tensor since.
        """
        check_storage("weight", self.values)
        if self.values.numel() != self._size:
            raise ValueError(f"weight must keep its {self._size} elements, got shape {tuple(self.values.shape)}")
        if self.order is None:
            return self.values
        return self.sign * self.values.index_select(0, self.order)

    def needs_derivative(self) -> bool:
        return needs_derivative(self.values)

    def version(self) -> tuple[Any, ...] | None:
        """Return what changes when someone writes to the weights or sets `requires_grad`; see `tensor_version`."""
        return tensor_version(self.values)
