"""Group sum: the sum of x over each group of nodes, in two launches: over segments, then over groups.

The first launch sums the rows of x that each segment lists, the second the segments of each group. A program has one
segment (or group) and BLOCK features, and adds EDGES rows per iteration. Each sum has one owner and a fixed order;
there are no atomics, and stream order makes the results of the first launch visible to the second.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..interface import accumulation_dtype
from . import launch, tile_sizes


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
    """Return the sum of x over each group, `[num_groups, d]`."""
    x = launch.dense_rows(x)
    sums = _sum(x, order, segptr)
    return _sum(sums, None, group_segptr)


def _sum(x: Tensor, order: Tensor | None, ptr: Tensor) -> Tensor:
    width, count = x.size(1), ptr.numel() - 1
    out = x.new_empty(count, width, dtype=accumulation_dtype(x))
    align = launch.alignment(width, x)
    tile = tile_sizes.row_tile(x.device, "segment", x.element_size(), width)
    cut = tile_sizes.cut_row(tile, tile_sizes.feature_block(width), several=False)
    del cut["ROWS"]
    args: dict[str, Any] = {
        "out": out, "x": x, "order": order, "ptr": ptr, "width": width // align, "stride": x.stride(0) // align,
        "ACC": launch.acc_type(x), "ALIGN": align,
    }  # fmt: skip
    launch.run(segment_kernel, (count, launch.blocks(width, cut["BLOCK"])), x.device, args | cut)
    return out
