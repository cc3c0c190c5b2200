"""The arrays of a sparse matrix: who owns them, copies for readers, and the transpose."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from ..tensor_cache import VersionedCache
from ..transforms import outside
from .edge_weight import EdgeWeight
from .sparsity import SparsityPattern

if TYPE_CHECKING:
    from typing_extensions import Self


class SparseMatrix:
    """A pattern with values: weights of edges and scales of nodes, of which kernels read the private arrays.

    Its public attributes are read-only, and arrays of indices and scales come as copies: nothing that is reachable
    from outside can make a kernel read out of bounds.
    """

    __slots__ = (
        "__weakref__",
        "_col_scale",
        "_derived",
        "_pattern",
        "_row_scale",
        "_weight",
    )

    def _set(
        self,
        pattern: SparsityPattern,
        weight: Tensor | EdgeWeight | None,
        row_scale: Tensor | None,
        col_scale: Tensor | None,
    ) -> None:
        self._pattern = pattern
        self._weight = EdgeWeight(weight.contiguous()) if isinstance(weight, Tensor) else weight
        self._row_scale, self._col_scale = row_scale, col_scale
        # The transpose, and the operands of the kernels by accumulation type.
        self._derived = VersionedCache()

    @classmethod
    def _trusted(
        cls,
        pattern: SparsityPattern,
        weight: Tensor | EdgeWeight | None = None,
        row_scale: Tensor | None = None,
        col_scale: Tensor | None = None,
    ) -> Self:
        """Build without checking: for parts that are valid by construction."""
        matrix = object.__new__(cls)
        matrix._set(pattern, weight, row_scale, col_scale)
        return matrix

    @classmethod
    def _sorted(cls, pattern: SparsityPattern, edge_weight: Tensor | None, order: Tensor, sign: float = 1.0) -> Self:
        """Build from weights in another edge order: entry e takes `sign * edge_weight[order[e]]`."""
        if edge_weight is None:
            return cls._trusted(pattern)
        weight = EdgeWeight(edge_weight, order, sign)
        return cls._trusted(pattern, weight if weight.needs_derivative() else weight.sorted())

    @property
    def edge_permutation(self) -> Tensor:
        """A copy of the caller's edge of every entry, int64 `[num_edges]`.

        Weights `[num_edges]` in the order of the edges that the matrix was built from are passed on as
        `matrix.with_weight(weight[matrix.edge_permutation])`: take it once, and feed other weights in every step.
        Self-loops that were added count as edges behind the caller's.
        """
        return self._pattern.edge_permutation()

    @property
    def weight(self) -> Tensor | None:
        """Edge weights `[num_edges]` in row order, or None where all are 1."""
        return None if self._weight is None else self._weight.sorted()

    pattern = property(lambda self: self._pattern, doc="Where the entries are, shared by matrices of other values.")
    rowptr = property(lambda self: self._pattern.rowptr, doc="A copy of the row pointers, int64 `[num_rows + 1]`.")
    col = property(lambda self: self._pattern.col, doc="A copy of the column indices `[num_edges]`.")
    row_scale = property(
        lambda self: own_copy(self._row_scale), doc="A copy of the scales `[num_rows]`; None for ones."
    )
    col_scale = property(
        lambda self: own_copy(self._col_scale), doc="A copy of the scales `[num_cols]`; None for ones."
    )
    num_rows = num_nodes = property(lambda self: self._pattern.num_rows, doc="Number of rows (targets).")
    num_cols = property(lambda self: self._pattern.num_cols, doc="Number of columns (sources).")
    num_edges = property(lambda self: self._pattern.num_edges, doc="Number of stored entries.")
    shape = property(lambda self: (self.num_rows, self.num_cols), doc="(num_rows, num_cols).")
    device = property(lambda self: self._pattern._col.device, doc="Where the arrays are.")
    weightless = property(lambda self: self._weight is None, doc="Whether all edge weights are 1.")

    def __repr__(self) -> str:
        parts = [n for n in ("weight", "row_scale", "col_scale") if getattr(self, f"_{n}") is not None]
        given = "".join(f", {part}" for part in parts)
        return f"{type(self).__name__}({self.num_rows}x{self.num_cols}, num_edges={self.num_edges}{given})"

    @property
    def T(self) -> Self:
        """The transpose, built once; this very matrix if it is symmetric and weightless."""
        cached = self._cached("transpose")
        if cached is not None:
            return cached
        if self.requires_derivative():
            # Weights that need a derivative belong to one autograd graph: never reuse them.
            return self._transpose()
        version = self.weight_version()
        with outside():
            transposed = self._transpose()
        if transposed is not self:
            self._derived.store("transpose", version, transposed)
        return transposed

    def _transpose(self) -> Self:
        pattern, order = self._pattern.transpose()
        weight = self.weight
        if pattern is self._pattern and weight is None and self._row_scale is self._col_scale:
            return self
        weight = None if weight is None else weight.index_select(0, order)
        return self._trusted(pattern, weight, self._col_scale, self._row_scale)

    def transpose_with(self, weight: Tensor | None) -> tuple[Self, Tensor | None]:
        """Return the transpose and, in its edge order, weights to use instead of the matrix's own; None for those."""
        if weight is None:
            return self.T, None
        pattern, order = self._pattern.transpose()
        return self._trusted(pattern, None, self._col_scale, self._row_scale), weight.index_select(0, order)

    def _with_weight(self, weight: Tensor | EdgeWeight | None) -> Self:
        """Return the matrix with other weights that are known to be valid."""
        own = self._weight
        if weight is own or (own is not None and own.order is None and weight is own.values):
            return self
        return self._trusted(self._pattern, weight, self._row_scale, self._col_scale)

    def to_dense(self) -> Tensor:
        """Return the definition: float64 `[num_rows, num_cols]`. For tests and small graphs."""
        weight = torch.ones(self.num_edges, device=self.device) if self.weight is None else self.weight
        value = self._pattern.edge_factors(weight.double(), self._row_scale, self._col_scale)
        dense = torch.zeros(self.num_rows * self.num_cols, dtype=torch.float64, device=self.device)
        place = self._pattern.row_index() * self.num_cols + self._pattern._col.long()
        return dense.index_add(0, place, value).view(self.num_rows, self.num_cols)

    def requires_derivative(self) -> bool:
        """Return whether the weights need a derivative."""
        return self._weight is not None and self._weight.needs_derivative()

    def weight_version(self) -> tuple[Any, ...] | None:
        """Return the version of the weights (see `EdgeWeight.version`); a constant if all are 1."""
        return () if self._weight is None else self._weight.version()

    def _cached(self, key: Hashable) -> Any:
        """Return what was derived from the weights as they are, or None."""
        # While tracing, skip the version check: `SignedGraph._prepare` has just refreshed the cache.
        if self._weight is None or torch.compiler.is_dynamo_compiling():
            return self._derived.latest(key)
        return self._derived.get(key, self.weight_version())


@overload
def own_copy(array: Tensor) -> Tensor: ...
@overload
def own_copy(array: None) -> None: ...
@overload
def own_copy(array: Tensor | None) -> Tensor | None: ...
def own_copy(array: Tensor | None) -> Tensor | None:
    """Return a copy that nobody else can write to; None for None."""
    return None if array is None else array.detach().clone(memory_format=torch.contiguous_format)
