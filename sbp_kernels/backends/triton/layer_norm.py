"""LayerNorm of rows on the device: within the tile that holds them, or in sweeps over rows too wide for one."""

import triton
import triton.language as tl


@triton.jit
def power_of_two(most, ACC: tl.constexpr):
    """A power of two that brings `most` near 1, so that squares neither overflow nor vanish."""
    limit: tl.constexpr = 2.0**1000 if tl.float64 == ACC else 2.0**120
    return tl.exp2(-tl.floor(tl.log2(tl.minimum(tl.maximum(most, 1.0 / limit), limit))))


@triton.jit
def inverse_deviation(variance, eps, scale):
    """1 / sqrt(variance + eps) for rows times `scale`, and for the rows themselves.

    Without variance the scaled eps, which may underflow, is not needed: what it would multiply is 0.
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
def norm_kernel(out, rstd, wide, width, eps: tl.float64, ACC: tl.constexpr, ALIGN: tl.constexpr, BLOCK: tl.constexpr):
    """LayerNorm, as `standardize`, of rows too wide for one tile: sweeps over a row that stays in cache."""
    width *= ALIGN
    row = tl.program_id(0).to(tl.int64) * width
    count = tl.full((), 0.0, ACC) + width
    eps = tl.full((), eps, ACC)
    most = tl.zeros((BLOCK,), ACC) + tl.sqrt(eps)
    for start in range(0, width, BLOCK):
        d = start + tl.arange(0, BLOCK)
        most = tl.maximum(most, tl.abs(tl.load(wide + row + d, mask=d < width, other=0.0)))
    scale = power_of_two(tl.max(most, 0), ACC)
    mean = tl.full((), 0.0, ACC)
    for _ in range(2):
        total = tl.zeros((BLOCK,), ACC)
        for start in range(0, width, BLOCK):
            d = start + tl.arange(0, BLOCK)
            total += tl.where(d < width, tl.load(wide + row + d, mask=d < width, other=0.0) * scale - mean, 0.0)
        mean += tl.sum(total, 0) / count
    total = tl.zeros((BLOCK,), ACC)
    for start in range(0, width, BLOCK):
        d = start + tl.arange(0, BLOCK)
        centred = tl.where(d < width, tl.load(wide + row + d, mask=d < width, other=0.0) * scale - mean, 0.0)
        total += centred * centred
    scaled, inverse = inverse_deviation(tl.sum(total, 0) / count, eps, scale)
    tl.store(rstd + tl.program_id(0), inverse)
    for start in range(0, width, BLOCK):
        d = start + tl.arange(0, BLOCK)
        y = (tl.load(wide + row + d, mask=d < width, other=0.0) * scale - mean) * scaled
        tl.store(out + row + d, y.to(out.dtype.element_ty), mask=d < width)
