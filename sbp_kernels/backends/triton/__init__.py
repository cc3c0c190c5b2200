"""The portable GPU path in Triton, for NVIDIA and AMD: its limits, how to call it, and what it returns.

Importing this needs no Triton: kernels are loaded at the first call. Every function is one opaque op,
so that torch.compile does not break its graph there. (No file bears the name of a function here: importing
it would hide the function.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

_FEATURES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_EMPTY = (None,) * 7
# Read at import, so that torch.compile sees plain constants.
_SPEC = find_spec("triton")
# A mere folder of that name on the path is no installation.
_INSTALLED = _SPEC is not None and _SPEC.origin is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
# Kernels compiled by this process, the seconds that took, and kernels found compiled on disk.
_compiled = {"anew": 0, "seconds": 0.0, "on disk": 0}


def unsupported(x: Tensor) -> str | None:
    if not _INSTALLED:
        return "triton is not installed: pip install triton"
    if x.device.type != "cuda" and not (x.device.type == "cpu" and _INTERPRETED):
        return f"triton compiles for GPUs only, got {x.device.type} tensors"
    if x.dtype not in _FEATURES:
        return f"features must be float32, float64, bfloat16 or float16, got {x.dtype}"
    return None


def status() -> str:
    """The version of Triton, or that there is none; and how long first calls waited for the compiler."""
    names = ("triton", "pytorch-triton", "pytorch-triton-rocm", "pytorch-triton-xpu")
    found = [f"{d.name} {d.version}" for d in distributions() if d.name in names]
    if not _INSTALLED or not found:
        return "not installed"
    waited = f"{_compiled['anew']} kernels compiled in {_compiled['seconds']:.1f} s"
    return f"{', '.join(found)}; in this process {waited}, {_compiled['on disk']} read from its cache on disk"


def on_compilation(*, times: Any, cache_hit: bool, **_: Any) -> None:
    """Triton calls this for each kernel variant that a process meets for the first time."""
    if cache_hit:
        _compiled["on disk"] += 1
    else:
        _compiled["anew"] += 1
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
    """r R + p A+ x + q A- x_neg, then LayerNorm if `eps` is given: `[n, d]`, and 1/std of each row."""
    y, rstd = torch.ops.sbp_triton.signed_spmm(
        x, x_neg, residual, *(pos or _EMPTY), *(neg or _EMPTY), coef, *coefs, num_rows, eps
    )
    return y, None if eps is None else rstd


def signed_pair(x: Tensor, pos: Any, neg: Any, num_rows: int, bins: Any = None) -> tuple[Tensor, Tensor]:
    """(A+ x, A- x), each `[n, d]`."""
    return torch.ops.sbp_triton.signed_pair(x, *(pos or _EMPTY), *(neg or _EMPTY), num_rows)


def signed_dot(y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any, bins: Any = None) -> Tensor:
    """(<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    return torch.ops.sbp_triton.signed_dot(y, x, *(pos or _EMPTY), *(neg or _EMPTY), residual)


def edge_dot(a: Tensor, b: Tensor, operand: Any) -> Tensor:
    """row_scale_i col_scale_j <a_i, b_j> for every edge j -> i: `[E]`."""
    return torch.ops.sbp_triton.edge_dot(a, b, operand.rowptr, operand.col, operand.row_scale, operand.col_scale)


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Sum of x over each group, `[num_groups, d]`."""
    return torch.ops.sbp_triton.group_sum(x, order, segptr, group_segptr)


def mix_groups(block: Tensor, sums: Tensor) -> Tensor:
    """block `[rows, num_groups]` @ sums: `[rows, d]`."""
    return block @ sums


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    return torch.ops.sbp_triton.similarity_lse(x0, scale)


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """softmax(scale x0 x0^T) x, or its transpose times x: `[n, d]`."""
    return torch.ops.sbp_triton.similarity(x0, x, lse, scale, transposed)


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T): `[n, width]`."""
    return torch.ops.sbp_triton.similarity_grad(x0, a, b, lse, scale)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _half(sign: str) -> str:
    parts = ("rowptr", "col", "weight", "row_scale", "col_scale", "table", "group")
    return ", ".join(f"Tensor? {sign}_{part}" for part in parts)


_HALVES = f"{_half('pos')}, {_half('neg')}"

# One entry an op: the file that runs it, its schema, and the shapes and types of its results.
_OPS: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "signed_spmm": (
        "rows",
        f"(Tensor x, Tensor? x_neg, Tensor? residual, {_HALVES}, Tensor? coef, "
        "float r, float p, float q, SymInt num_rows, float? eps) -> (Tensor, Tensor)",
        lambda x, *rest: (
            x.new_empty(rest[-2], x.size(1)),
            x.new_empty(0 if rest[-1] is None else rest[-2], dtype=_wide(x)),
        ),
    ),
    "signed_pair": (
        "rows",
        f"(Tensor x, {_HALVES}, SymInt num_rows) -> (Tensor, Tensor)",
        lambda x, *rest: (x.new_empty(rest[-1], x.size(1)), x.new_empty(rest[-1], x.size(1))),
    ),
    "signed_dot": (
        "rows",
        f"(Tensor y, Tensor x, {_HALVES}, Tensor? residual) -> Tensor",
        lambda y, x, *rest: x.new_empty(3, dtype=_wide(x)),
    ),
    "edge_dot": (
        "edges",
        "(Tensor a, Tensor b, Tensor rowptr, Tensor col, Tensor? row_scale, Tensor? col_scale) -> Tensor",
        lambda a, b, rowptr, col, row_scale, col_scale: a.new_empty(col.numel(), dtype=_wide(a)),
    ),
    "group_sum": (
        "groups",
        "(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr) -> Tensor",
        lambda x, order, segptr, group_segptr: x.new_empty(group_segptr.numel() - 1, x.size(1), dtype=_wide(x)),
    ),
    "similarity_lse": (
        "softmax",
        "(Tensor x0, Tensor scale) -> Tensor",
        lambda x0, scale: x0.new_empty(x0.size(0), dtype=_wide(x0)),
    ),
    "similarity": (
        "softmax",
        "(Tensor x0, Tensor x, Tensor lse, Tensor scale, bool transposed) -> Tensor",
        lambda x0, x, lse, scale, transposed: x.new_empty(x.size(), dtype=_wide(x0)),
    ),
    "similarity_grad": (
        "softmax_grad",
        "(Tensor x0, Tensor a, Tensor b, Tensor lse, Tensor scale) -> Tensor",
        lambda x0, a, b, lse, scale: x0.new_empty(x0.size(), dtype=_wide(x0)),
    ),
}


@cache
def _kernel(name: str) -> Callable[..., Any]:
    return getattr(import_module(f".{_OPS[name][0]}", __name__), name)


def _define(library: torch.library.Library) -> None:
    for name, (_, schema, fake) in _OPS.items():
        library.define(name + schema)
        run = lambda *args, name=name: _kernel(name)(*args)  # noqa: E731
        library.impl(name, run, "CompositeExplicitAutograd")
        torch.library.register_fake(f"sbp_triton::{name}", fake, lib=library)


# The ops live as long as this object does.
_LIBRARY = torch.library.Library("sbp_triton", "DEF")
_define(_LIBRARY)
