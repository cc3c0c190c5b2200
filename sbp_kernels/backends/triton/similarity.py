"""The softmax adjacency P = softmax(scale x0 x0^T) times x: logits are recomputed tile by tile and never stored.

Work: a program has ROWS rows of the result and BLOCK features, and iterates over the columns in tiles of COLS; logits
and products run on tensor cores. With fixed x0 the log-sum-exp l of each row is computed once, so the product needs no
running maximum: P_ij is exp(S_ij - l_i), and the transpose uses exp(S_ij - l_j).

Memory: a program writes only its own tile of the result and reads nothing that its launch writes. Sums have a fixed
order and no atomics.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..interface import accumulation_dtype
from . import launch, tile_sizes


@triton.jit
def load_tile(x, row, row_end, col, col_end, stride, WIDEN: tl.constexpr):
    tile = tl.load(x + row * stride + col, mask=(row < row_end) & (col < col_end), other=0.0)
    # The interpreter cannot multiply bfloat16.
    return tile.to(tl.float32) if WIDEN else tile


@triton.jit
def multiply(a, b, acc, ACC: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)


@triton.jit
def dots(
    a, b, i, j, num_nodes, width, a_stride, b_stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """<a_i, b_j> `[ROWS, COLS]`, summed over slices of DEPTH features."""
    s = tl.zeros((ROWS, COLS), ACC)
    for first in range(0, width, DEPTH):
        k = first + tl.arange(0, DEPTH)
        own = load_tile(a, i[:, None], num_nodes, k[None, :], width, a_stride, WIDEN)
        other = load_tile(b, j[None, :], num_nodes, k[:, None], width, b_stride, WIDEN)
        s = multiply(own, other, s, ACC, PRECISION)
    return s


@triton.jit
def logits(
    x0, own, i, j, num_nodes, depth, stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, RESIDENT: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """<x0_i, x0_j> `[ROWS, COLS]`. With RESIDENT, the features of the rows are in registers (`own`)."""
    if RESIDENT:
        k = tl.arange(0, DEPTH)
        other = load_tile(x0, j[None, :], num_nodes, k[:, None], depth, stride, WIDEN)
        return multiply(own, other, tl.zeros((ROWS, COLS), ACC), ACC, PRECISION)
    return dots(x0, x0, i, j, num_nodes, depth, stride, stride, ACC, PRECISION, WIDEN, ROWS, COLS, DEPTH)


@triton.jit(do_not_specialize=["num_nodes", "depth", "stride"])
def lse_kernel(
    out, x0, scale, num_nodes, depth, stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, RESIDENT: tl.constexpr, ALIGN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """log sum_j exp(scale <x0_i, x0_j>), with a running maximum."""
    depth *= ALIGN
    stride = stride.to(tl.int64) * ALIGN
    factor = tl.load(scale).to(ACC)
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    own = load_tile(x0, i[:, None], num_nodes, tl.arange(0, DEPTH)[None, :], depth, stride, WIDEN)
    most = tl.full((ROWS,), float("-inf"), ACC)
    total = tl.zeros((ROWS,), ACC)
    for start in range(0, num_nodes, COLS):
        j = start + tl.arange(0, COLS)
        s = factor * logits(x0, own, i, j, num_nodes, depth, stride, ACC, PRECISION, WIDEN, RESIDENT, ROWS, COLS, DEPTH)
        s = tl.where((j < num_nodes)[None, :], s, float("-inf"))
        higher = tl.maximum(most, tl.max(s, 1))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(s - higher[:, None]), 1)
        most = higher
    tl.store(out + i, most + tl.log(total), mask=i < num_nodes)


@triton.jit(do_not_specialize=["num_nodes", "depth", "stride", "width", "x_stride"])
def product_kernel(
    out, x0, x, lse, scale, num_nodes, depth, stride, width, x_stride,
    ACC: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr, RESIDENT: tl.constexpr,
    TRANSPOSED: tl.constexpr, BOOST: tl.constexpr, ALIGN: tl.constexpr, X_ALIGN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, DEPTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """sum_j exp(scale <x0_i, x0_j> - l) x_j, with l of the row, or of the column if TRANSPOSED."""
    depth *= ALIGN
    width *= X_ALIGN
    stride = stride.to(tl.int64) * ALIGN
    x_stride = x_stride.to(tl.int64) * X_ALIGN
    factor = tl.load(scale).to(ACC)
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    own = load_tile(x0, i[:, None], num_nodes, tl.arange(0, DEPTH)[None, :], depth, stride, WIDEN)
    own_lse = tl.load(lse + i, mask=i < num_nodes, other=0.0)[:, None]
    acc = tl.zeros((ROWS, BLOCK), ACC)
    for start in range(0, num_nodes, COLS):
        j = start + tl.arange(0, COLS)
        s = factor * logits(x0, own, i, j, num_nodes, depth, stride, ACC, PRECISION, WIDEN, RESIDENT, ROWS, COLS, DEPTH)
        if TRANSPOSED:
            s -= tl.load(lse + j, mask=j < num_nodes, other=0.0)[None, :]
        else:
            s -= own_lse
        weight = tl.where((j < num_nodes)[None, :], tl.exp(s), 0.0) * BOOST
        features = load_tile(x, j[:, None], num_nodes, d[None, :], width, x_stride, WIDEN)
        acc = multiply(weight.to(features.dtype), features, acc, ACC, PRECISION)
    at = out + i.to(tl.int64)[:, None] * width + d[None, :]
    tl.store(at, acc * (1.0 / BOOST), mask=(i < num_nodes)[:, None] & (d < width)[None, :])


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """Return log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    out = x0.new_empty(x0.size(0), dtype=accumulation_dtype(x0))
    args, tile = _common(x0, scale, x0.size(1))
    launch.run(lse_kernel, (launch.blocks(x0.size(0), tile.rows),), x0.device, args | {"out": out})
    return out


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """Return softmax(scale x0 x0^T) x, or its transpose times x, `[n, d]`."""
    x, width = launch.dense_rows(x), x.size(1)
    out = x.new_empty(x.size(), dtype=accumulation_dtype(x0))
    args, tile = _common(x0, scale, width)
    block = max(tile_sizes.feature_block(width), 16)
    align = launch.alignment(width, x)
    args |= {
        "out": out, "x": x, "lse": lse, "width": width // align, "x_stride": x.stride(0) // align, "X_ALIGN": align,
        "TRANSPOSED": transposed, "BLOCK": block,
        # Weights of a large graph underflow in float16, so they are scaled by a power of two.
        "BOOST": 16384.0 if x.dtype == torch.float16 else 1.0,
    }  # fmt: skip
    grid = (launch.blocks(x0.size(0), tile.rows), launch.blocks(width, block))
    launch.run(product_kernel, grid, x0.device, args)
    return out


def _common(x0: Tensor, scale: Tensor, width: int) -> tuple[dict[str, Any], tile_sizes.DenseTile]:
    """Return the arguments that both kernels take: x0, the tile, and the precision of products."""
    depth = x0.size(1)
    tile = tile_sizes.dense_tile(x0.device, x0.element_size(), width, depth)
    # If the rows of x0 in a tile fit in registers, they are loaded once.
    whole = max(16, 1 << max(depth - 1, 0).bit_length())
    resident = whole <= tile_sizes.resident_depth(x0.element_size())
    align = launch.alignment(depth, x0)
    args = {
        "x0": x0, "scale": scale, "num_nodes": x0.size(0), "depth": depth // align, "stride": x0.stride(0) // align,
        "ALIGN": align, "ACC": launch.acc_type(x0), "PRECISION": launch.dot_precision(),
        "WIDEN": launch.INTERPRETED and x0.dtype != torch.float64, "RESIDENT": resident,
        "ROWS": tile.rows, "COLS": tile.cols, "DEPTH": whole if resident else tile.depth,
        "num_warps": tile.num_warps, "num_stages": tile.num_stages,
    }  # fmt: skip
    return args, tile
