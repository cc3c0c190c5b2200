"""Edge dot: row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, the gradient of edge weights.

A program has ROWS rows of a degree bin, or one chunk of a hub row, and computes EDGES edges per iteration. Each edge
has one owner, which stores its result; programs share nothing, and there are no atomics.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..interface import accumulation_dtype
from . import launch, tile_sizes
from .degree_bins import degree_bins


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
        # Each lane adds its own products; lanes are added once, after the last tile of features.
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
    """Return row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, `[E]`."""
    width = a.size(1)
    if rowptr.numel() != a.size(0) + 1 or b.size(1) != width:
        raise ValueError(
            f"a must be [{rowptr.numel() - 1}, d] and b [num_cols, d], got {tuple(a.size())} and {tuple(b.size())}"
        )
    out = a.new_empty(col.numel(), dtype=accumulation_dtype(a))
    if width == 0 or col.numel() == 0:
        return out.zero_()
    a, b = launch.dense_rows(a), launch.dense_rows(b)
    bins = degree_bins(rowptr, None)
    assert bins is not None
    align = launch.alignment(width, a, b)
    args: dict[str, Any] = {
        "out": out, "a": a, "b": b, "col": col, "row_scale": row_scale, "col_scale": col_scale,
        "width": width // align, "a_stride": a.stride(0) // align, "b_stride": b.stride(0) // align,
        "ACC": launch.acc_type(a), "ALIGN": align,
    }  # fmt: skip
    for kernel, rows, bounds in (
        ("row", bins.single, rowptr),
        ("light", bins.light, rowptr),
        ("row", bins.chunk_row, bins.bounds[0]),
    ):
        tile = tile_sizes.row_tile(a.device, kernel, a.element_size(), width)
        cut = tile_sizes.cut_row(tile, tile_sizes.feature_block(width), several=kernel == "light")
        args |= {"rows": rows, "bounds": bounds, "num_slots": rows.numel(), "SPLIT": bounds is not rowptr}
        launch.run(edge_kernel, (launch.blocks(rows.numel(), cut["ROWS"]),), a.device, args | cut)
    return out
