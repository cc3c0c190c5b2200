"""Several steps: in one kernel call where no step in between is needed again, else one by one.

With M = r + p A+ + q A- the linear steps are closed under differentiation, like those of `autograd`:
    powers(x) = (M^K x, sum_k gamma_k M^k x)        gradient: powers on the transpose
A fixed residual R adds sum_{k<K} M^k r R to the first, now without r in M: its gradient is a `gamma` sum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import transforms
from .autograd import spmm
from .backends.interface import accumulation_dtype
from .dispatch import OpContext, lower_multi_step, requires_grad, run_multi_step, transposed


class Affine(NamedTuple):
    """The weight and bias of some features of a LayerNorm."""

    weight: Tensor
    bias: Tensor | None


def multi_step(
    op: OpContext,
    x: Tensor,
    residual: Tensor | None,
    coef: Tensor | None,
    num_steps: int,
    affine: torch.nn.LayerNorm | Affine | None,
) -> Tensor:
    """Return x after `num_steps` steps of `spmm`, `[n, d]`; `affine` scales and shifts the features after each."""
    if num_steps == 0:
        return x.clone()
    fused = num_steps > 1 and affine is None and not transforms.active()
    lowered = lower_multi_step(op, x, coef) if fused else None
    if lowered is not None and not requires_grad(x, residual, coef):
        return run_multi_step(op, lowered, x, residual, num_steps, None)[0]
    # A linear step with fixed coefficients needs nothing of its input in the backward pass.
    if lowered is not None and op.eps is None and coef is None:
        return _Powers.apply(op, lowered, num_steps, None, x, residual)[0]
    for _ in range(num_steps):
        x = spmm(op, x, residual, coef)
        if affine is not None:
            x = _affine(x, affine)
    return x


def _affine(x: Tensor, norm: torch.nn.LayerNorm | Affine) -> Tensor:
    """Return x scaled and shifted by the parameters of a LayerNorm, in the type of x."""
    wide = x.to(accumulation_dtype(x))
    weight = norm.weight.to(wide.dtype)
    out = wide * weight if norm.bias is None else torch.addcmul(norm.bias.to(wide.dtype), wide, weight)
    return out.to(x.dtype)


def _powers(op: OpContext, num_steps: int, gamma: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return (M^K x, sum_k gamma_k M^k x) without a fixed residual; the sum is None without gamma."""
    if not transforms.active():
        return _Powers.apply(op, lower_multi_step(op, x, None), num_steps, gamma, x, None)
    total = None if gamma is None else gamma[0].to(x.dtype) * x
    for k in range(num_steps):
        x = spmm(op, x)
        total = None if total is None else total + gamma[k + 1].to(x.dtype) * x  # type: ignore[index]
    return x, total


class _Powers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op, lowered, num_steps, gamma, x, residual):  # type: ignore[no-untyped-def]
        ctx.op, ctx.num_steps, ctx.gamma = op, num_steps, gamma
        ctx.set_materialize_grads(False)
        return run_multi_step(op, lowered, x, residual, num_steps, gamma)

    @staticmethod
    def backward(ctx, grad, grad_sum):  # type: ignore[no-untyped-def]
        op = transposed(ctx.op, None, None)
        dx = dres = None
        if grad is not None:
            gamma = None
            if ctx.needs_input_grad[5]:
                dtype = accumulation_dtype(grad)
                gamma = torch.full((ctx.num_steps + 1,), ctx.op.coefs[0], dtype=dtype, device=grad.device)
                gamma[-1] = 0.0
            dx, dres = _powers(op, ctx.num_steps, gamma, grad)
        if grad_sum is not None and ctx.gamma is not None:
            through_sum = _powers(op, ctx.num_steps, ctx.gamma, grad_sum)[1]
            dx = through_sum if dx is None else dx + through_sum
        return None, None, None, None, dx, dres if ctx.needs_input_grad[5] else None
