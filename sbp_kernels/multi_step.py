"""Several steps: in one kernel call where no step in between is needed again, else one by one.

With M = r + p A+ + q A- the linear steps are closed under differentiation, like those of `autograd`:
    powers(x) = (M^K x, sum_k gamma_k M^k x)        gradient: powers on the transpose
A fixed residual R adds sum_{k<K} M^k r R to the first, now without r in M: its gradient is a `gamma` sum.
The gradient of a learnable gamma needs no state of the forward pass: <g, M^k x> = <(M^T)^k g, x>.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import transforms
from .autograd import spmm
from .backends.interface import accumulation_dtype
from .dispatch import OpContext, learnable_weights, lower_multi_step, requires_grad, run_multi_step, transposed


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
    gamma: Tensor | None = None,
    return_all: bool = False,
) -> Tensor:
    """Return X_K after K = `num_steps` steps of `spmm` from X_0 = x, `[n, d]`.

    With `gamma` `[K + 1]`, in the accumulation type, return sum_k gamma_k X_k; with `return_all` all X_k as
    `[K + 1, n, d]`.
    `affine` scales and shifts the features after each step.
    """
    fused = num_steps > (1 if gamma is None else 0) and affine is None and not return_all and not transforms.active()
    lowered = lower_multi_step(op, x, coef) if fused else None
    if lowered is not None and not requires_grad(x, residual, coef, gamma):
        return run_multi_step(op, lowered, x, residual, num_steps, gamma)[gamma is not None]
    # A linear step with fixed coefficients needs nothing of its input in the backward pass.
    linear = fused and op.eps is None and coef is None
    if linear and gamma is not None and requires_grad(gamma) and learnable_weights(op.graph, x) == (None, None):
        return _WeightedSum.apply(op, lowered, num_steps, gamma, x, residual)
    if linear and lowered is not None:
        return _Powers.apply(op, lowered, num_steps, gamma, x, residual)[gamma is not None]
    return _one_by_one(op, x, residual, coef, num_steps, affine, gamma, return_all)


def _one_by_one(
    op: OpContext,
    x: Tensor,
    residual: Tensor | None,
    coef: Tensor | None,
    num_steps: int,
    affine: torch.nn.LayerNorm | Affine | None,
    gamma: Tensor | None,
    return_all: bool,
) -> Tensor:
    """Return what `multi_step` does, from one call per step."""
    dtype, wide = x.dtype, accumulation_dtype(x)
    # A copy has memory: the product with a tensor of zeros that has none (`_efficientzerotensor`) has none either.
    states, total = [x], None if gamma is None else gamma[0] * x.to(wide, copy=num_steps == 0)
    if num_steps == 0 and gamma is None and not return_all:
        return x.clone()
    for k in range(1, num_steps + 1):
        x = spmm(op, x, residual, coef)
        x = x if affine is None else scale_and_shift(x, affine)
        if return_all:
            states.append(x)
        if total is not None:
            total = torch.addcmul(total, gamma[k], x.to(wide))  # type: ignore[index]
    return torch.stack(states) if return_all else x if total is None else total.to(dtype)


def scale_and_shift(x: Tensor, norm: torch.nn.LayerNorm | Affine) -> Tensor:
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
            if ctx.needs_input_grad[5]:
                through_sum = _powers(op, ctx.num_steps, _later(ctx.gamma, ctx.op.coefs[0]), grad_sum)[1]
                dres = through_sum if dres is None else dres + through_sum
        return None, None, None, None, dx, dres if ctx.needs_input_grad[5] else None


def _later(gamma: Tensor, r: float) -> Tensor:
    """Return r sum_{j>k} gamma_j for every k: how often a fixed residual that enters after step k is counted."""
    later = gamma[1:].flip(0).cumsum(0).flip(0)
    return torch.cat([r * later, gamma.new_zeros(1)])


class _WeightedSum(torch.autograd.Function):
    """sum_k gamma_k x_k of linear steps with fixed coefficients and weights, and a learnable gamma."""

    @staticmethod
    def forward(ctx, op, lowered, num_steps, gamma, x, residual):  # type: ignore[no-untyped-def]
        ctx.op, ctx.num_steps = op, num_steps
        ctx.save_for_backward(gamma, x, residual)
        if lowered is None:
            return _one_by_one(op, x, residual, None, num_steps, None, gamma, False)
        return run_multi_step(op, lowered, x, residual, num_steps, gamma)[1]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        gamma, x, residual = ctx.saved_tensors
        wide, r, op = accumulation_dtype(x), ctx.op.coefs[0], transposed(ctx.op, None, None)
        later = None if residual is None else _later(gamma, r)
        # z is (M^T)^k grad; `entered` is <z, r R> summed over the steps so far.
        z, entered, dgamma, dx, dres = grad, None, [], None, None
        for k in range(ctx.num_steps + 1):
            z = spmm(op, z) if k else z
            z_wide = z.to(wide)
            inner = (z_wide * x.to(wide)).sum()
            dgamma.append(inner if entered is None else inner + entered)
            dx = gamma[0] * z_wide if dx is None else torch.addcmul(dx, gamma[k], z_wide)
            if later is not None and k < ctx.num_steps:
                own = r * (z_wide * residual.to(wide)).sum()
                entered = own if entered is None else entered + own
                dres = later[0] * z_wide if dres is None else torch.addcmul(dres, later[k], z_wide)
        dres = None if dres is None else dres.to(x.dtype)
        return None, None, None, torch.stack(dgamma), dx.to(x.dtype), dres
