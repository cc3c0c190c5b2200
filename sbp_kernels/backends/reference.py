"""Plain torch, on any device: the oracle of the tests, and what runs where nothing was compiled.

Shapes: n rows, m columns, d features, E edges. Sums run in float64 for float64 input, else float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .interface import accumulation_dtype, is_zero, unsupported_dtype


def unsupported(x: Tensor) -> str | None:
    return unsupported_dtype(x)


def degree_bins(pos: Tensor | None, neg: Tensor | None) -> None:
    """Return None: plain torch uses no bins."""


def signed_spmm(
    x: Tensor,
    x_neg: Tensor | None,
    residual: Tensor | None,
    pos: Any,
    neg: Any,
    coefs: tuple[float, float, float],
    coef: Tensor | None,
    num_rows: int,
    eps: float | None,
    bins: Any = None,
) -> tuple[Tensor, Tensor | None]:
    """Return r R + p A+ x + q A- x_neg, then LayerNorm if `eps` is given, `[n, d]`, and 1/std of each row."""
    r, p, q = coefs if coef is None else coef.unbind()
    y = x.new_zeros(num_rows, x.size(1), dtype=accumulation_dtype(x))
    for factor, half, source in ((p, pos, x), (q, neg, x if x_neg is None else x_neg)):
        if not is_zero(factor):
            y = y + _scaled(factor, _spmm(half, source, num_rows))
    if residual is not None and not is_zero(r):
        y = y + _scaled(r, residual.to(y.dtype))
    if eps is None:
        return y.to(x.dtype), None
    normed, rstd = standardized(y, eps)
    return normed.to(x.dtype), rstd.to(y.dtype)


def signed_pair(x: Tensor, pos: Any, neg: Any, num_rows: int, bins: Any = None) -> tuple[Tensor, Tensor]:
    """Return (A+ x, A- x), each `[n, d]`."""
    return _spmm(pos, x, num_rows).to(x.dtype), _spmm(neg, x, num_rows).to(x.dtype)


def signed_dot(y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any, bins: Any = None) -> Tensor:
    """Return (<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    wide = y.to(accumulation_dtype(y))
    own = wide.new_zeros(()) if residual is None else (wide * residual).sum()
    return torch.stack([own, *((wide * _spmm(half, x, y.size(0))).sum() for half in (pos, neg))])


def edge_dot(a: Tensor, b: Tensor, operand: Any) -> Tensor:
    """Return row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, `[E]`."""
    row, col = _rows(operand), operand.col.long()
    wide = accumulation_dtype(a)
    dot = (a[row].to(wide) * b[col].to(wide)).sum(1)
    if operand.row_scale is not None:
        dot = dot * operand.row_scale[row]
    if operand.col_scale is not None:
        dot = dot * operand.col_scale[col]
    return dot


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Sum of x over each group, `[num_groups, d]`."""
    size = segptr[group_segptr].diff()
    group = torch.repeat_interleave(torch.arange(size.numel(), device=x.device), size, output_size=order.numel())
    sums = x.new_zeros(size.numel(), x.size(1), dtype=accumulation_dtype(x))
    return sums.index_add(0, group, x[order.long()].to(sums.dtype))


def mix_groups(block: Tensor, sums: Tensor) -> Tensor:
    """Return block `[rows, num_groups]` @ sums, `[rows, d]`."""
    return block @ sums


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """Return log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    x0 = x0.to(accumulation_dtype(x0))
    return torch.logsumexp(scale * (x0 @ x0.T), dim=1)


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """Return softmax(scale x0 x0^T) x, or its transpose times x, `[n, d]`."""
    x0 = x0.to(accumulation_dtype(x0))
    logits = scale * (x0 @ x0.T)
    weight = torch.exp(logits - (lse[None, :] if transposed else lse[:, None]))
    return weight @ x.to(weight.dtype)


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T), `[n, width]`."""
    x0, a, b = (t.to(lse.dtype) for t in (x0, a, b))
    weight = torch.exp(scale * (x0 @ x0.T) - lse[:, None])
    dot = a @ b.T
    logit = weight * (dot - (weight * dot).sum(1, keepdim=True))
    return scale * ((logit + logit.T) @ x0)


def standardized(y: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return (y - mean) / sqrt(variance + eps) of each row, and 1 / sqrt(variance + eps), in float64.

    It is differentiable in every mode: reverse over forward mode of torch's own LayerNorm (2.13) is wrong.
    Rows are scaled by powers of two, so that their squares neither overflow nor vanish, and the mean is corrected
    once, so that the variance of a constant row is exactly 0.
    """
    exact = y.double()
    # One 0 more: rows without features have a largest number as well.
    most = torch.nn.functional.pad(exact.detach().abs(), (0, 1)).amax(1, keepdim=True).clamp(min=math.sqrt(eps))
    scale = torch.exp2(-most.clamp(2.0**-1000, 2.0**1000).log2().floor())
    exact = exact * scale
    mean = exact.mean(1, keepdim=True)
    mean = mean + (exact - mean).mean(1, keepdim=True)
    rstd = ((exact - mean).square().mean(1, keepdim=True) + (math.sqrt(eps) * scale).square()).rsqrt()
    return (exact - mean) * rstd, (rstd * scale).squeeze(1)


def _scaled(factor: Any, part: Tensor) -> Tensor:
    """Return factor * part, with 0 where a tensor of coefficients has a 0, as 0 * inf would be NaN."""
    scaled = factor * part
    return torch.where(factor == 0.0, torch.zeros_like(scaled), scaled) if isinstance(factor, Tensor) else scaled


def _rows(operand: Any) -> Tensor:
    degree = operand.rowptr.diff()
    rows = torch.arange(degree.numel(), device=degree.device)
    return torch.repeat_interleave(rows, degree, output_size=operand.col.numel())


def _spmm(operand: Any, x: Tensor, num_rows: int) -> Tensor:
    """Return A x of one adjacency in the accumulation type; zeros for an absent one."""
    wide = accumulation_dtype(x)
    out = x.new_zeros(num_rows, x.size(1), dtype=wide)
    if operand is None:
        return out
    if operand.table is not None:
        return operand.table if operand.group is None else operand.table[operand.group]
    row, col = _rows(operand), operand.col.long()
    message = x.index_select(0, col).to(wide)
    # The factors of an edge first, as the kernels do: normalized weights of 1e41 are small, features times them not.
    factor = operand.weight
    for scale, index in ((operand.row_scale, row), (operand.col_scale, col)):
        if scale is not None:
            factor = scale.index_select(0, index) if factor is None else factor * scale.index_select(0, index)
    return out.index_add(0, row, message if factor is None else message * factor[:, None])
