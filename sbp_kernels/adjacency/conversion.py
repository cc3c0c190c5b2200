"""Sparse matrices from those of other libraries: torch.sparse, torch_sparse, scipy and networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..transforms import needs_derivative, outside, plain
from .checks import check_index, check_pattern, check_values, describe
from .sparse_matrix import SparseMatrix
from .sparsity import SparsityPattern

if TYPE_CHECKING:
    from typing_extensions import Self

_LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


class ConvertedMatrix(SparseMatrix):
    """A sparse matrix with constructors from other libraries' matrices. A row is a target, a column is a source."""

    __slots__ = ()

    @classmethod
    def from_torch_sparse(cls, matrix: Any) -> Self:
        """Build from a torch sparse COO, CSR or CSC matrix, or from a `torch_sparse.SparseTensor`.

        Duplicates add up. Values that require a gradient stay attached; values that are all 1 are not stored.
        `edge_permutation` refers to the order of `values()` (of a coalesced COO matrix), or of `SparseTensor.coo()`.
        """
        is_other = not isinstance(matrix, Tensor) and hasattr(matrix, "coo")
        return cls._from_entries(_of_sparse_tensor(matrix) if is_other else _of_torch(matrix))

    @classmethod
    def from_scipy(cls, matrix: Any) -> Self:
        """Build from a scipy sparse matrix or array of any format; duplicates add up, and 1s are not stored.

        `edge_permutation` refers to the order of `matrix.tocoo()`.
        """
        return cls._from_entries(_of_scipy(matrix))

    @classmethod
    def from_networkx(cls, graph: Any, weight: str | None = None) -> Self:
        """Build from a networkx graph, its nodes in the order of `graph.nodes()`.

        An edge u -> v is an entry in row v and column u; an undirected edge is one in each direction. `weight` names
        the attribute with the edge weights, 1 where an edge has none. `edge_permutation` refers to the order of
        `graph.edges()`, in which the reverse of an undirected edge follows it (loops have none).
        """
        if weight is not None and not isinstance(weight, str):
            raise ValueError(f"weight must be the name of an edge attribute or None, got {describe(weight)}")
        return cls._from_entries(_of_networkx(graph, weight))

    @classmethod
    def _from_entries(cls, entries: _Entries) -> Self:
        row, col, value, num_rows, num_cols = entries
        if value is not None:
            value = value if value.is_floating_point() or value.is_complex() else value.float()
            check_values("the values of the matrix", value, row.numel(), "num_entries", row.device)
        with outside():
            row, col = plain(row).long(), plain(col).long()
            check_index("row", row, num_rows)
            check_index("col", col, num_cols)
            pattern, order = SparsityPattern.from_coo(row, col, num_rows, num_cols)
            if value is not None and not needs_derivative(value) and bool((value == 1).all()):
                value = None
        return cls._sorted(pattern, value, order)


class _Entries(NamedTuple):
    """The entries of a matrix in the order of its owner."""

    row: Tensor  # integer [num_entries]
    col: Tensor  # integer [num_entries]
    value: Tensor | None  # [num_entries]; None for ones
    num_rows: int
    num_cols: int


def _of_torch(matrix: Any) -> _Entries:
    layout = matrix.layout if isinstance(matrix, Tensor) else None
    if layout not in _LAYOUTS or matrix.dim() != 2 or matrix.dense_dim():
        got = f"{describe(matrix)}, {layout}" if isinstance(matrix, Tensor) else describe(matrix)
        raise ValueError(
            f"matrix must be a torch sparse COO, CSR or CSC matrix of numbers or a torch_sparse.SparseTensor, got {got}"
        )
    if matrix.is_meta:
        raise NotImplementedError("matrix must hold data, and one on the meta device has none")
    if layout == torch.sparse_coo:
        # Only the values of a coalesced matrix are differentiable.
        matrix = matrix.coalesce()
        row, col = matrix.indices().unbind()
        return _Entries(row, col, matrix.values(), *matrix.shape)
    by_rows, (num_rows, num_cols) = layout == torch.sparse_csr, matrix.shape
    pointer = (matrix.crow_indices() if by_rows else matrix.ccol_indices()).long()
    inner = matrix.col_indices() if by_rows else matrix.row_indices()
    # torch checks neither by default.
    check_pattern(pointer, inner, num_cols if by_rows else num_rows)
    count = pointer.diff()
    outer = torch.repeat_interleave(torch.arange(count.numel(), device=count.device), count)
    row, col = (outer, inner) if by_rows else (inner, outer)
    return _Entries(row, col, matrix.values(), num_rows, num_cols)


def _of_sparse_tensor(matrix: Any) -> _Entries:
    row, col, value = matrix.coo()
    return _Entries(row, col, value, matrix.size(0), matrix.size(1))


def _of_scipy(matrix: Any) -> _Entries:
    if not hasattr(matrix, "tocoo") or len(getattr(matrix, "shape", ())) != 2:
        raise ValueError(f"matrix must be a scipy sparse matrix or array of two dimensions, got {describe(matrix)}")
    coo = matrix.tocoo()
    if coo.data.dtype.kind not in "biuf":
        raise ValueError(f"the values of the matrix must be real, got {coo.data.dtype}")
    row, col = (torch.tensor(index, dtype=torch.int64) for index in (coo.row, coo.col))
    data = coo.data.astype("float64" if coo.data.dtype == "float64" else "float32", copy=False)
    return _Entries(row, col, torch.tensor(data), int(coo.shape[0]), int(coo.shape[1]))


def _of_networkx(graph: Any, weight: str | None) -> _Entries:
    if not hasattr(graph, "edges") or not hasattr(graph, "is_directed"):
        raise ValueError(f"graph must be a networkx graph, got {describe(graph)}")
    place = {node: i for i, node in enumerate(graph.nodes())}
    edges: list[tuple[int, int]] = []
    values: list[Any] = []
    for source, target, data in graph.edges(data=True):
        ends = (place[source], place[target])
        both = (ends,) if graph.is_directed() or source == target else (ends, ends[::-1])
        edges += both
        values += [1.0 if weight is None else data.get(weight, 1.0)] * len(both)
    sources, targets = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).unbind(1)
    try:
        value = None if weight is None else torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the edge attribute {weight!r} must be a number on every edge that has it") from error
    return _Entries(targets, sources, value, len(place), len(place))
