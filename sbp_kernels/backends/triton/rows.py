"""Launches of the row pass: one for each bin of rows, two for hub rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import tuning
from .layer_norm import norm_kernel
from .plan import RowPlan, row_plan
from .row_pass import hub_kernel, row_kernel

Half = tuple["Tensor | None", ...]
HALF = ("bounds", "col", "weight", "row_scale", "col_scale", "table", "group")


def signed_spmm(x: Tensor, x_neg: Tensor | None, residual: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor]:
    """`[n, d]`, and 1/std of each row if `eps` is given (else empty)."""
    pos, neg, (coef, r, p, q, num_rows, eps) = rest[:7], rest[7:14], rest[14:]
    # A part whose coefficient is the float 0 is not read: 0 * inf would be NaN.
    if coef is None:
        pos, neg = ((None,) * 7 if f == 0.0 else half for f, half in ((p, pos), (q, neg)))
        residual = None if r == 0.0 else residual
    own = residual is x
    x, x_neg = tuning.dense_rows(x), tuning.dense_rows(x_neg)
    residual = x if own else tuning.dense_rows(residual)
    width = x.size(1)
    out = x.new_empty(num_rows, width, dtype=tuning.stored_dtype(x))
    rstd = x.new_empty(0 if eps is None else num_rows, dtype=tuning.acc_dtype(x))
    fused = eps is not None and width <= tuning.MAX_WHOLE_ROW
    # Rows wider than a tile are standardised afterwards, from sums that were not rounded.
    wide = out.to(rstd.dtype) if eps is not None and not fused else out
    args = {
        "out": wide, "out_neg": None, "rstd": rstd if fused else None, "y": None, "residual": residual,
        "coef": coef, "r": r, "p": p, "q": q, "eps": eps or 0.0, "NORM": fused,
    }  # fmt: skip
    _rows(args, x, x if x_neg is None else x_neg, pos, neg, num_rows)
    if eps is not None and not fused:
        _normalise(out, rstd, wide, eps)
    return out.to(x.dtype), rstd


def signed_pair(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """(A+ x, A- x), each `[n, d]`."""
    pos, neg, num_rows = rest[:7], rest[7:14], rest[14]
    x = tuning.dense_rows(x)
    out, out_neg = (x.new_empty(num_rows, x.size(1), dtype=tuning.stored_dtype(x)) for _ in range(2))
    args = {"out": out, "out_neg": out_neg, "y": None, "residual": None, **_UNUSED}
    _rows(args, x, x, pos, neg, num_rows)
    return out.to(x.dtype), out_neg.to(x.dtype)


def signed_dot(y: Tensor, x: Tensor, *rest: Any) -> Tensor:
    """(<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    pos, neg, residual = rest[:7], rest[7:14], rest[14]
    x, y, residual = (tuning.dense_rows(t) for t in (x, y, residual))
    args = {"out": None, "out_neg": None, "y": y, "residual": residual, **_UNUSED}
    parts = _rows(args, x, x, pos, neg, y.size(0))
    return torch.cat(parts).sum(0) if parts else x.new_zeros(3, dtype=tuning.acc_dtype(x))


# Halves that are wanted apart have the coefficient 1.
_UNUSED = {"rstd": None, "coef": None, "r": 0.0, "p": 1.0, "q": 1.0, "eps": 0.0, "NORM": False}


def _rows(args: dict[str, Any], x: Tensor, x_neg: Tensor, pos: Half, neg: Half, num_rows: int) -> list[Tensor]:
    """Launch every bin; return the parts `[programs, 3]` of the dot products, if those were asked for."""
    width = x.size(1)
    if num_rows == 0 or width == 0:
        return []
    plan = row_plan(pos[0], neg[0])
    residual, y = args["residual"], args["y"]
    align = tuning.together(width, x, x_neg, residual, y)
    args |= {
        "x": x, "x_neg": x_neg, "ACC": tuning.acc_type(x), "ALIGN": align, "width": width // align,
        "x_stride": x.stride(0) // align, "x_neg_stride": x_neg.stride(0) // align,
        "residual_stride": 0 if residual is None else residual.stride(0) // align,
        "y_stride": 0 if y is None else y.stride(0) // align,
        "APART": y is not None or args["out_neg"] is not None,
    }  # fmt: skip
    for sign, half in (("pos", pos), ("neg", neg)):
        # Summaries are read whole rows at a time.
        args |= {f"{sign}_{n}": t if t is None else t.contiguous() for n, t in zip(HALF, half, strict=True)}
    bins = [("row", None, num_rows)] if plan is None else _bins(plan)
    parts = [_bin(args, kernel, rows, count) for kernel, rows, count in bins]
    if plan is not None and plan.hub.numel():
        parts.append(_hubs(args, plan))
    return [part for part in parts if part is not None]


def _bins(plan: RowPlan) -> list[tuple[str, Tensor, int]]:
    both = (("row", plan.single), ("light", plan.light))
    return [(kernel, rows, rows.numel()) for kernel, rows in both if rows.numel()]


def _bin(args: dict[str, Any], kernel: str, rows: Tensor | None, count: int, **more: Any) -> Tensor | None:
    """One launch over the rows of a bin."""
    x = args["x"]
    width = x.size(1)
    block = tuning.feature_block(width, args["NORM"])
    tile = tuning.row_tile(x.device, kernel, x.element_size(), width)
    cut = tuning.cut_row(tile, block, several=kernel == "light")
    grid = (tuning.blocks(count, cut["ROWS"]), tuning.blocks(width, block))
    args = args | cut | {"rows": rows, "num_slots": count, "SPLIT": False} | more
    part = _part(args, grid)
    tuning.launch(row_kernel, grid, x.device, args | ({} if part is None else {"out": part}))
    return part


def _hubs(args: dict[str, Any], plan: RowPlan) -> Tensor | None:
    """Chunks of hub rows into scratch, then a second launch that adds them up in their order."""
    x = args["x"]
    width, count = x.size(1), plan.chunk_row.numel()
    sums = [x.new_empty(count, width, dtype=tuning.acc_dtype(x)) for _ in range(1 + args["APART"])]
    unfinished = dict.fromkeys(("y", "residual", "rstd", "pos_table", "pos_group", "neg_table", "neg_group"))
    chunk = {"out": sums[0], "out_neg": sums[1] if args["APART"] else None, "NORM": False, "SPLIT": True}
    pos, neg = plan.bounds
    _bin(args | unfinished, "row", plan.chunk_row, count, pos_bounds=pos, neg_bounds=neg, **chunk)

    cut = tuning.cut_row(tuning.ROW_DEFAULT["row"], tuning.feature_block(width, args["NORM"]), several=False)
    del cut["ROWS"]
    kept = {n: args[n] for n in hub_kernel.arg_names if n in args}
    kept |= {"part": sums[0], "part_neg": sums[1] if args["APART"] else None}
    kept |= {"chunk_ptr": plan.chunk_ptr, "rows": plan.hub} | cut
    grid = (plan.hub.numel(), tuning.blocks(width, cut["BLOCK"]))
    part = _part(args, grid)
    tuning.launch(hub_kernel, grid, x.device, kept | ({} if part is None else {"out": part}))
    return part


def _part(args: dict[str, Any], grid: tuple[int, int]) -> Tensor | None:
    """Room for the dot products of each program, where those are asked for."""
    if args["y"] is None:
        return None
    return args["x"].new_empty(grid[0] * grid[1], 3, dtype=tuning.acc_dtype(args["x"]))


def _normalise(out: Tensor, rstd: Tensor, wide: Tensor, eps: float) -> None:
    align = tuning.together(out.size(1), out, wide)
    args = {"out": out, "rstd": rstd, "wide": wide, "width": out.size(1) // align, "eps": eps}
    args |= {"ACC": tuning.acc_type(out), "ALIGN": align, "BLOCK": tuning.MAX_WHOLE_ROW, "num_warps": 4}
    tuning.launch(norm_kernel, (out.size(0),), out.device, args)
