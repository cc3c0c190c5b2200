"""The row pass: y = r R + p A+ x + q A- x_neg, with LayerNorm, as two results, or as dot products with another y.

Work: a program has ROWS rows of a degree bin (several only in the bin of light rows) and BLOCK features. It iterates
over the edges of both halves in tiles `[rows, edges, features]`, adds the tile over its edges once at the end, then
runs the epilogue and stores. Hub rows are cut into chunks: `row_kernel` stores the sum of each chunk, and
`hub_kernel` adds the chunks of a row in order.

Memory: a program writes only its own rows or chunks and reads nothing that another program of the same launch writes;
stream order separates the two launches of hub rows. There are no atomics, so results repeat bit for bit.

Pointers that are None are compiled away. Features are converted to ACC right after each load, because the
interpreter's bfloat16 arithmetic is wrong. Sizes and strides are passed divided by ALIGN and multiplied by it in the
kernel, which tells the compiler their alignment, so that it emits 16-byte loads.
"""

import triton
import triton.language as tl

from .layer_norm import standardize

SIZES = ["num_slots", "width", "x_stride", "x_neg_stride", "residual_stride", "y_stride"]


@triton.jit
def gather(acc, x, stride, col, weight, col_scale, lo, hi, factor, d, d_ok, EDGES: tl.constexpr):
    """acc[r, e, :] + factor_r w_e t_col x_col over the edges lo_r to hi_r, EDGES of them per iteration."""
    longest = tl.max(hi - lo, 0).to(tl.int32)
    for start in range(0, longest, EDGES):
        edge = lo[:, None] + start + tl.arange(0, EDGES)[None, :]
        live = edge < hi[:, None]
        c = tl.load(col + edge, mask=live, other=0).to(tl.int64)
        w = factor[:, None]
        if weight is not None:
            w = w * tl.load(weight + edge, mask=live, other=0.0)
        if col_scale is not None:
            w = w * tl.load(col_scale + c, mask=live, other=0.0)
        # EDGES independent rows are in flight; they are added once, after the last iteration.
        at = x + c[:, :, None] * stride + d[None, None, :]
        acc += w[:, :, None] * tl.load(at, mask=live[:, :, None] & d_ok[None, None, :], other=0.0).to(acc.dtype)
    return acc


