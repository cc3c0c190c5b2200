"""Dense adjacencies whose nodes are divided among ranks: class sums by one all_reduce, similarities by a ring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..adjacency.class_block import ClassBlock
from ..adjacency.groups import HardGroups, SoftGroups
from ..adjacency.similarity import Similarity
from ..backends.interface import KernelOperand
from ..transforms import full_precision
from .collectives import Group
from .halo import Route

# Logits that are in memory at a time.
_TILE = 1 << 22


class ShardedGroups:
    """The groups of this rank's nodes, whose sums are taken over all ranks, by one all_reduce."""

    # The ranks sum between the steps, so that no kernel takes several.
    segments = None

    def __init__(self, own: HardGroups | SoftGroups, ranks: Group) -> None:
        self._own, self._ranks = own, ranks
        self.values, self.num_groups = own.values, own.num_groups
        self.operand, self.spread = own.operand, own.spread

    def sum(self, x: Tensor, kernels: Any) -> Tensor:
        """Return the sum of x over each group on all ranks, `[num_groups, d]`, in the accumulation type."""
        return self._ranks.add_up(self._own.sum(x, kernels).contiguous())


def sharded_class_block(block: ClassBlock, nodes: Tensor, ranks: Group) -> ClassBlock:
    """Return the rows `nodes` of a class block. The backward pass sums gradients over the same groups."""
    if block.requires_derivative():
        raise NotImplementedError("a ClassBlock whose block requires a gradient cannot be divided by rows")
    groups: Any = ShardedGroups(block._groups.rows(nodes), ranks)
    return ClassBlock._like(groups, block._block, block._factors)


def is_sharded(half: Any) -> bool:
    """Return whether each product with this half communicates."""
    return isinstance(half, ShardedSimilarity) or isinstance(getattr(half, "_groups", None), ShardedGroups)


class ShardedSimilarity:
    """This rank's rows of a `Similarity` with fixed x0.

    The blocks of x0 and x of all ranks travel around a ring, each while the one before is multiplied: a rank holds two
    blocks, and never the features of all nodes. The log-sum-exp of the rows is computed once, by a ring of x0 alone.
    """

    def __init__(self, whole: Similarity, nodes: Tensor, ranks: Group) -> None:
        self._x0, self._scale, self._ranks = whole.x0.detach()[nodes].contiguous(), whole.scale, ranks
        self._is_transposed = whole.transposed
        self._sizes = ranks.gather_ints(nodes.numel(), whole.device)
        # By accumulation type; shared with the transpose.
        self._lse: dict[torch.dtype, Tensor] = {}
        self._transposed: ShardedSimilarity | None = None

    num_rows = num_cols = property(lambda self: self._x0.size(0), doc="Number of nodes of this rank.")
    device = property(lambda self: self._x0.device, doc="Where x0 is.")

    @property
    def T(self) -> ShardedSimilarity:
        """The transpose: the same logits, scaled by columns instead of rows."""
        if self._transposed is None:
            other = object.__new__(ShardedSimilarity)
            other.__dict__.update(self.__dict__)
            other._is_transposed = not self._is_transposed
            self._transposed = other
        return self._transposed

    def transpose_with(self, weight: None) -> tuple[ShardedSimilarity, None]:
        """Return the transpose; x0 is fixed."""
        return self.T, None

    def to(self, device: torch.device | str) -> Any:
        """Raise NotImplementedError: the ranks have agreed on a device."""
        raise NotImplementedError("a sharded Similarity stays on its device: move the graph before `shard`")

    def to_dense(self) -> Tensor:
        """Raise NotImplementedError: the rows of other ranks are not here."""
        raise NotImplementedError("a sharded Similarity has no dense form, as other ranks have its columns")

    def requires_derivative(self) -> bool:
        return False

    def learnable_weight(self, acc_dtype: torch.dtype) -> None:
        return None

    def multi_step_operand(self, acc_dtype: torch.dtype) -> None:
        """Return None: blocks travel between the steps."""
        return None

    def prepare(self, acc_dtype: torch.dtype, kernels: Any) -> Tensor:
        """Return the log-sum-exp of the logits of this rank's rows; computed once."""
        if acc_dtype not in self._lse:
            x0 = self._x0.to(acc_dtype)
            lse = x0.new_full((self.num_rows,), -torch.inf)
            for block in self._ring(x0):
                if block.size(0):
                    parts = [torch.logsumexp(logits, 1) for logits in self._logits(x0, block)]
                    lse = torch.logaddexp(lse, torch.cat([*parts, lse[:0]]))
            self._lse[acc_dtype] = lse
        return self._lse[acc_dtype]

    def operand(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: None = None) -> KernelOperand:
        """Return this rank's rows of the product with x, a `[rows of this rank, d]` table."""
        with full_precision(x):
            x0, lse = self._x0.to(acc_dtype), self.prepare(acc_dtype, kernels)
            table = x.new_zeros(self.num_rows, x.size(1), dtype=acc_dtype)
            # The transpose weighs by the log-sum-exp of the other rank's rows.
            message = torch.cat([x0, lse[:, None], x.to(acc_dtype)], 1)
            for block in self._ring(message):
                other, shift, features = block.split([x0.size(1), 1, x.size(1)], 1)
                first = 0
                for logits in self._logits(x0, other):
                    rows = slice(first, first + logits.size(0))
                    weights = torch.exp(logits - (shift.T if self._is_transposed else lse[rows, None]))
                    table[rows] += weights @ features
                    first += logits.size(0)
        return KernelOperand(table=table)

    def _ring(self, own: Tensor) -> Iterator[Tensor]:
        """Yield the block of every rank, beginning with this rank's; the next one travels meanwhile."""
        rank, size, block = self._ranks.rank, self._ranks.size, own
        for step in range(size):
            transfer = None
            if step < size - 1:
                send, receive = [0] * size, [0] * size
                send[(rank + 1) % size] = self._sizes[(rank - step) % size]
                receive[(rank - 1) % size] = self._sizes[(rank - step - 1) % size]
                transfer = Route(self._ranks, send, receive).start(block)
            yield block
            block = block if transfer is None else transfer.wait()

    def _logits(self, rows: Tensor, cols: Tensor) -> Iterator[Tensor]:
        """Yield the logits of some rows at a time."""
        for part in rows.split(max(1, _TILE // max(cols.size(0), 1))):
            yield self._scale.to(rows.dtype) * (part @ cols.T)
