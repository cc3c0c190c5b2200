"""Dense adjacencies that are never built: each summarises x over all nodes, then acts row by row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backends.interface import KernelOperand
from ..transforms import full_precision, needs_derivative, outside, plain
from .checks import check_count, check_device, check_finite, check_index, check_tensor, describe
from .low_rank import LowRank, of_labels
from .sparse_matrix import own_copy

# Classes from which on a label block is stored as a diagonal and two outer products.
MANY_GROUPS = 256
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


class ClassBlock:
    r"""A dense adjacency with one value per pair of groups, \( A_{ij} = B_{g_i g_j} \), in O(n d).

    Args:
        group: int64 `[num_nodes]`, the group of each node, in `[0, num_groups)`.
        block: floating `[num_groups, num_groups]`.
    """

    __slots__ = ("__weakref__", "_block", "_factors", "_group", "_segments", "_transposed")

    def __init__(self, group: Tensor, block: Tensor) -> None:
        check_tensor("group", group)
        check_tensor("block", block)
        group = plain(group)
        if block.dim() != 2 or block.size(0) != block.size(1) or not block.is_floating_point():
            raise ValueError(f"block must be floating of shape [num_groups, num_groups], got {describe(block)}")
        if group.dim() != 1 or group.dtype != torch.int64:
            raise ValueError(f"group must be int64 of shape [num_nodes], got {describe(group)}")
        if group.device != block.device:
            raise ValueError(f"group and block must be on one device, got {group.device} and {block.device}")
        if needs_derivative(block):
            raise ValueError("block must not require a gradient, as the groups' sums pass none to it")
        check_finite("block", block)
        check_index("group", group, block.size(0))
        self._set(own_copy(group), own_copy(block), None)

    def _set(self, group: Tensor, block: Tensor | None, factors: LowRank | None) -> None:
        self._group, self._block, self._factors = group, block, factors
        self._segments: GroupSegments | None = None
        self._transposed: ClassBlock | None = None

    @staticmethod
    def _like(group: Tensor, block: Tensor | None, factors: LowRank | None) -> ClassBlock:
        """Build one that needs no check."""
        other = object.__new__(ClassBlock)
        other._set(group, block, factors)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles share no cache, and what is loaded is checked again.
        return _load, (self._group, self._block, *(self._factors or ()))

    @staticmethod
    def from_labels(y: Tensor, known: Tensor, softmax_over: str = "all") -> ClassBlock:
        r"""Return the negative adjacency of Label-SBP, exactly (arXiv 2502.11394, section 4.2).

        \( \hat A^- = \mathrm{softmax}(A^-) \) by rows, with \( A^-_{ij} \) = 1 for two known
        different labels, -1 for two known equal ones (i = j included), 0 otherwise. The softmax
        depends on the pair of classes only, "unknown" being one class more.

        Args:
            y: int64 `[num_nodes]`; only values where `known` is set are read.
            known: bool `[num_nodes]`, the nodes whose label may be used (the training nodes).
            softmax_over: `"all"` nodes, as the paper; or `"labelled"` nodes only, which keeps the
                labels visible when they are few.
        """
        check_tensor("y", y)
        check_tensor("known", known)
        y, known = plain(y), plain(known)
        if y.dim() != 1 or y.shape != known.shape or y.dtype != torch.int64 or known.dtype != torch.bool:
            raise ValueError(
                "y must be int64 and known bool, both of shape [num_nodes], "
                f"got {y.dtype} {tuple(y.shape)} and {known.dtype} {tuple(known.shape)}"
            )
        if not isinstance(softmax_over, str) or softmax_over not in ("all", "labelled"):
            raise ValueError(f'softmax_over must be "all" or "labelled", got {describe(softmax_over)}')
        return ClassBlock._of_labels(y, known, softmax_over)

    @staticmethod
    def _of_labels(y: Tensor, known: Tensor, softmax_over: str) -> ClassBlock:
        """Build from tensors of the right shapes and types."""
        labels = y[known]
        if labels.numel() and int(labels.min()) < 0:
            raise ValueError(f"known labels must be >= 0, got {int(labels.min())}")
        if softmax_over == "labelled" and y.numel() and not labels.numel():
            raise ValueError('softmax_over="labelled" needs at least one known label, got none')
        num_classes = check_count("the number of classes", int(labels.max()) + 1 if labels.numel() else 0)
        group = torch.where(known, y, num_classes)
        count = torch.bincount(group, minlength=num_classes + 1).double()
        factors = of_labels(count, softmax_over)
        # The matrix itself is as exact and, while it is small, faster.
        small = num_classes < MANY_GROUPS
        return ClassBlock._like(group, factors.dense() if small else None, None if small else factors)

    @staticmethod
    def mean(num_nodes: int, device: torch.device | str = "cpu") -> ClassBlock:
        r"""Return \( A = 11^\top / n \): every row is the mean of all rows (BatchNorm's and PairNorm's centring)."""
        num_nodes = check_count("num_nodes", num_nodes)
        group = torch.zeros(num_nodes, dtype=torch.int64, device=check_device(device))
        return ClassBlock(group, torch.full((1, 1), 1.0 / max(num_nodes, 1), dtype=torch.float64, device=device))

    group = property(lambda self: self._group.clone(), doc="A copy of the group of each node, int64 `[num_nodes]`.")
    num_rows = num_cols = num_nodes = property(lambda self: self._group.numel(), doc="Number of nodes.")
    device = property(lambda self: self._group.device, doc="Where the arrays are.")

    @property
    def num_groups(self) -> int:
        return self._block.size(0) if self._factors is None else self._factors.diagonal.numel()  # type: ignore[union-attr]

    @property
    def block(self) -> Tensor:
        """B, `[num_groups, num_groups]`, a copy; computed from its factors where the classes are many."""
        return self._matrix() if self._factors is not None else self._matrix().clone()

    def _matrix(self) -> Tensor:
        return self._block if self._factors is None else self._factors.dense()  # type: ignore[return-value]

    @property
    def T(self) -> ClassBlock:
        """The transpose, on the same groups."""
        if self._transposed is None:
            with outside():
                block = None if self._block is None else self._block.T.contiguous()
                transposed = self._like(self._group, block, None if self._factors is None else self._factors.T)
            transposed._segments = self.segments
            self._transposed = transposed
        return self._transposed

    def transpose_with(self, weight: None) -> tuple[ClassBlock, None]:
        """Return the transpose; a class block has no weights beside it."""
        return self.T, None

    @property
    def segments(self) -> GroupSegments:
        """The order in which group sums add up."""
        if self._segments is None:
            with outside():
                self._segments = GroupSegments(self._group, self.num_groups)
        return self._segments

    def __repr__(self) -> str:
        return f"ClassBlock({self.num_nodes}x{self.num_nodes}, num_groups={self.num_groups})"

    def to(self, device: torch.device | str) -> ClassBlock:
        """Return the same matrix on another device."""
        device = check_device(device)
        block = None if self._block is None else self._block.to(device)
        return self._like(self._group.to(device), block, None if self._factors is None else self._factors.to(device))

    def to_dense(self) -> Tensor:
        """Return the definition: float64 `[num_nodes, num_nodes]`."""
        return self._matrix().double()[self._group][:, self._group]

    def requires_derivative(self) -> bool:
        return False

    def learnable_weight(self, acc_dtype: torch.dtype) -> None:
        return None

    def prepare(self, acc_dtype: torch.dtype, kernels: Any) -> None:
        _ = self.segments

    def operand(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: Tensor | None = None) -> KernelOperand:
        """Sum x over the groups, then mix the sums: a `[num_groups, d]` table read by every row."""
        sums = self._sums(x, kernels)
        with full_precision(x):
            if self._factors is not None:
                return KernelOperand(table=self._factors.to(acc_dtype).mix(sums, kernels), group=self._group)
            return KernelOperand(table=kernels.mix_groups(self._matrix().to(acc_dtype), sums), group=self._group)

    def _sums(self, x: Tensor, kernels: Any) -> Tensor:
        """Return the sum of x over each group, `[num_groups, d]`."""
        return kernels.group_sum(x, self.segments.order, self.segments.segptr, self.segments.group_segptr)

    def multi_step_operand(self, acc_dtype: torch.dtype) -> tuple[KernelOperand, tuple[Tensor, ...]] | None:
        """Return what K steps in one call read; the kernels recompute the table in every step."""
        if self._factors is not None:
            return None
        arrays = (self.segments.order, self.segments.segptr, self.segments.group_segptr)
        return KernelOperand(group=self._group), (*arrays, self._matrix().to(acc_dtype))


def _cumulate(count: Tensor) -> Tensor:
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _load(group: Tensor, block: Tensor | None, *factors: Tensor) -> ClassBlock:
    """Return the ClassBlock that `__reduce__` took apart, checked as by its constructor."""
    if not factors:
        return ClassBlock(group, block)  # type: ignore[arg-type]
    low_rank = LowRank(*(own_copy(part) for part in factors))
    low_rank.check()
    # Groups are checked against a matrix of as many groups.
    num_groups = low_rank.diagonal.numel()
    check_tensor("group", group)
    if group.dim() != 1 or group.dtype != torch.int64:
        raise ValueError(f"group must be int64 of shape [num_nodes], got {describe(group)}")
    check_index("group", group, num_groups)
    return ClassBlock._like(own_copy(group), None, low_rank)


torch.serialization.add_safe_globals([_load])