@triton.jit
def add_half(
    acc, x, stride, coef, bounds, at, col, weight, row_scale, col_scale, row, ok, d, d_ok,
    ACC: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """acc + coef A x of one half, not yet added over the EDGES axis; the edges begin at `bounds[at]`."""
    if col is not None:
        lo = tl.load(bounds + at, mask=ok, other=0)
        # With a coefficient of 0 no features are read, because they may be infinite.
        hi = tl.where(coef != 0.0, tl.load(bounds + at + 1, mask=ok, other=0), lo)
        # The factor of all edges of a row.
        factor = tl.zeros(row.shape, ACC) + coef
        if row_scale is not None:
            factor = factor * tl.load(row_scale + row, mask=ok, other=0.0)
        acc = gather(acc, x, stride, col, weight, col_scale, lo, hi, factor, d, d_ok, EDGES)
    return acc


@triton.jit
def add_table(acc, coef, table, group, row, ok, d, width):
    """acc + coef table[group of the row]; without groups, row i reads line i of the table."""
    if table is not None:
        line = row
        if group is not None:
            line = tl.load(group + row, mask=ok, other=0)
        at = table + line[:, None] * width + d[None, :]
        d_ok = d < tl.where(coef != 0.0, width, 0)
        acc += coef * tl.load(at, mask=ok[:, None] & d_ok[None, :], other=0.0)
    return acc


@triton.jit
def coefficients(coef, r, p, q, ACC: tl.constexpr):
    """(r, p, q) from the tensor on the device if it is given, else from the numbers."""
    if coef is not None:
        return tl.load(coef), tl.load(coef + 1), tl.load(coef + 2)
    return tl.full((), r, ACC), tl.full((), p, ACC), tl.full((), q, ACC)


@triton.jit
def finish(
    acc, acc_neg, r, p, q, row, ok, d, d_ok, width, out, out_neg, rstd, y, y_stride, residual, residual_stride,
    pos_table, pos_group, neg_table, neg_group, eps, ACC: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """The epilogue: add tables and residual, then store one output (with LayerNorm), both halves, or dot products."""
    keep = ok[:, None] & d_ok[None, :]
    at = row[:, None] * width + d[None, :]
    acc = add_table(acc, p, pos_table, pos_group, row, ok, d, width)
    if y is not None or out_neg is not None:
        acc_neg = add_table(acc_neg, q, neg_table, neg_group, row, ok, d, width)
    else:
        acc = add_table(acc, q, neg_table, neg_group, row, ok, d, width)
    own = tl.zeros_like(acc)
    if residual is not None:
        own_at = residual + row[:, None] * residual_stride + d[None, :]
        own_ok = d_ok
        if y is None:
            own_ok = d < tl.where(r != 0.0, width, 0)
        own = tl.load(own_at, mask=ok[:, None] & own_ok[None, :], other=0.0).to(ACC)
    if y is not None:
        # One triple per program; the host code adds them in a fixed order.
        other = tl.load(y + row[:, None] * y_stride + d[None, :], mask=keep, other=0.0).to(ACC)
        part = out + 3 * (tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1))
        tl.store(part, tl.sum(tl.sum(other * own, 1), 0))
        tl.store(part + 1, tl.sum(tl.sum(other * acc, 1), 0))
        tl.store(part + 2, tl.sum(tl.sum(other * acc_neg, 1), 0))
    elif out_neg is not None:
        tl.store(out + at, acc.to(out.dtype.element_ty), mask=keep)
        tl.store(out_neg + at, acc_neg.to(out_neg.dtype.element_ty), mask=keep)
    else:
        acc += r * own
        if NORM:
            acc, scale = standardize(acc, d_ok, width, eps, ACC)
            tl.store(rstd + row, scale, mask=ok)
        tl.store(out + at, acc.to(out.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=SIZES)
def row_kernel(
    out, out_neg, rstd, y, x, x_neg, residual, coef, r: tl.float64, p: tl.float64, q: tl.float64, eps: tl.float64,
    rows, pos_bounds, pos_col, pos_weight, pos_row_scale, pos_col_scale, pos_table, pos_group,
    neg_bounds, neg_col, neg_weight, neg_row_scale, neg_col_scale, neg_table, neg_group,
    num_slots, width, x_stride, x_neg_stride, residual_stride, y_stride,
    ACC: tl.constexpr, NORM: tl.constexpr, SEPARATE: tl.constexpr, SPLIT: tl.constexpr, ALIGN: tl.constexpr,
    ROWS: tl.constexpr, EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The row pass of ROWS rows of a bin or, with SPLIT, of ROWS chunks of hub rows, without the epilogue."""
    width *= ALIGN
    r, p, q = coefficients(coef, r, p, q, ACC)
    # Several light rows share a program, because one short row would leave most lanes idle.
    slot = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    ok = slot < num_slots
    row = slot if rows is None else tl.load(rows + slot, mask=ok, other=0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d_ok = d < width

    # Both halves in one pass, into one sum or, with SEPARATE, into two.
    zero = tl.zeros((ROWS, EDGES, BLOCK), ACC)
    at = slot * 2 if SPLIT else row
    acc = add_half(
        zero, x, x_stride * ALIGN, p, pos_bounds, at, pos_col, pos_weight, pos_row_scale,
        pos_col_scale, row, ok, d, d_ok, ACC, EDGES,
    )  # fmt: skip
    total = tl.sum(acc, 1)
    acc = add_half(
        zero if SEPARATE else acc, x_neg, x_neg_stride * ALIGN, q, neg_bounds, at, neg_col, neg_weight,
        neg_row_scale, neg_col_scale, row, ok, d, d_ok, ACC, EDGES,
    )  # fmt: skip
    last = tl.sum(acc, 1)
    # A chunk is a part of a row, which the hub kernel finishes.
    if SPLIT:
        part = slot[:, None] * width + d[None, :]
        tl.store(out + part, total if SEPARATE else last, mask=ok[:, None] & d_ok[None, :])
        if SEPARATE:
            tl.store(out_neg + part, last, mask=ok[:, None] & d_ok[None, :])
    else:
        finish(
            total if SEPARATE else last, last, r, p, q, row, ok, d, d_ok, width, out, out_neg, rstd,
            y, y_stride * ALIGN, residual, residual_stride * ALIGN, pos_table, pos_group, neg_table, neg_group, eps,
            ACC, NORM,
        )  # fmt: skip


@triton.jit(do_not_specialize=SIZES)
def hub_kernel(
    out, out_neg, rstd, y, residual, coef, r: tl.float64, p: tl.float64, q: tl.float64, eps: tl.float64,
    part, part_neg, chunk_ptr, rows, pos_table, pos_group, neg_table, neg_group,
    width, residual_stride, y_stride,
    ACC: tl.constexpr, NORM: tl.constexpr, ALIGN: tl.constexpr, EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The second pass of a hub row: add its chunks in order, then run the epilogue."""
    width *= ALIGN
    r, p, q = coefficients(coef, r, p, q, ACC)
    slot = tl.program_id(0) + tl.arange(0, 1)
    ok = slot >= 0
    row = tl.load(rows + slot).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    d_ok = d < width
    acc = tl.zeros((EDGES, BLOCK), ACC)
    acc_neg = tl.zeros((EDGES, BLOCK), ACC)
    first = tl.load(chunk_ptr + tl.program_id(0))
    last = tl.load(chunk_ptr + tl.program_id(0) + 1)
    for start in range(0, (last - first).to(tl.int32), EDGES):
        chunk = first + start + tl.arange(0, EDGES)
        live = (chunk < last)[:, None] & d_ok[None, :]
        acc += tl.load(part + chunk[:, None] * width + d[None, :], mask=live, other=0.0)
        if part_neg is not None:
            acc_neg += tl.load(part_neg + chunk[:, None] * width + d[None, :], mask=live, other=0.0)
    finish(
        tl.sum(acc, 0)[None, :], tl.sum(acc_neg, 0)[None, :], r, p, q, row, ok, d, d_ok, width, out, out_neg, rstd,
        y, y_stride * ALIGN, residual, residual_stride * ALIGN, pos_table, pos_group, neg_table, neg_group, eps,
        ACC, NORM,
    )  # fmt: skip
