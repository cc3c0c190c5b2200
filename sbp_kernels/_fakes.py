"""Shapes and types that the compiled ops return, for torch.compile, torch.export and opcheck."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def register() -> None:
    for name, fake in OPS.items():
        torch.library.register_fake(f"sbp::{name}", fake)


def _wide(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _index(size):
    return torch.int32 if size < 2**31 else torch.int64


def _signed_spmm(x, *rest):
    return x.new_empty(rest[-6], x.size(1))


def _signed_spmm_norm(x, *rest):
    return x.new_empty(rest[-7], x.size(1)), x.new_empty(rest[-7], dtype=_wide(x))


def _signed_spmm_steps(x, *rest):
    gamma = rest[-15]
    return x.new_empty(x.size()), x.new_empty(0 if gamma is None else x.size(0), x.size(1))


def _merged_spmm(x, residual, rowptr, *rest):
    return x.new_empty(rowptr.numel() // 2, x.size(1))


def _merged_spmm_norm(x, residual, eps, rowptr, *rest):
    n = rowptr.numel() // 2
    return x.new_empty(n, x.size(1)), x.new_empty(n, dtype=_wide(x))


def _merged_spmm_steps(x, residual, eps, num_steps, gamma, *rest):
    return x.new_empty(x.size()), x.new_empty(0 if gamma is None else x.size(0), x.size(1))


def _merge_signs(*args):
    rowptr, col, float64 = args[0], args[1], args[-1]
    num_edges = col.numel() + args[6].numel()
    value = col.new_empty(num_edges, dtype=torch.float64 if float64 else torch.float32)
    return rowptr.new_empty(2 * rowptr.numel() - 1), col.new_empty(num_edges), value


def _signed_pair(x, *rest):
    return x.new_empty(rest[-6], x.size(1)), x.new_empty(rest[-6], x.size(1))


def _signed_dot(y, x, *rest):
    return x.new_empty(3, dtype=_wide(x))


def _edge_dot(a, b, rowptr, col, row_scale, col_scale):
    return a.new_empty(col.numel(), dtype=_wide(a))


def _group_sum(x, order, segptr, group_segptr):
    return x.new_empty(group_segptr.numel() - 1, x.size(1), dtype=_wide(x))


def _mix_groups(block, sums):
    return sums.new_empty(block.size(0), sums.size(1))


def _coo_to_csr(row, col, num_rows, num_cols):
    return row.new_empty(num_rows + 1), row.new_empty(row.numel(), dtype=_index(num_cols)), torch.empty_like(row)


def _csr_transpose(rowptr, col, num_cols):
    narrow = col.dtype == torch.int32 and _index(rowptr.numel() - 1) == torch.int32
    rows = col.new_empty(col.numel(), dtype=torch.int32 if narrow else torch.int64)
    return rowptr.new_empty(num_cols + 1), rows, rowptr.new_empty(col.numel())


OPS: dict[str, Callable[..., Any]] = {
    "signed_spmm": _signed_spmm,
    "signed_spmm_norm": _signed_spmm_norm,
    "signed_spmm_steps": _signed_spmm_steps,
    "merged_spmm": _merged_spmm,
    "merged_spmm_norm": _merged_spmm_norm,
    "merged_spmm_steps": _merged_spmm_steps,
    "merge_signs": _merge_signs,
    "signed_pair": _signed_pair,
    "signed_dot": _signed_dot,
    "edge_dot": _edge_dot,
    "group_sum": _group_sum,
    "mix_groups": _mix_groups,
    "coo_to_csr": _coo_to_csr,
    "csr_transpose": _csr_transpose,
}
