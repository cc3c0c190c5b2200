"""Convert between `sbp_kernels.CSR` and scipy's sparse matrices."""

from __future__ import annotations

import scipy.sparse as sp
import torch
from torch import Tensor

from sbp_kernels import CSR, SignedGraph


def edge_values(half: CSR) -> Tensor:
    """Return every stored entry, the product of weight and node scales, as float64 `[num_edges]` without gradients."""
    value = torch.ones(half.num_edges, dtype=torch.float64, device=half.device)
    if half.weight is not None:
        value = value * half.weight.detach().double()
    if half.row_scale is not None:
        value = value * half.row_scale.double()[half.pattern.row_index()]
    if half.col_scale is not None:
        value = value * half.col_scale.double()[half.col.long()]
    return value


def to_scipy(half: CSR) -> sp.csr_array:
    """Return the matrix as a float64 `scipy.sparse.csr_array` with duplicate entries summed."""
    arrays = (t.cpu().numpy() for t in (edge_values(half), half.col.long(), half.rowptr))
    # Without a copy, summing duplicates would overwrite the arrays of the graph.
    matrix = sp.csr_array(tuple(arrays), shape=half.shape, copy=True)
    matrix.sum_duplicates()
    return matrix


def from_scipy(matrix: sp.sparray) -> CSR:
    """Return a `CSR` with the entries of a scipy matrix as float64 weights."""
    matrix = sp.csr_array(matrix)
    matrix.sort_indices()
    rowptr, col = (torch.from_numpy(a.astype("int64")) for a in (matrix.indptr, matrix.indices))
    return CSR(rowptr, col, torch.from_numpy(matrix.data.astype("float64")), num_cols=matrix.shape[1])


def signed_matrix(graph: SignedGraph) -> sp.csr_array:
    r"""Return \( A^+ - A^- \) as one sparse matrix without stored zeros.

    Raises ValueError unless the graph is square and both halves are sparse.
    """
    if graph.num_rows != graph.num_cols:
        raise ValueError(f"the graph must be square, got {graph.num_rows}x{graph.num_cols}")
    matrix = sp.csr_array((graph.num_rows, graph.num_cols))
    for sign, half in ((1.0, graph.pos), (-1.0, graph.neg)):
        if half is None:
            continue
        if not isinstance(half, CSR):
            raise ValueError(f"both halves must be sparse here, got {half!r}")
        matrix = matrix + sign * to_scipy(half)
    matrix.eliminate_zeros()
    return matrix
