"""Sums over groups of nodes, in two phases of fixed order: segments of a group, then its segments."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from . import tuning


@triton.jit(do_not_specialize=["width", "stride"])
def segment_kernel(
    out, x, order, ptr, width, stride,
    ACC: tl.constexpr, ALIGN: tl.constexpr, EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[s] = sum of x[order[i]] for i from ptr[s] to ptr[s + 1]; without an order, of x[i]."""
    width *= ALIGN
    segment = tl.program_id(0).to(tl.int64)
    first = tl.load(ptr + segment)
    last = tl.load(ptr + segment + 1)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d_ok = d < width
    acc = tl.zeros((EDGES, BLOCK), ACC)
    for start in range(0, (last - first).to(tl.int32), EDGES):
        i = first + start + tl.arange(0, EDGES)
        live = i < last
        node = i
        if order is not None:
            node = tl.load(order + i, mask=live, other=0).to(tl.int64)
        at = x + node[:, None] * (stride * ALIGN) + d[None, :]
        acc += tl.load(at, mask=live[:, None] & d_ok[None, :], other=0.0).to(ACC)
    tl.store(out + segment * width + d, tl.sum(acc, 0), mask=d_ok)


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Sum of x over each group, `[num_groups, d]`."""
    x = tuning.dense_rows(x)
    sums = _sum(x, order, segptr)
    return _sum(sums, None, group_segptr)


def _sum(x: Tensor, order: Tensor | None, ptr: Tensor) -> Tensor:
    width, count = x.size(1), ptr.numel() - 1
    out = x.new_empty(count, width, dtype=tuning.acc_dtype(x))
    align = tuning.together(width, x)
    tile = tuning.row_tile(x.device, "segment", x.element_size(), width)
    cut = tuning.cut_row(tile, tuning.feature_block(width), several=False)
    del cut["ROWS"]
    args: dict[str, Any] = {
        "out": out, "x": x, "order": order, "ptr": ptr, "width": width // align, "stride": x.stride(0) // align,
        "ACC": tuning.acc_type(x), "ALIGN": align,
    }  # fmt: skip
    tuning.launch(segment_kernel, (count, tuning.blocks(width, cut["BLOCK"])), x.device, args | cut)
    return out
