"""Dense adjacencies that are never built: each summarises x over all nodes, then acts row by row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backends.interface import KernelOperand
from ..transforms import full_precision, needs_derivative, outside, plain
from .checks import check_count, check_device, check_finite, check_index, check_storage, check_tensor, describe
from .groups import GroupSegments, HardGroups, SoftGroups
from .low_rank import LowRank, of_labels
from .sparse_matrix import own_copy

# Classes from which on a label block is stored as a diagonal and two outer products.
MANY_GROUPS = 256


class ClassBlock:
    r"""A dense adjacency with one value per pair of groups, \( A = S B S^\top \), in O(n d).

    For hard groups \( A_{ij} = B_{g_i g_j} \).

    A block that requires a gradient (a compatibility matrix) gets the exact one, \( (S^\top G)(S^\top X)^\top \), in
    derivatives of every order and mode; it is shared with the caller, and changes of it are followed. Other blocks are
    copied.

    Args:
        group: int64 `[num_nodes]`, the group of each node, in `[0, num_groups)`; or S, floating
            `[num_nodes, num_groups]`, how far each node is in each group, without a gradient.
        block: B, floating `[num_groups, num_groups]`.
    """

    __slots__ = ("__weakref__", "_block", "_factors", "_groups", "_transposed")

    def __init__(self, group: Tensor, block: Tensor) -> None:
        check_tensor("group", group)
        check_tensor("block", block)
        if block.dim() != 2 or block.size(0) != block.size(1) or not block.is_floating_point():
            raise ValueError(f"block must be floating of shape [num_groups, num_groups], got {describe(block)}")
        groups = _groups(group, block.size(0))
        if group.device != block.device:
            raise ValueError(f"group and block must be on one device, got {group.device} and {block.device}")
        check_finite("block", block)
        # A copy of a block that needs a derivative would belong to one autograd graph.
        self._set(groups, block if needs_derivative(block) else own_copy(block), None)

    def _set(self, groups: HardGroups | SoftGroups, block: Tensor | None, factors: LowRank | None) -> None:
        self._groups, self._block, self._factors = groups, block, factors
        self._transposed: ClassBlock | None = None

    @staticmethod
    def _like(groups: HardGroups | SoftGroups, block: Tensor | None, factors: LowRank | None) -> ClassBlock:
        """Build one that needs no check."""
        other = object.__new__(ClassBlock)
        other._set(groups, block, factors)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles share no cache, and what is loaded is checked again.
        if self._block is not None:
            check_storage("block", self._block)
        return _load, (self._groups.values, self._block, *(self._factors or ()))

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
        groups = HardGroups(group, num_classes + 1)
        return ClassBlock._like(groups, factors.dense() if small else None, None if small else factors)

    @staticmethod
    def mean(num_nodes: int, device: torch.device | str = "cpu") -> ClassBlock:
        r"""Return \( A = 11^\top / n \): every row is the mean of all rows (BatchNorm's and PairNorm's centring)."""
        num_nodes = check_count("num_nodes", num_nodes)
        group = torch.zeros(num_nodes, dtype=torch.int64, device=check_device(device))
        return ClassBlock(group, torch.full((1, 1), 1.0 / max(num_nodes, 1), dtype=torch.float64, device=device))

    group = property(lambda self: self._groups.values.clone(), doc="A copy of the groups, `[num_nodes]` or S.")
    num_rows = num_cols = num_nodes = property(lambda self: self._groups.values.size(0), doc="Number of nodes.")
    num_groups = property(lambda self: self._groups.num_groups, doc="Number of groups.")
    device = property(lambda self: self._groups.values.device, doc="Where the arrays are.")

    @property
    def block(self) -> Tensor:
        """B, `[num_groups, num_groups]`, a copy; computed from its factors where the classes are many."""
        return self._matrix() if self._factors is not None else self._matrix().clone()

    def _matrix(self) -> Tensor:
        return self._block if self._factors is None else self._factors.dense()  # type: ignore[return-value]

    @property
    def T(self) -> ClassBlock:
        """The transpose, on the same groups; cached unless the block needs a derivative."""
        if self.requires_derivative():
            return self._like(self._groups, self._block.T, None)  # type: ignore[union-attr]
        if self._transposed is None:
            # Of the same groups; torch.export cannot trace how their order is found.
            _ = self.segments
            with outside():
                block = None if self._block is None else self._block.T.contiguous()
                self._transposed = self._like(self._groups, block, None if self._factors is None else self._factors.T)
        return self._transposed

    def transpose_with(self, weight: Tensor | None) -> tuple[ClassBlock, Tensor | None]:
        """Return the transpose, and the transpose of the given block (if any)."""
        return (self.T, None) if weight is None else (self._like(self._groups, weight.T, None), weight.T)

    @property
    def segments(self) -> GroupSegments | None:
        """The order in which group sums add up; None for soft groups."""
        return self._groups.segments

    def __repr__(self) -> str:
        return f"ClassBlock({self.num_nodes}x{self.num_nodes}, num_groups={self.num_groups})"

    def to(self, device: torch.device | str) -> ClassBlock:
        """Return the same matrix on another device."""
        device = check_device(device)
        block = None if self._block is None else self._block.to(device)
        return self._like(self._groups.to(device), block, None if self._factors is None else self._factors.to(device))

    def to_dense(self) -> Tensor:
        """Return the definition: float64 `[num_nodes, num_nodes]`."""
        return self._groups.spread(self._matrix().double())

    def requires_derivative(self) -> bool:
        """Return whether the block needs a derivative."""
        return needs_derivative(self._block)

    def learnable_weight(self, acc_dtype: torch.dtype) -> Tensor | None:
        """Return the block if it needs a derivative, in the accumulation type: the counterpart of edge weights."""
        return self._block.to(acc_dtype) if self.requires_derivative() else None  # type: ignore[union-attr]

    def with_weight(self, block: Tensor) -> ClassBlock:
        """Return the same groups with another block, floating and finite `[num_groups, num_groups]`."""
        fresh = ClassBlock(self._groups.values, block)
        if block.size(0) != self.num_groups:
            raise ValueError(f"block must have num_groups={self.num_groups} rows, got {describe(block)}")
        return self._like(self._groups, fresh._block, None)

    def _with_weight(self, block: Tensor | None) -> ClassBlock:
        """Return the matrix with another block that is known to be valid."""
        return self if block is None or block is self._block else self._like(self._groups, block, None)

    def weight_grad(self, weight: Tensor, a: Tensor, b: Tensor, kernels: Any) -> Tensor:
        """Return the gradient of <a, A b> with respect to the block, `[num_groups, num_groups]`, the same for any."""
        sums_a, sums_b = (self._groups.sum(t, kernels) for t in (a, b))
        return kernels.mix_groups(sums_a, sums_b.T.contiguous()).to(weight.dtype)

    def prepare(self, acc_dtype: torch.dtype, kernels: Any) -> None:
        _ = self.segments

    def operand(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: Tensor | None = None) -> KernelOperand:
        """Sum x over the groups, then mix the sums: a `[num_groups, d]` table read by every row."""
        sums = self._groups.sum(x, kernels)
        with full_precision(x):
            if self._factors is not None and weight is None:
                return self._groups.operand(self._factors.to(acc_dtype).mix(sums, kernels))
            block = (self._matrix() if weight is None else weight).detach().to(acc_dtype).contiguous()
            return self._groups.operand(kernels.mix_groups(block, sums))

    def multi_step_operand(self, acc_dtype: torch.dtype) -> tuple[KernelOperand, tuple[Tensor, ...]] | None:
        """Return what K steps in one call read; the kernels recompute the table in every step."""
        segments = self.segments
        if self._factors is not None or segments is None or self.requires_derivative():
            return None
        arrays = (segments.order, segments.segptr, segments.group_segptr)
        return KernelOperand(group=self._groups.values), (*arrays, self._matrix().to(acc_dtype))


def _groups(group: Tensor, num_groups: int) -> HardGroups | SoftGroups:
    """Return the groups of nodes, copied; ValueError unless they are groups of a block of this size."""
    if group.is_floating_point():
        if group.dim() != 2 or group.size(1) != num_groups:
            raise ValueError(f"soft groups must have shape [num_nodes, num_groups={num_groups}], got {describe(group)}")
        if needs_derivative(group):
            raise ValueError("soft groups must not require a gradient: only the block gets one")
        check_finite("group", group)
        return SoftGroups(own_copy(plain(group)))
    group = plain(group)
    if group.dim() != 1 or group.dtype != torch.int64:
        raise ValueError(
            f"group must be int64 of shape [num_nodes] or floating [num_nodes, num_groups], got {describe(group)}"
        )
    check_index("group", group, num_groups)
    return HardGroups(own_copy(group), num_groups)


def _load(group: Tensor, block: Tensor | None, *factors: Tensor) -> ClassBlock:
    """Return the ClassBlock that `__reduce__` took apart, checked as by its constructor."""
    if not factors:
        return ClassBlock(group, block)  # type: ignore[arg-type]
    low_rank = LowRank(*(own_copy(part) for part in factors))
    low_rank.check()
    check_tensor("group", group)
    return ClassBlock._like(_groups(group, low_rank.diagonal.numel()), None, low_rank)


torch.serialization.add_safe_globals([_load])
