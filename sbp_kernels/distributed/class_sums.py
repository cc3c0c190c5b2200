"""A `ClassBlock` whose nodes are divided among ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..adjacency.class_block import ClassBlock
from .collectives import Group


class ShardedClassBlock(ClassBlock):
    """This rank's rows of a class block: the group sums are taken over all ranks, by one all_reduce a product.

    The transpose has the same groups, so the backward pass sums gradients in the same way.
    """

    __slots__ = ("_ranks", "_sharded_transpose")
    _ranks: Group
    _sharded_transpose: ShardedClassBlock | None

    @staticmethod
    def of(block: ClassBlock, nodes: Tensor | None, ranks: Group) -> ShardedClassBlock:
        """Return the rows `nodes` of a class block, or those that it has if None."""
        own = object.__new__(ShardedClassBlock)
        own._set(block._group if nodes is None else block._group[nodes], block._block, block._factors)
        own._ranks, own._sharded_transpose = ranks, None
        return own

    @property
    def T(self) -> ShardedClassBlock:
        """The transpose, on the same groups and ranks."""
        if self._sharded_transpose is None:
            self._sharded_transpose = ShardedClassBlock.of(super().T, None, self._ranks)
        return self._sharded_transpose

    def _sums(self, x: Tensor, kernels: Any) -> Tensor:
        return self._ranks.add_up(super()._sums(x, kernels).contiguous())

    def multi_step_operand(self, acc_dtype: torch.dtype) -> None:
        """Return None: the ranks sum between the steps."""
        return None
