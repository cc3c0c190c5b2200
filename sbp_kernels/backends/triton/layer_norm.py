"""LayerNorm of rows: of a row in one tile, as part of the row pass, or by a kernel of its own for longer rows.

`norm_kernel` has one program per row, which iterates over the row several times; the row stays in the cache. Programs
share nothing, and stream order makes the sums of the row pass visible.
"""

import triton
import triton.language as tl


@triton.jit
def power_of_two(most, ACC: tl.constexpr):
    """A power of two that scales `most` to about 1, so that squares neither overflow nor underflow."""
    limit: tl.constexpr = 2.0**1000 if tl.float64 == ACC else 2.0**120
    return tl.exp2(-tl.floor(tl.log2(tl.minimum(tl.maximum(most, 1.0 / limit), limit))))


@triton.jit
def inverse_deviation(variance, eps, scale):
    """1 / sqrt(variance + eps) for the scaled rows, and for the unscaled rows.

    The scaled eps may underflow. If the variance is 0, all deviations are 0 and eps need not be scaled.
    """
    scaled = tl.where(variance == 0.0, 1.0 / tl.sqrt(eps), 1.0 / tl.sqrt(variance + eps * scale * scale))
    return scaled, tl.where(variance == 0.0, scaled, scaled * scale)


@triton.jit
def standardize(y, d_ok, width, eps, ACC: tl.constexpr):
    """LayerNorm of whole rows without weight and bias, and 1/std.

    The mean is corrected once, so that the variance of a constant row is exactly 0.
    """
    count = tl.zeros((1,), ACC) + width
    eps = tl.full((1,), eps, ACC)
    scale = power_of_two(tl.maximum(tl.max(tl.where(d_ok[None, :], tl.abs(y), 0.0), 1), tl.sqrt(eps)), ACC)
    y *= scale[:, None]
    mean = tl.sum(y, 1) / count
    mean += tl.sum(tl.where(d_ok[None, :], y - mean[:, None], 0.0), 1) / count
    centred = tl.where(d_ok[None, :], y - mean[:, None], 0.0)
    scaled, rstd = inverse_deviation(tl.sum(centred * centred, 1) / count, eps, scale)
    return centred * scaled[:, None], rstd


@triton.jit(do_not_specialize=["width"])
def norm_kernel(out, rstd, sums, width, eps: tl.float64, ACC: tl.constexpr, ALIGN: tl.constexpr, BLOCK: tl.constexpr):
    """LayerNorm, as `standardize`, of rows that are longer than one tile."""
    width *= ALIGN
    row = tl.program_id(0).to(tl.int64) * width
    count = tl.full((), 0.0, ACC) + width
    eps = tl.full((), eps, ACC)
    most = tl.zeros((BLOCK,), ACC) + tl.sqrt(eps)
    for start in range(0, width, BLOCK):
        d = start + tl.arange(0, BLOCK)
        most = tl.maximum(most, tl.abs(tl.load(sums + row + d, mask=d < width, other=0.0)))
    scale = power_of_two(tl.max(most, 0), ACC)
    mean = tl.full((), 0.0, ACC)
    for _ in range(2):
        total = tl.zeros((BLOCK,), ACC)
        for start in range(0, width, BLOCK):
            d = start + tl.arange(0, BLOCK)
            total += tl.where(d < width, tl.load(sums + row + d, mask=d < width, other=0.0) * scale - mean, 0.0)
        mean += tl.sum(total, 0) / count
    total = tl.zeros((BLOCK,), ACC)
    for start in range(0, width, BLOCK):
        d = start + tl.arange(0, BLOCK)
        centred = tl.where(d < width, tl.load(sums + row + d, mask=d < width, other=0.0) * scale - mean, 0.0)
        total += centred * centred
    scaled, inverse = inverse_deviation(tl.sum(total, 0) / count, eps, scale)
    tl.store(rstd + tl.program_id(0), inverse)
    for start in range(0, width, BLOCK):
        d = start + tl.arange(0, BLOCK)
        y = (tl.load(sums + row + d, mask=d < width, other=0.0) * scale - mean) * scaled
        tl.store(out + row + d, y.to(out.dtype.element_ty), mask=d < width)
