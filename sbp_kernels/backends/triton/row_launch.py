"""Launches of the row pass: one for each degree bin, two for hub rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..interface import accumulation_dtype
from . import launch, tile_sizes
from .degree_bins import DegreeBins, degree_bins
from .layer_norm import norm_kernel
from .row_kernel import hub_kernel, row_kernel

Half = tuple["Tensor | None", ...]
HALF = ("bounds", "col", "weight", "row_scale", "col_scale", "table", "group")


def signed_spmm(x: Tensor, x_neg: Tensor | None, residual: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor]:
    """Return r R + p A+ x + q A- x_neg `[n, d]`, and 1/std of each row if `eps` is given (else empty)."""
    pos, neg, (coef, r, p, q, num_rows, eps) = rest[:7], rest[7:14], rest[14:]
    # A part whose coefficient is the number 0 is not read, because 0 * inf would be NaN.
    if coef is None:
        pos, neg = ((None,) * 7 if f == 0.0 else half for f, half in ((p, pos), (q, neg)))
        residual = None if r == 0.0 else residual
    own = residual is x
    x, x_neg = launch.dense_rows(x), launch.dense_rows(x_neg)
    residual = x if own else launch.dense_rows(residual)
    width = x.size(1)
    out = x.new_empty(num_rows, width, dtype=launch.stored_dtype(x))
    rstd = x.new_empty(0 if eps is None else num_rows, dtype=accumulation_dtype(x))
    fused = eps is not None and width <= tile_sizes.MAX_WHOLE_ROW
    # Rows longer than a tile are standardized by a second kernel, from sums in the accumulation type.
    sums = out.to(rstd.dtype) if eps is not None and not fused else out
    args = {
        "out": sums, "out_neg": None, "rstd": rstd if fused else None, "y": None, "residual": residual,
        "coef": coef, "r": r, "p": p, "q": q, "eps": eps or 0.0, "NORM": fused,
    }  # fmt: skip
    _row_pass(args, x, x if x_neg is None else x_neg, pos, neg, num_rows)
    if eps is not None and not fused:
        _layer_norm(out, rstd, sums, eps)
    return out.to(x.dtype), rstd


def signed_pair(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """Return (A+ x, A- x), each `[n, d]`."""
    pos, neg, num_rows = rest[:7], rest[7:14], rest[14]
    x = launch.dense_rows(x)
    out, out_neg = (x.new_empty(num_rows, x.size(1), dtype=launch.stored_dtype(x)) for _ in range(2))
    args = {"out": out, "out_neg": out_neg, "y": None, "residual": None, **_SEPARATE}
    _row_pass(args, x, x, pos, neg, num_rows)
    return out.to(x.dtype), out_neg.to(x.dtype)


def signed_dot(y: Tensor, x: Tensor, *rest: Any) -> Tensor:
    """Return (<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    pos, neg, residual = rest[:7], rest[7:14], rest[14]
    x, y, residual = (launch.dense_rows(t) for t in (x, y, residual))
    args = {"out": None, "out_neg": None, "y": y, "residual": residual, **_SEPARATE}
    parts = _row_pass(args, x, x, pos, neg, y.size(0))
    return torch.cat(parts).sum(0) if parts else x.new_zeros(3, dtype=accumulation_dtype(x))


# Arguments of the ops that return the halves separately, with coefficient 1.
_SEPARATE = {"rstd": None, "coef": None, "r": 0.0, "p": 1.0, "q": 1.0, "eps": 0.0, "NORM": False}


def _row_pass(args: dict[str, Any], x: Tensor, x_neg: Tensor, pos: Half, neg: Half, num_rows: int) -> list[Tensor]:
    """Launch every degree bin. Return the partial dot products `[programs, 3]` of each launch, if `args` has a `y`."""
    width = x.size(1)
    if num_rows == 0 or width == 0:
        return []
    bins = degree_bins(pos[0], neg[0])
    residual, y = args["residual"], args["y"]
    align = launch.alignment(width, x, x_neg, residual, y)
    args |= {
        "x": x, "x_neg": x_neg, "ACC": launch.acc_type(x), "ALIGN": align, "width": width // align,
        "x_stride": x.stride(0) // align, "x_neg_stride": x_neg.stride(0) // align,
        "residual_stride": 0 if residual is None else residual.stride(0) // align,
        "y_stride": 0 if y is None else y.stride(0) // align,
        "SEPARATE": y is not None or args["out_neg"] is not None,
    }  # fmt: skip
    for sign, half in (("pos", pos), ("neg", neg)):
        # Kernels read tables in whole rows.
        args |= {f"{sign}_{n}": t if t is None else t.contiguous() for n, t in zip(HALF, half, strict=True)}
    launches = [("row", None, num_rows)] if bins is None else _launches(bins)
    parts = [_launch(args, kernel, rows, count) for kernel, rows, count in launches]
    if bins is not None and bins.hub.numel():
        parts.append(_hubs(args, bins))
    return [part for part in parts if part is not None]


def _launches(bins: DegreeBins) -> list[tuple[str, Tensor, int]]:
    both = (("row", bins.single), ("light", bins.light))
    return [(kernel, rows, rows.numel()) for kernel, rows in both if rows.numel()]


def _launch(args: dict[str, Any], kernel: str, rows: Tensor | None, count: int, **more: Any) -> Tensor | None:
    """Launch the row kernel over the rows of a bin."""
    x = args["x"]
    width = x.size(1)
    block = tile_sizes.feature_block(width, args["NORM"])
    tile = tile_sizes.row_tile(x.device, kernel, x.element_size(), width)
    cut = tile_sizes.cut_row(tile, block, several=kernel == "light")
    grid = (launch.blocks(count, cut["ROWS"]), launch.blocks(width, block))
    args = args | cut | {"rows": rows, "num_slots": count, "SPLIT": False} | more
    part = _part(args, grid)
    launch.run(row_kernel, grid, x.device, args | ({} if part is None else {"out": part}))
    return part


def _hubs(args: dict[str, Any], bins: DegreeBins) -> Tensor | None:
    """Sum the chunks of hub rows into scratch memory, then add them in order in a second launch."""
    x = args["x"]
    width, count = x.size(1), bins.chunk_row.numel()
    sums = [x.new_empty(count, width, dtype=accumulation_dtype(x)) for _ in range(1 + args["SEPARATE"])]
    unfinished = dict.fromkeys(("y", "residual", "rstd", "pos_table", "pos_group", "neg_table", "neg_group"))
    chunk = {"out": sums[0], "out_neg": sums[1] if args["SEPARATE"] else None, "NORM": False, "SPLIT": True}
    pos, neg = bins.bounds
    _launch(args | unfinished, "row", bins.chunk_row, count, pos_bounds=pos, neg_bounds=neg, **chunk)

    block = tile_sizes.feature_block(width, args["NORM"])
    cut = tile_sizes.cut_row(tile_sizes.ROW_DEFAULT["row"], block, several=False)
    del cut["ROWS"]
    hub = {n: args[n] for n in hub_kernel.arg_names if n in args}
    hub |= {"part": sums[0], "part_neg": sums[1] if args["SEPARATE"] else None}
    hub |= {"chunk_ptr": bins.chunk_ptr, "rows": bins.hub} | cut
    grid = (bins.hub.numel(), launch.blocks(width, cut["BLOCK"]))
    part = _part(args, grid)
    launch.run(hub_kernel, grid, x.device, hub | ({} if part is None else {"out": part}))
    return part


def _part(args: dict[str, Any], grid: tuple[int, int]) -> Tensor | None:
    """Return memory for the partial dot products of each program, if `args` has a `y`."""
    if args["y"] is None:
        return None
    return args["x"].new_empty(grid[0] * grid[1], 3, dtype=accumulation_dtype(args["x"]))


def _layer_norm(out: Tensor, rstd: Tensor, sums: Tensor, eps: float) -> None:
    align = launch.alignment(out.size(1), out, sums)
    args = {"out": out, "rstd": rstd, "sums": sums, "width": out.size(1) // align, "eps": eps}
    args |= {"ACC": launch.acc_type(out), "ALIGN": align, "BLOCK": tile_sizes.MAX_WHOLE_ROW, "num_warps": 4}
    launch.run(norm_kernel, (out.size(0),), out.device, args)
