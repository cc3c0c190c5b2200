"""Four linear operations that are closed under differentiation, so every order of gradient exists.

With A+ and A- the two halves of a signed graph:
    spmm(x, x', R; r, p, q) = r R + p A+ x + q A- x'        gradient: pair on the transpose, dot, weight_grad
    pair(x)                 = (A+ x, A- x)                  gradient: spmm on the transpose, weight_grad
    dot(y, x, R)            = (<y,R>, <y,A+ x>, <y,A- x>)   gradient: spmm, weight_grad
    weight_grad(a, b)       = <a_i, b_j> on the edges       gradient: spmm with those weights
Edge weights travel beside the graph, because autograd sees only a Function's own tensor arguments. So does
the x0 of a `Similarity` that requires a gradient. Forward mode and `torch.func` take the operations of `composed`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import composed, transforms
from .adjacency.similarity import Similarity
from .dispatch import OpContext, Weights, learnable_weights, operands, requires_grad, run, transposed
from .graph import SignedGraph


def spmm(
    op: OpContext,
    x: Tensor,
    residual: Tensor | None = None,
    coef: Tensor | None = None,
    *,
    x_neg: Tensor | None = None,
    weights: Weights | None = None,
) -> Tensor:
    """Return r R + p A+ x + q A- x_neg, `[n, d]`; with `op.eps`, each row standardized (LayerNorm)."""
    if transforms.active():
        return composed.spmm(op, x, residual, coef, x_neg=x_neg, weights=weights)
    pos_weight, neg_weight = learnable_weights(op.graph, x) if weights is None else weights
    if not requires_grad(x, x_neg, residual, coef, pos_weight, neg_weight):
        return run(op, x, x_neg, residual, coef, pos_weight, neg_weight)[0]
    if op.eps is None and x_neg is residual is coef is pos_weight is neg_weight is None:
        return _Linear.apply(op, x)
    out = _Spmm.apply(op, x, x_neg, residual, coef, pos_weight, neg_weight)
    return out if op.eps is None else out[0]


def pair(op: OpContext, x: Tensor, weights: Weights | None = None) -> tuple[Tensor, Tensor]:
    """Return (A+ x, A- x), each `[n, d]`."""
    if transforms.active():
        return composed.pair(op, x, weights)
    both = learnable_weights(op.graph, x) if weights is None else weights
    return _Pair.apply(op, x, *both)


def _dot(op: OpContext, y: Tensor, x: Tensor, residual: Tensor | None, *weights: Tensor | None) -> Tensor:
    """Return (<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    return (composed.dot if transforms.active() else _Dot.apply)(op, y, x, residual, *weights)


def _weight_grad(kernels: Any, half: Any, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of <a, A b> with respect to edge weights or x0, given as `weight`."""
    return (composed.edge_grad if transforms.active() else _WeightGrad.apply)(kernels, half, weight, a, b)


class _Linear(torch.autograd.Function):
    """`_Spmm` of x alone: nothing to save, and a third less to do around a small kernel."""

    @staticmethod
    def forward(ctx, op, x):  # type: ignore[no-untyped-def]
        ctx.op = op
        return run(op, x, None, None, None, None, None)[0]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return None, spmm(transposed(ctx.op, None, None), grad)


class _Spmm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op, x, x_neg, residual, coef, pos_weight, neg_weight):  # type: ignore[no-untyped-def]
        y, rstd = run(op, x, x_neg, residual, coef, pos_weight, neg_weight)
        ctx.op, ctx.has_x_neg = op, x_neg is not None
        # A linear step with fixed coefficients and weights saves nothing.
        saves = any(ctx.needs_input_grad[4:])
        normed = op.eps is not None
        # Without zeros for the gradient of 1/std, which only derivatives of second order have.
        ctx.set_materialize_grads(not normed)
        ctx.save_for_backward(
            x if saves else None,
            x_neg if saves else None,
            residual if saves else None,
            coef,
            pos_weight,
            neg_weight,
            y if normed else None,
            rstd if normed else None,
        )
        return (y, rstd) if normed else y

    @staticmethod
    def backward(ctx, grad, grad_rstd=None):  # type: ignore[no-untyped-def]
        x, x_neg, residual, coef, pos_weight, neg_weight, y, rstd = ctx.saved_tensors
        op: OpContext = ctx.op
        _, needs_x, _, needs_residual, needs_coef, needs_pos, needs_neg = ctx.needs_input_grad
        dtype = y.dtype if grad is None else grad.dtype
        if op.eps is not None:
            grad = _layer_norm_backward(grad, grad_rstd, y, rstd)
            # Before standardization gradients are larger by 1/std, which float16 may not hold.
            grad = grad if dtype == torch.float16 else grad.to(dtype)
            x, x_neg, residual = (None if t is None else t.to(grad.dtype) for t in (x, x_neg, residual))
        r, p, q = op.coefs if coef is None else coef.unbind()
        plain = op if op.eps is None else op._replace(eps=None)
        dx = dx_neg = dres = dcoef = dpos = dneg = None
        if ctx.has_x_neg:
            # Without the coefficients, which the gradient of `pair` must not have.
            apart = OpContext(op.kernels, op.graph)
            dx, dx_neg = pair(transposed(apart, pos_weight, neg_weight), grad)
            dx, dx_neg = (p * dx).to(dtype), (q * dx_neg).to(dtype)
        elif needs_x:
            dx = spmm(transposed(plain, pos_weight, neg_weight), grad, coef=coef).to(dtype)
        if needs_residual:
            dres = (r * grad).to(dtype)
        if needs_coef:
            dcoef = _dot(plain, grad, x, residual, pos_weight, neg_weight)
            if ctx.has_x_neg:
                of_x_neg = _dot(plain, grad, x_neg, None, pos_weight, neg_weight)
                dcoef = torch.cat([dcoef[:2], of_x_neg[2:]])
        if needs_pos:
            dpos = p * _weight_grad(op.kernels, op.graph.pos, pos_weight, grad, x)
        if needs_neg:
            dneg = q * _weight_grad(op.kernels, op.graph.neg, neg_weight, grad, x_neg if ctx.has_x_neg else x)
        return None, dx, dx_neg, dres, dcoef, dpos, dneg


class _Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op, x, pos_weight, neg_weight):  # type: ignore[no-untyped-def]
        pos, neg = operands(op, x, x, pos_weight, neg_weight)
        ctx.op = op
        ctx.save_for_backward(x if any(ctx.needs_input_grad[2:]) else None, pos_weight, neg_weight)
        return op.kernels.signed_pair(x, pos, neg, op.graph.num_rows, op.graph.degree_bins(op.kernels))

    @staticmethod
    def backward(ctx, grad_pos, grad_neg):  # type: ignore[no-untyped-def]
        x, pos_weight, neg_weight = ctx.saved_tensors
        op: OpContext = ctx.op
        _, needs_x, needs_pos, needs_neg = ctx.needs_input_grad
        dx = dpos = dneg = None
        if needs_x:
            dx = spmm(transposed(op, pos_weight, neg_weight), grad_pos, x_neg=grad_neg)
        if needs_pos:
            dpos = _weight_grad(op.kernels, op.graph.pos, pos_weight, grad_pos, x)
        if needs_neg:
            dneg = _weight_grad(op.kernels, op.graph.neg, neg_weight, grad_neg, x)
        return None, dx, dpos, dneg


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op, y, x, residual, pos_weight, neg_weight):  # type: ignore[no-untyped-def]
        pos, neg = operands(op, x, x, pos_weight, neg_weight)
        ctx.op = op
        ctx.save_for_backward(y, x, residual, pos_weight, neg_weight)
        residual = x if op.own_residual else residual
        return op.kernels.signed_dot(y, x, residual, pos, neg, op.graph.degree_bins(op.kernels))

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        y, x, residual, pos_weight, neg_weight = ctx.saved_tensors
        op: OpContext = ctx.op
        _, needs_y, needs_x, needs_residual, needs_pos, needs_neg = ctx.needs_input_grad
        dy = dx = dres = dpos = dneg = None
        if needs_y:
            dy = spmm(op, x, residual, grad, weights=(pos_weight, neg_weight))
        if needs_x:
            dx = spmm(transposed(op, pos_weight, neg_weight), y, coef=grad)
        if needs_residual:
            dres = (grad[0] * y).to(y.dtype)
        if needs_pos:
            dpos = grad[1] * _weight_grad(op.kernels, op.graph.pos, pos_weight, y, x)
        if needs_neg:
            dneg = grad[2] * _weight_grad(op.kernels, op.graph.neg, neg_weight, y, x)
        return None, dy, dx, dres, dpos, dneg


class _WeightGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernels, half, weight, a, b):  # type: ignore[no-untyped-def]
        ctx.kernels, ctx.half = kernels, half
        ctx.save_for_backward(a, b, weight if isinstance(half, Similarity) else None)
        return half.weight_grad(weight, a, b, kernels)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        a, b, weight = ctx.saved_tensors
        if weight is not None:
            return None, None, *composed.edge_grad_backward(ctx.half, weight, a, b, grad)
        op = OpContext(ctx.kernels, SignedGraph(ctx.half._with_weight(grad)), (0.0, 1.0, 0.0))
        needs_a, needs_b = ctx.needs_input_grad[3:]
        da = spmm(op, b, weights=(grad, None)) if needs_a else None
        db = spmm(transposed(op, grad, None), a) if needs_b else None
        return None, None, None, da, db


def _layer_norm_backward(grad: Tensor | None, grad_rstd: Tensor | None, y: Tensor, rstd: Tensor) -> Tensor:
    """Return the gradient before LayerNorm, from its rows y and their 1/std, in the accumulation type.

    `grad_rstd`, the gradient of 1/std, is None except in derivatives of second order; `grad` may be None there.
    """
    y_wide, scale = y.to(rstd.dtype), rstd[:, None]
    g = torch.zeros_like(y_wide) if grad is None else grad.to(rstd.dtype)
    before = scale * (g - g.mean(1, keepdim=True) - y_wide * (g * y_wide).mean(1, keepdim=True))
    if grad_rstd is None:
        return before
    # Not times the square of 1/std: that of a row of 1e-20 overflows.
    return before - (grad_rstd * rstd / max(y.size(1), 1) * rstd)[:, None] * y_wide
