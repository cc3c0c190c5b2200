"""The gradient of the softmax adjacency with respect to x0.

With P = softmax(S), S = scale x0 x0^T, and f = <a, P b>, the gradient of the logits is
L_ij = P_ij (<a_i, b_j> - delta_i), delta_i = <a_i, (P b)_i>, and that of x0 is scale (L + L^T) x0: S is
symmetric, so one pass computes both L_ij and L_ji of a tile.

Work and memory are those of `similarity`: a program has ROWS rows and BLOCK columns of the result, iterates over tiles
of COLS nodes, and alone writes its part of the result, in a fixed order and without atomics.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..interface import accumulation_dtype
from . import launch, tile_sizes
from .similarity import dots, load_tile, multiply, similarity


@triton.jit(do_not_specialize=["num_nodes", "depth", "stride", "width", "a_stride", "b_stride"])
def x0_grad_kernel(
    out, x0, a, b, lse, delta, scale, num_nodes, depth, stride, width, a_stride, b_stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, LAST: tl.constexpr, WIDEN: tl.constexpr, WIDEN_X0: tl.constexpr,
    ALIGN: tl.constexpr, X_ALIGN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """scale sum_j (L_ij + L_ji) x0_j for ROWS rows and BLOCK columns of x0."""
    depth *= ALIGN
    width *= X_ALIGN
    stride = stride.to(tl.int64) * ALIGN
    a_stride = a_stride.to(tl.int64) * X_ALIGN
    b_stride = b_stride.to(tl.int64) * X_ALIGN
    factor = tl.load(scale).to(ACC)
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    own_lse = tl.load(lse + i, mask=i < num_nodes, other=0.0)[:, None]
    own_delta = tl.load(delta + i, mask=i < num_nodes, other=0.0)[:, None]
    acc = tl.zeros((ROWS, BLOCK), ACC)
    for start in range(0, num_nodes, COLS):
        j = start + tl.arange(0, COLS)
        inside = j < num_nodes
        s = factor * dots(
            x0, x0, i, j, num_nodes, depth, stride, stride, ACC, PRECISION, WIDEN, ROWS, COLS, DEPTH
        )  # fmt: skip
        rows = dots(a, b, i, j, num_nodes, width, a_stride, b_stride, ACC, PRECISION, WIDEN, ROWS, COLS, DEPTH)
        weight = tl.exp(s - own_lse) * (rows - own_delta)
        cols = dots(b, a, i, j, num_nodes, width, b_stride, a_stride, ACC, PRECISION, WIDEN, ROWS, COLS, DEPTH)
        other_lse = tl.load(lse + j, mask=inside, other=0.0)[None, :]
        other_delta = tl.load(delta + j, mask=inside, other=0.0)[None, :]
        weight += tl.exp(s - other_lse) * (cols - other_delta)
        weight = tl.where(inside[None, :], weight, 0.0)
        features = load_tile(x0, j[:, None], num_nodes, k[None, :], depth, stride, WIDEN_X0)
        acc = multiply(weight.to(features.dtype), features, acc, ACC, LAST)
    at = out + i.to(tl.int64)[:, None] * depth + k[None, :]
    tl.store(at, factor * acc, mask=(i < num_nodes)[:, None] & (k < depth)[None, :])


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T), `[n, width]`."""
    depth, width = x0.size(1), b.size(1)
    out = x0.new_empty(x0.size(), dtype=accumulation_dtype(x0))
    delta = (a.to(out.dtype) * similarity(x0, b, lse, scale, False)).sum(1)
    x0, a, b = launch.dense_rows(x0), launch.dense_rows(a), launch.dense_rows(b)
    tile = tile_sizes.dense_tile(x0.device, x0.element_size(), width, depth, kernel="similarity_grad")
    align, x_align = launch.alignment(depth, x0), launch.alignment(width, a, b)
    block = max(min(tile_sizes.feature_block(depth), 256 if x0.dtype == torch.bfloat16 else 128), 16)
    is_float16 = x0.dtype == torch.float16
    widen = launch.INTERPRETED and x0.dtype != torch.float64
    args = {
        "out": out, "x0": x0, "a": a, "b": b, "lse": lse, "delta": delta, "scale": scale, "num_nodes": x0.size(0),
        "depth": depth // align, "stride": x0.stride(0) // align, "width": width // x_align,
        "a_stride": a.stride(0) // x_align, "b_stride": b.stride(0) // x_align, "ALIGN": align, "X_ALIGN": x_align,
        "ACC": launch.acc_type(x0), "PRECISION": launch.dot_precision(), "WIDEN": widen,
        # Gradients of logits may exceed the range of float16, but not that of tf32, which has the same precision.
        "WIDEN_X0": widen or is_float16,
        "LAST": "tf32" if is_float16 and launch.dot_precision() == "tf32x3" else launch.dot_precision(),
        "ROWS": tile.rows, "COLS": tile.cols, "DEPTH": tile.depth, "BLOCK": block,
        "num_warps": tile.num_warps, "num_stages": tile.num_stages,
    }  # fmt: skip
    grid = (launch.blocks(x0.size(0), tile.rows), launch.blocks(depth, block))
    launch.run(x0_grad_kernel, grid, out.device, args)
    return out
