"""Dot products along edges: the gradient of edge weights."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from . import tuning
from .plan import row_plan


@triton.jit(do_not_specialize=["num_slots", "width", "a_stride", "b_stride"])
def edge_kernel(
    out, a, b, rows, bounds, col, row_scale, col_scale, num_slots, width, a_stride, b_stride,
    ACC: tl.constexpr, SPLIT: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """out[e] = row_scale_i col_scale_j <a_i, b_j> for the edges e of ROWS rows, or chunks of hub rows."""
    width *= ALIGN
    slot = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    ok = slot < num_slots
    row = tl.load(rows + slot, mask=ok, other=0).to(tl.int64)
    at = slot * 2 if SPLIT else row
    lo = tl.load(bounds + at, mask=ok, other=0)
    hi = tl.load(bounds + at + 1, mask=ok, other=0)
    factor = tl.zeros((ROWS,), ACC) + 1.0
    if row_scale is not None:
        factor = tl.load(row_scale + row, mask=ok, other=0.0)
    for start in range(0, tl.max(hi - lo, 0).to(tl.int32), EDGES):
        edge = lo[:, None] + start + tl.arange(0, EDGES)[None, :]
        live = edge < hi[:, None]
        c = tl.load(col + edge, mask=live, other=0).to(tl.int64)
        # Products are added up lane by lane; lanes meet once, after the last tile of features.
        acc = tl.zeros((ROWS, EDGES, BLOCK), ACC)
        for first in range(0, width, BLOCK):
            d = first + tl.arange(0, BLOCK)
            d_ok = (d < width)[None, None, :]
            own_at = a + row[:, None, None] * (a_stride * ALIGN) + d[None, None, :]
            own = tl.load(own_at, mask=ok[:, None, None] & d_ok, other=0.0).to(ACC)
            other_at = b + c[:, :, None] * (b_stride * ALIGN) + d[None, None, :]
            acc += own * tl.load(other_at, mask=live[:, :, None] & d_ok, other=0.0).to(ACC)
        dot = tl.sum(acc, 2) * factor[:, None]
        if col_scale is not None:
            dot = dot * tl.load(col_scale + c, mask=live, other=0.0)
        tl.store(out + edge, dot, mask=live)


def edge_dot(
    a: Tensor, b: Tensor, rowptr: Tensor, col: Tensor, row_scale: Tensor | None, col_scale: Tensor | None
) -> Tensor:
    """row_scale_i col_scale_j <a_i, b_j> for every edge j -> i: `[E]`."""
    width = a.size(1)
    if rowptr.numel() != a.size(0) + 1 or b.size(1) != width:
        raise ValueError(
            f"a must be [{rowptr.numel() - 1}, d] and b [num_cols, d], got {tuple(a.size())} and {tuple(b.size())}"
        )
    out = a.new_empty(col.numel(), dtype=tuning.acc_dtype(a))
    if width == 0 or col.numel() == 0:
        return out.zero_()
    a, b = tuning.dense_rows(a), tuning.dense_rows(b)
    plan = row_plan(rowptr, None)
    assert plan is not None
    align = tuning.together(width, a, b)
    args: dict[str, Any] = {
        "out": out, "a": a, "b": b, "col": col, "row_scale": row_scale, "col_scale": col_scale,
        "width": width // align, "a_stride": a.stride(0) // align, "b_stride": b.stride(0) // align,
        "ACC": tuning.acc_type(a), "ALIGN": align,
    }  # fmt: skip
    for kernel, rows, bounds in (
        ("row", plan.single, rowptr),
        ("light", plan.light, rowptr),
        ("row", plan.chunk_row, plan.bounds[0]),
    ):
        tile = tuning.row_tile(a.device, kernel, a.element_size(), width)
        cut = tuning.cut_row(tile, tuning.feature_block(width), several=kernel == "light")
        args |= {"rows": rows, "bounds": bounds, "num_slots": rows.numel(), "SPLIT": bounds is not rowptr}
        tuning.launch(edge_kernel, (tuning.blocks(rows.numel(), cut["ROWS"]),), a.device, args | cut)
    return out
