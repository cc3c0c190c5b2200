"""Shapes and types that the compiled ops return, for torch.compile, torch.export and opcheck."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .interface import accumulation_dtype


def register() -> None:
    for name, fake in OPS.items():
        arguments = getattr(torch.ops.sbp, name).default._schema.arguments
        torch.library.register_fake(f"sbp::{name}", partial(_named, fake, arguments))


def _named(fake: Callable[[Any], Any], arguments: list[Any], *args: Any, **kwargs: Any) -> Any:
    """Call `fake` with the op's arguments by name; they must be on one device, as nothing else sees to it here."""
    given = {argument.name: argument.default_value for argument in arguments}
    given |= {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
    devices = {str(value.device) for value in given.values() if isinstance(value, Tensor)}
    if len(devices) > 1:
        raise ValueError(f"all tensors must be on one device, got {' and '.join(sorted(devices))}")
    return fake(SimpleNamespace(**given))


def _index(size: int) -> torch.dtype:
    return torch.int32 if size < 2**31 else torch.int64


def _rows(a: Any, num_rows: int) -> Tensor:
    return a.x.new_empty(num_rows, a.x.size(1))


def _rows_and_rstd(a: Any, num_rows: int) -> tuple[Tensor, Tensor]:
    return _rows(a, num_rows), a.x.new_empty(num_rows, dtype=accumulation_dtype(a.x))


def _steps(a: Any) -> tuple[Tensor, Tensor]:
    n = a.x.size(0)
    return _rows(a, n), _rows(a, 0 if a.gamma is None else n)


def _merge_signs(a: Any) -> tuple[Tensor, Tensor, Tensor]:
    num_edges = a.pos_col.numel() + a.neg_col.numel()
    value = a.pos_col.new_empty(num_edges, dtype=torch.float64 if a.float64 else torch.float32)
    return a.pos_rowptr.new_empty(2 * a.pos_rowptr.numel() - 1), a.pos_col.new_empty(num_edges), value


def _coo_to_csr(a: Any) -> tuple[Tensor, Tensor, Tensor]:
    col = a.row.new_empty(a.row.numel(), dtype=_index(a.num_cols))
    return a.row.new_empty(a.num_rows + 1), col, torch.empty_like(a.row)


def _csr_transpose(a: Any) -> tuple[Tensor, Tensor, Tensor]:
    as_int32 = a.col.dtype == torch.int32 and _index(a.rowptr.numel() - 1) == torch.int32
    rows = a.col.new_empty(a.col.numel(), dtype=torch.int32 if as_int32 else torch.int64)
    return a.rowptr.new_empty(a.num_cols + 1), rows, a.rowptr.new_empty(a.col.numel())


OPS: dict[str, Callable[[Any], Any]] = {
    "signed_spmm": lambda a: _rows(a, a.num_rows),
    "signed_spmm_norm": lambda a: _rows_and_rstd(a, a.num_rows),
    "signed_spmm_steps": _steps,
    "merged_spmm": lambda a: _rows(a, a.rowptr.numel() // 2),
    "merged_spmm_norm": lambda a: _rows_and_rstd(a, a.rowptr.numel() // 2),
    "merged_spmm_steps": _steps,
    "merge_signs": _merge_signs,
    "signed_pair": lambda a: (_rows(a, a.num_rows), _rows(a, a.num_rows)),
    "signed_dot": lambda a: a.x.new_empty(3, dtype=accumulation_dtype(a.x)),
    "edge_dot": lambda a: a.a.new_empty(a.col.numel(), dtype=accumulation_dtype(a.a)),
    "group_sum": lambda a: a.x.new_empty(a.group_segptr.numel() - 1, a.x.size(1), dtype=accumulation_dtype(a.x)),
    "mix_groups": lambda a: a.sums.new_empty(a.block.size(0), a.sums.size(1)),
    "coo_to_csr": _coo_to_csr,
    "csr_transpose": _csr_transpose,
}
