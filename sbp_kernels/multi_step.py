"""Several steps: in one call of the kernels where no step in between is needed again, else one by one.

With M = r + p A+ + q A- the linear steps are closed under differentiation, like those of `autograd`:
    powers(x) = (M^K x, sum_k gamma_k M^k x)        gradient: powers on the transpose
A fixed residual R adds sum_{k<K} M^k r R to the first, now without r in M: its gradient is a `gamma` sum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import transforms
from .autograd import spmm
from .dispatch import Call, acc_dtype, flip, takes_gradient
from .merged_csr import merged


def steps(
    call: Call,
    x: Tensor,
    residual: Tensor | None,
    coef: Tensor | None,
    num_steps: int,
    affine: torch.nn.LayerNorm | None,
) -> Tensor:
    """x after `num_steps` steps of `spmm`: `[n, d]`; `affine` scales and shifts the features after each."""
    if num_steps == 1 and affine is None:
        return spmm(call, x, residual, coef)
    if num_steps == 0:
        return x.clone()
    fused = num_steps > 1 and affine is None and not transforms.active()
    summary = _summarised(call, x, coef) if fused else None
    if summary is not None and not takes_gradient(x, residual, coef):
        return _run(call, summary, x, residual, coef, num_steps, None)[0]
    # A linear step with fixed coefficients needs nothing of its input in the backward pass.
    if summary is not None and call.eps is None and coef is None:
        return _Powers.apply(call, num_steps, None, x, residual)[0]
    for _ in range(num_steps):
        x = spmm(call, x, residual, coef)
        if affine is not None:
            x = _affine(x, affine)
    return x


def _affine(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    """x scaled and shifted by the parameters of a LayerNorm, in the type of x."""
    wide = x.to(acc_dtype(x))
    weight, bias = (None if part is None else part.to(wide.dtype) for part in (norm.weight, norm.bias))
    return (wide * weight if bias is None else torch.addcmul(bias, wide, weight)).to(x.dtype)


def _powers(call: Call, num_steps: int, gamma: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """(M^K x, sum_k gamma_k M^k x) of a call without a fixed residual; the sum is None without gamma."""
    if not transforms.active():
        return _Powers.apply(call, num_steps, gamma, x, None)
    total = None if gamma is None else gamma[0].to(x.dtype) * x
    for k in range(num_steps):
        x = spmm(call, x)
        total = None if total is None else total + gamma[k + 1].to(x.dtype) * x  # type: ignore[index]
    return x, total


class _Powers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, call, num_steps, gamma, x, residual):  # type: ignore[no-untyped-def]
        ctx.call, ctx.num_steps, ctx.gamma = call, num_steps, gamma
        ctx.set_materialize_grads(False)
        return _run(call, _summarised(call, x), x, residual, None, num_steps, gamma)

    @staticmethod
    def backward(ctx, grad, grad_sum):  # type: ignore[no-untyped-def]
        call: Call = flip(ctx.call, None, None)
        dx = dres = None
        if grad is not None:
            gamma = None
            if ctx.needs_input_grad[4]:
                gamma = torch.full((ctx.num_steps + 1,), ctx.call.coefs[0], dtype=acc_dtype(grad), device=grad.device)
                gamma[-1] = 0.0
            dx, dres = _powers(call, ctx.num_steps, gamma, grad)
        if grad_sum is not None and ctx.gamma is not None:
            through_sum = _powers(call, ctx.num_steps, ctx.gamma, grad_sum)[1]
            dx = through_sum if dx is None else dx + through_sum
        return None, None, None, dx, dres if ctx.needs_input_grad[4] else None


def _summarised(call: Call, x: Tensor, coef: Tensor | None = None) -> Any:
    """Both halves and (r, p, q) for `signed_spmm_steps`, or None where backend or halves need a call a step."""
    if not hasattr(call.kernels, "signed_spmm_steps"):
        return None
    both = merged(call.graph, acc_dtype(x), call.kernels, call.coefs, coef)
    if both is not None:
        return both
    halves = [_NO_HALF if half is None else half.summarised(acc_dtype(x)) for half in (call.graph.pos, call.graph.neg)]
    return None if any(half is None for half in halves) else (halves, call.coefs)


def _run(
    call: Call,
    summary: Any,
    x: Tensor,
    residual: Tensor | None,
    coef: Tensor | None,
    num_steps: int,
    gamma: Tensor | None,
) -> tuple[Tensor, Tensor]:
    plan, own = call.graph.plan(call.kernels), call.own_residual
    return call.kernels.signed_spmm_steps(x, residual, own, *summary, coef, call.eps, num_steps, gamma, plan)


_NO_HALF = (None, None)
