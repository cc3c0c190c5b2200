"""Groups of nodes: sums over them, and a table of groups read by the nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backends.interface import KernelOperand
from ..transforms import full_precision, outside

# Rows that one partial sum covers: enough to amortise its store, few enough to spread over threads.
SEGMENT = 1024


class GroupSegments:
    """The order in which group sums add up: fixed, so that they repeat bit for bit.

    `order` lists the nodes by group; segment s sums `order[segptr[s]:segptr[s + 1]]`; group g sums
    its segments `group_segptr[g]` to `group_segptr[g + 1]`. No segment crosses a group.
    """

    __slots__ = ("group_segptr", "order", "segptr")

    def __init__(self, group: Tensor, num_groups: int) -> None:
        count = torch.bincount(group, minlength=num_groups)
        segments = (count + SEGMENT - 1) // SEGMENT
        self.order = torch.argsort(group, stable=True).to(torch.int32)
        self.group_segptr = _cumulate(segments)
        owner = torch.repeat_interleave(torch.arange(num_groups, device=group.device), segments)
        position = torch.arange(owner.numel(), device=group.device) - self.group_segptr[owner]
        first = _cumulate(count)
        self.segptr = torch.cat([first[owner] + position * SEGMENT, first[-1:]])


class HardGroups:
    """Each node is in one group: `values` is int64 `[num_nodes]`."""

    __slots__ = ("_segments", "num_groups", "values")

    def __init__(self, values: Tensor, num_groups: int) -> None:
        self.values, self.num_groups = values, num_groups
        self._segments: GroupSegments | None = None

    @property
    def segments(self) -> GroupSegments:
        """The order in which group sums add up."""
        if self._segments is None:
            with outside():
                self._segments = GroupSegments(self.values, self.num_groups)
        return self._segments

    def sum(self, x: Tensor, kernels: Any) -> Tensor:
        """Return the sum of x over each group, `[num_groups, d]`, in the accumulation type."""
        return kernels.group_sum(x, self.segments.order, self.segments.segptr, self.segments.group_segptr)

    def operand(self, table: Tensor) -> KernelOperand:
        """Return what the row pass reads: the row of a table `[num_groups, d]` of each node's group."""
        return KernelOperand(table=table, group=self.values)

    def rows(self, nodes: Tensor) -> HardGroups:
        """Return the groups of some nodes."""
        return HardGroups(self.values[nodes], self.num_groups)

    def to(self, device: torch.device) -> HardGroups:
        """Return the same groups on another device."""
        return HardGroups(self.values.to(device), self.num_groups)

    def spread(self, block: Tensor) -> Tensor:
        """Return S B S^T, `[num_nodes, num_nodes]`, of a block B."""
        return block[self.values][:, self.values]


class SoftGroups:
    """Each node is in every group to some degree: `values` is S, floating `[num_nodes, num_groups]`.

    Sums are products by BLAS, so that their bits may depend on the number of threads.
    """

    __slots__ = ("values",)
    # Kernels have no steps in one call for them.
    segments = None

    def __init__(self, values: Tensor) -> None:
        self.values = values

    num_groups = property(lambda self: self.values.size(1))

    def sum(self, x: Tensor, kernels: Any) -> Tensor:
        """Return S^T x, `[num_groups, d]`, in the accumulation type."""
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        with full_precision(x):
            return self.values.to(wide).T @ x.to(wide)

    def operand(self, table: Tensor) -> KernelOperand:
        """Return what the row pass reads: S times a table `[num_groups, d]`, a row per node."""
        with full_precision(table):
            return KernelOperand(table=self.values.to(table.dtype) @ table)

    def rows(self, nodes: Tensor) -> SoftGroups:
        """Return the groups of some nodes."""
        return SoftGroups(self.values[nodes])

    def to(self, device: torch.device) -> SoftGroups:
        """Return the same groups on another device."""
        return SoftGroups(self.values.to(device))

    def spread(self, block: Tensor) -> Tensor:
        """Return S B S^T, `[num_nodes, num_nodes]`, of a block B."""
        return self.values.to(block.dtype) @ block @ self.values.to(block.dtype).T


def _cumulate(count: Tensor) -> Tensor:
    return torch.cat([count.new_zeros(1), count.cumsum(0)])
