"""Propagation out of two differentiable products: for forward mode and `torch.func`, where one fused pass has no rule.

    product(half, x, w)      = A x                     derivative: product of the tangents; transposed product
    edge_grad(half, w, a, b) = d<a, A b> / dw          derivative: products with the tangents for weights

Everything else (coefficients, residual, LayerNorm, several steps) is made of torch's own operations, which know every
transform. Kernels are those of the chosen backend, and no message is stored; the sums of a step go through memory
once more than in the fused pass. Sums stay in the accumulation type until a step's result is stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .adjacency.csr import CSR
from .adjacency.similarity import MAX_DENSE, Similarity, softmax_matrix
from .backends.interface import Backend, accumulation_dtype, is_zero
from .backends.reference import standardized
from .dispatch import OpContext, Weights, learnable_weights
from .transforms import full_precision, outside

_UNIT = (0.0, 1.0, 0.0)


def spmm(
    op: OpContext,
    x: Tensor,
    residual: Tensor | None,
    coef: Tensor | None,
    *,
    x_neg: Tensor | None = None,
    weights: Weights | None = None,
) -> Tensor:
    """Return r R + p A+ x + q A- x_neg, then LayerNorm if `op.eps` is given, `[n, d]`, in the type of x."""
    dtype, wide = x.dtype, accumulation_dtype(x)
    residual = x if op.own_residual else residual
    pos_weight, neg_weight = learnable_weights(op.graph, x) if weights is None else weights
    r, p, q = op.coefs if coef is None else coef.unbind()
    parts = [] if residual is None or is_zero(r) else [_scaled(r, residual.to(wide))]
    sources = ((p, op.graph.pos, x, pos_weight), (q, op.graph.neg, x if x_neg is None else x_neg, neg_weight))
    for factor, half, source, weight in sources:
        if half is not None and not is_zero(factor):
            parts.append(_scaled(factor, product(op.kernels, half, source.to(wide), weight)))
    y = sum(parts[1:], parts[0]) if parts else x.new_zeros(op.graph.num_rows, x.size(1), dtype=wide)
    if op.eps is not None and y.size(1) > 0:
        y = standardized(y, op.eps)[0]
    return y.to(dtype)


def pair(op: OpContext, x: Tensor, weights: Weights | None = None) -> tuple[Tensor, Tensor]:
    """Return (A+ x, A- x), each `[n, d]`."""
    both = learnable_weights(op.graph, x) if weights is None else weights
    parts = []
    for half, weight in zip((op.graph.pos, op.graph.neg), both, strict=True):
        if half is None:
            parts.append(x.new_zeros(op.graph.num_rows, x.size(1)))
        else:
            parts.append(product(op.kernels, half, x.to(accumulation_dtype(x)), weight).to(x.dtype))
    return parts[0], parts[1]


def dot(
    op: OpContext, y: Tensor, x: Tensor, residual: Tensor | None, pos_weight: Tensor | None, neg_weight: Tensor | None
) -> Tensor:
    """Return (<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    wide = accumulation_dtype(x)
    y, x, residual = y.to(wide), x.to(wide), x if op.own_residual else residual
    own = y.new_zeros(()) if residual is None else (y * residual.to(wide)).sum()
    halves = ((op.graph.pos, pos_weight), (op.graph.neg, neg_weight))
    both = [y.new_zeros(()) if h is None else (y * product(op.kernels, h, x, w)).sum() for h, w in halves]
    return torch.stack([own, *both])


def product(kernels: Backend, half: Any, x: Tensor, weight: Tensor | None) -> Tensor:
    """Return A x of one adjacency, with `weight` (edge weights or x0) where it needs a derivative, `[n, d]`."""
    return _Product.apply(kernels, half, x, weight)


def edge_grad(kernels: Backend, half: Any, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of <a, A b> with respect to `weight`: edge weights `[num_edges]` or x0 `[n, width]`."""
    if isinstance(half, Similarity):
        return _dense_gradient(half, weight, a, b)
    return _EdgeGrad.apply(kernels, half, weight, a, b)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(kernels, half, x, weight):  # type: ignore[no-untyped-def]
        term = half.operand(x, accumulation_dtype(x), kernels, weight)
        return kernels.signed_spmm(
            x, None, None, term, None, _UNIT, None, half.num_rows, None, _degree_bins(kernels, half)
        )[0]

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        ctx.kernels, ctx.half, x, weight = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        _, _, needs_x, needs_weight = ctx.needs_input_grad
        dx = dweight = None
        if needs_x:
            transposed, other = ctx.half.transpose_with(weight)
            dx = product(ctx.kernels, transposed, grad, other)
        if needs_weight:
            dweight = edge_grad(ctx.kernels, ctx.half, weight, grad, x)
        return None, None, dx, dweight

    @staticmethod
    def jvp(ctx, kernels_t, half_t, x_t, weight_t):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        parts = [] if x_t is None else [product(ctx.kernels, ctx.half, x_t, weight)]
        if weight_t is not None:
            if isinstance(ctx.half, Similarity):
                parts.append(_dense_tangent(ctx.half, weight, weight_t, x))
            else:
                parts.append(product(ctx.kernels, ctx.half, x, weight_t))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    @staticmethod
    def vmap(info, in_dims, kernels, half, x, weight):  # type: ignore[no-untyped-def]
        _, _, x_dim, weight_dim = in_dims
        if weight_dim is not None:
            pairs = zip(_entries(x, x_dim, info), _entries(weight, weight_dim, info), strict=True)
            return torch.stack([product(kernels, half, *pair) for pair in pairs]), 0
        # A batch of features is more features.
        nodes_first = x.movedim(x_dim, 1)
        num_nodes, batch, width = nodes_first.shape
        y = product(kernels, half, nodes_first.reshape(num_nodes, batch * width), weight)
        return y.view(half.num_rows, batch, width), 1


class _EdgeGrad(torch.autograd.Function):
    @staticmethod
    def forward(kernels, half, weight, a, b):  # type: ignore[no-untyped-def]
        return half.weight_grad(weight, a, b, kernels)

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        ctx.kernels, ctx.half, weight, a, b = inputs
        ctx.shape = weight.shape
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        a, b = ctx.saved_tensors
        needs_a, needs_b = ctx.needs_input_grad[3:]
        da = product(ctx.kernels, ctx.half, b, grad) if needs_a else None
        db = None
        if needs_b:
            transposed, other = ctx.half.transpose_with(grad)
            db = product(ctx.kernels, transposed, a, other)
        return None, None, None, da, db

    @staticmethod
    def jvp(ctx, kernels_t, half_t, weight_t, a_t, b_t):  # type: ignore[no-untyped-def]
        a, b = ctx.saved_tensors
        pairs = [(x, y) for x, y in ((a_t, b), (a, b_t)) if x is not None and y is not None]
        # It does not depend on the weights themselves.
        parts = [_EdgeGrad.apply(ctx.kernels, ctx.half, a.new_zeros(ctx.shape), *pair) for pair in pairs]
        return sum(parts[1:], parts[0]) if parts else a.new_zeros(ctx.shape)

    @staticmethod
    def vmap(info, in_dims, kernels, half, weight, a, b):  # type: ignore[no-untyped-def]
        columns = [_entries(t, dim, info) for t, dim in zip((weight, a, b), in_dims[2:], strict=True)]
        return torch.stack([_EdgeGrad.apply(kernels, half, *one) for one in zip(*columns, strict=True)]), 0


def _dense_gradient(half: Similarity, x0: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the gradient of <a, P b> (or of <a, P^T b>) with respect to x0, in differentiable torch operations."""
    _check_dense(half)
    wide = torch.promote_types(x0.dtype, accumulation_dtype(a))
    a, b = (b, a) if half.transposed else (a, b)
    with full_precision(a):
        return _dense_gradient_of(half, x0.to(wide), a.to(wide), b.to(wide)).to(x0.dtype)


def _dense_gradient_of(half: Similarity, x0: Tensor, a: Tensor, b: Tensor) -> Tensor:
    weight, inner = softmax_matrix(x0, half.scale), a @ b.T
    logit = weight * (inner - (weight * inner).sum(1, keepdim=True))
    return half.scale.to(x0.dtype) * ((logit + logit.T) @ x0)


def _dense_tangent(half: Similarity, x0: Tensor, x0_t: Tensor, x: Tensor) -> Tensor:
    """Return the tangent of P x (or of P^T x) along the tangent of x0, in differentiable torch operations."""
    _check_dense(half)
    wide = torch.promote_types(x0.dtype, accumulation_dtype(x))
    own, along = x0.to(wide), x0_t.to(wide)
    with full_precision(x):
        weight, half_logit = softmax_matrix(own, half.scale), along @ own.T
        logit = half.scale.to(wide) * (half_logit + half_logit.T)
        tangent = weight * (logit - (weight * logit).sum(1, keepdim=True))
        return ((tangent.T if half.transposed else tangent) @ x.to(wide)).to(accumulation_dtype(x))


def edge_grad_backward(half: Similarity, x0: Tensor, a: Tensor, b: Tensor, grad: Tensor) -> list[Tensor | None]:
    """Return the gradients of <grad, d<a, P b> / dx0> with respect to x0, a, b; differentiable in grad mode."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that a path from x0 through a or b, which depend on it, is not followed here.
        inputs = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in (x0, a, b)]
        first = _dense_gradient(half, *inputs)
        return list(torch.autograd.grad(first, inputs, grad, create_graph=again))


def _check_dense(half: Similarity) -> None:
    """Raise NotImplementedError where a derivative would hold too large a matrix of all pairs of nodes."""
    if half.num_nodes > MAX_DENSE:
        raise NotImplementedError(
            "derivatives of x0 of second order or in forward mode hold n x n matrices: "
            f"implemented up to {MAX_DENSE} nodes, got {half.num_nodes}"
        )


def _degree_bins(kernels: Backend, half: Any) -> Any:
    with outside():
        return kernels.degree_bins(half.pattern._rowptr if isinstance(half, CSR) else None, None)


def _scaled(factor: Any, part: Tensor) -> Tensor:
    """Return factor * part, with 0 where the factor is 0: a part whose coefficient is 0 is not read."""
    if isinstance(factor, Tensor):
        part = torch.where((factor == 0.0) & ~part.isfinite(), 0.0, part)
    return factor * part


def _entries(tensor: Tensor | None, dim: int | None, info: Any) -> list[Any]:
    """Return what each entry of a batch takes of an argument, batched or not."""
    return [tensor] * info.batch_size if tensor is None or dim is None else list(tensor.unbind(dim))
