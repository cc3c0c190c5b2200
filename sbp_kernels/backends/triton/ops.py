"""The functions of the Triton backend, the limits of the backend, and the ops behind its functions.

This module does not import Triton: the kernel files, which do, are imported at the first call. Every function calls one
opaque op, so that torch.compile has no graph break there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..interface import unsupported_dtype

_EMPTY = (None,) * 7
# Read at import, so that torch.compile sees plain constants.
_SPEC = find_spec("triton")
# A folder named triton on the path is not an installation.
_INSTALLED = _SPEC is not None and _SPEC.origin is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
# The kernels that this process compiled, the seconds that took, and the kernels that it read from the disk cache.
_compiled = {"compiled": 0, "seconds": 0.0, "on disk": 0}


def unsupported(x: Tensor) -> str | None:
    if not _INSTALLED:
        return "triton is not installed: pip install triton"
    if x.device.type != "cuda" and not (x.device.type == "cpu" and _INTERPRETED):
        return f"triton compiles for GPUs only, got {x.device.type} tensors"
    return unsupported_dtype(x)


def status() -> str:
    """Return the version of Triton and the time that first calls waited for its compiler, or "not installed"."""
    names = ("triton", "pytorch-triton", "pytorch-triton-rocm", "pytorch-triton-xpu")
    found = [f"{d.name} {d.version}" for d in distributions() if d.name in names]
    if not _INSTALLED or not found:
        return "not installed"
    waited = f"{_compiled['compiled']} kernels compiled in {_compiled['seconds']:.1f} s"
    return f"{', '.join(found)}; in this process {waited}, {_compiled['on disk']} read from its cache on disk"


def on_compilation(*, times: Any, cache_hit: bool, **_: Any) -> None:
    """Count a kernel variant; Triton calls this when a process launches it for the first time."""
    if cache_hit:
        _compiled["on disk"] += 1
    else:
        _compiled["compiled"] += 1
        _compiled["seconds"] += times.total / 1e6


def degree_bins(pos: Tensor | None, neg: Tensor | None) -> None:
    """Return None: the ops compute their bins themselves, so that torch.compile does not trace that."""


def signed_spmm(
    x: Tensor,
    x_neg: Tensor | None,
    residual: Tensor | None,
    pos: Any,
    neg: Any,
    coefs: tuple[float, float, float],
    coef: Tensor | None,
    num_rows: int,
    eps: float | None,
    bins: Any = None,
) -> tuple[Tensor, Tensor | None]:
    """Return r R + p A+ x + q A- x_neg `[n, d]`, with LayerNorm if `eps` is given, and then 1/std of each row."""
    y, rstd = torch.ops.sbp_triton.signed_spmm(
        x, x_neg, residual, *(pos or _EMPTY), *(neg or _EMPTY), coef, *coefs, num_rows, eps
    )
    return y, None if eps is None else rstd


def signed_pair(x: Tensor, pos: Any, neg: Any, num_rows: int, bins: Any = None) -> tuple[Tensor, Tensor]:
    """Return (A+ x, A- x), each `[n, d]`."""
    return torch.ops.sbp_triton.signed_pair(x, *(pos or _EMPTY), *(neg or _EMPTY), num_rows)


def signed_dot(y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any, bins: Any = None) -> Tensor:
    """Return (<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    return torch.ops.sbp_triton.signed_dot(y, x, *(pos or _EMPTY), *(neg or _EMPTY), residual)


def edge_dot(a: Tensor, b: Tensor, operand: Any) -> Tensor:
    """Return row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, `[E]`."""
    return torch.ops.sbp_triton.edge_dot(a, b, operand.rowptr, operand.col, operand.row_scale, operand.col_scale)


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Return the sum of x over each group, `[num_groups, d]`."""
    return torch.ops.sbp_triton.group_sum(x, order, segptr, group_segptr)


def mix_groups(block: Tensor, sums: Tensor) -> Tensor:
    """Return block `[rows, num_groups]` @ sums, `[rows, d]`."""
    return block @ sums


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """Return log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    return torch.ops.sbp_triton.similarity_lse(x0, scale)


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """Return softmax(scale x0 x0^T) x, or its transpose times x, `[n, d]`."""
    return torch.ops.sbp_triton.similarity(x0, x, lse, scale, transposed)


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T), `[n, width]`."""
    return torch.ops.sbp_triton.similarity_grad(x0, a, b, lse, scale)


def _acc_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _half(sign: str) -> str:
    parts = ("rowptr", "col", "weight", "row_scale", "col_scale", "table", "group")
    return ", ".join(f"Tensor? {sign}_{part}" for part in parts)


_HALVES = f"{_half('pos')}, {_half('neg')}"

# For each op: the file of its kernel, its schema, and a function of its arguments by name that returns empty results,
# from which torch.compile takes shapes and types.
_OPS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "signed_spmm": (
        "row_launch",
        f"(Tensor x, Tensor? x_neg, Tensor? residual, {_HALVES}, Tensor? coef, "
        "float r, float p, float q, SymInt num_rows, float? eps) -> (Tensor, Tensor)",
        lambda a: (
            a.x.new_empty(a.num_rows, a.x.size(1)),
            a.x.new_empty(0 if a.eps is None else a.num_rows, dtype=_acc_dtype(a.x)),
        ),
    ),
    "signed_pair": (
        "row_launch",
        f"(Tensor x, {_HALVES}, SymInt num_rows) -> (Tensor, Tensor)",
        lambda a: (a.x.new_empty(a.num_rows, a.x.size(1)), a.x.new_empty(a.num_rows, a.x.size(1))),
    ),
    "signed_dot": (
        "row_launch",
        f"(Tensor y, Tensor x, {_HALVES}, Tensor? residual) -> Tensor",
        lambda a: a.x.new_empty(3, dtype=_acc_dtype(a.x)),
    ),
    "edge_dot": (
        "edge_dot",
        "(Tensor a, Tensor b, Tensor rowptr, Tensor col, Tensor? row_scale, Tensor? col_scale) -> Tensor",
        lambda a: a.a.new_empty(a.col.numel(), dtype=_acc_dtype(a.a)),
    ),
    "group_sum": (
        "group_sum",
        "(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr) -> Tensor",
        lambda a: a.x.new_empty(a.group_segptr.numel() - 1, a.x.size(1), dtype=_acc_dtype(a.x)),
    ),
    "similarity_lse": (
        "similarity",
        "(Tensor x0, Tensor scale) -> Tensor",
        lambda a: a.x0.new_empty(a.x0.size(0), dtype=_acc_dtype(a.x0)),
    ),
    "similarity": (
        "similarity",
        "(Tensor x0, Tensor x, Tensor lse, Tensor scale, bool transposed) -> Tensor",
        lambda a: a.x.new_empty(a.x.size(), dtype=_acc_dtype(a.x0)),
    ),
    "similarity_grad": (
        "similarity_grad",
        "(Tensor x0, Tensor a, Tensor b, Tensor lse, Tensor scale) -> Tensor",
        lambda a: a.x0.new_empty(a.x0.size(), dtype=_acc_dtype(a.x0)),
    ),
}


@cache
def _kernel(name: str) -> Callable[..., Any]:
    return getattr(import_module(f".{_OPS[name][0]}", __package__), name)


def _empty_results(fake: Callable[[Any], Any], names: list[str], *args: Any) -> Any:
    return fake(SimpleNamespace(**dict(zip(names, args, strict=True))))


def _define(library: torch.library.Library) -> None:
    for name, (_, schema, fake) in _OPS.items():
        library.define(name + schema)
        run = lambda *args, name=name: _kernel(name)(*args)  # noqa: E731
        library.impl(name, run, "CompositeExplicitAutograd")
        names = [argument.name for argument in torch._C.parse_schema(name + schema).arguments]
        torch.library.register_fake(f"sbp_triton::{name}", partial(_empty_results, fake, names), lib=library)


# The ops exist as long as this object.
_LIBRARY = torch.library.Library("sbp_triton", "DEF")
_define(_LIBRARY)
