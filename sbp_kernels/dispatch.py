"""Lower one operation to a backend's kernels: which form of the graph they read, and with which coefficients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .backends.interface import Backend, Coefficients, KernelOperand, accumulation_dtype
from .graph import SignedGraph
from .merged_csr import MergedOperand

# The learnable edge weights, or x0, of both halves.
Weights = tuple[Tensor | None, Tensor | None]


class OpContext(NamedTuple):
    """What an operation needs besides the tensors that receive a gradient."""

    kernels: Backend
    graph: SignedGraph
    coefs: Coefficients = (0.0, 1.0, 1.0)
    # R is x itself; then its gradient is part of the same fused pass.
    own_residual: bool = False
    eps: float | None = None


class HalvesOperand(NamedTuple):
    """The positive and the negative half of a graph, and the coefficients (`coef` if given) to call them with."""

    pos: Any
    neg: Any
    coefs: Coefficients
    coef: Tensor | None


def lower(
    op: OpContext,
    x: Tensor,
    x_neg: Tensor | None = None,
    coef: Tensor | None = None,
    pos_weight: Tensor | None = None,
    neg_weight: Tensor | None = None,
) -> MergedOperand | HalvesOperand:
    """Return what the kernels read for one step: a merged CSR where the backend and the graph have one, else halves."""
    if x_neg is None and pos_weight is None and neg_weight is None and (merged := _merged(op, x, coef)) is not None:
        return merged
    pos, neg = operands(op, x, x if x_neg is None else x_neg, pos_weight, neg_weight)
    return HalvesOperand(pos, neg, op.coefs, coef)


def lower_multi_step(op: OpContext, x: Tensor, coef: Tensor | None) -> MergedOperand | HalvesOperand | None:
    """Return what one kernel call for K steps reads; None if the backend or a half needs one call per step."""
    if not hasattr(op.kernels, "signed_spmm_steps"):
        return None
    if (merged := _merged(op, x, coef)) is not None:
        return merged
    acc_dtype = accumulation_dtype(x)
    pos, neg = (
        _NO_HALF if half is None else half.multi_step_operand(acc_dtype) for half in (op.graph._pos, op.graph._neg)
    )
    return None if pos is None or neg is None else HalvesOperand(pos, neg, op.coefs, coef)


def _merged(op: OpContext, x: Tensor, coef: Tensor | None) -> MergedOperand | None:
    cache = op.graph.merged
    return None if cache is None else cache.find(accumulation_dtype(x), op.kernels, op.coefs, coef)


def run(
    op: OpContext,
    x: Tensor,
    x_neg: Tensor | None,
    residual: Tensor | None,
    coef: Tensor | None,
    pos_weight: Tensor | None,
    neg_weight: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Call the kernels for one step: r R + p A+ x + q A- x_neg `[n, d]`, and 1/std of each row under LayerNorm."""
    residual = x if op.own_residual else residual
    kernels, lowered = op.kernels, lower(op, x, x_neg, coef, pos_weight, neg_weight)
    if type(lowered) is MergedOperand:
        return kernels.merged_spmm(x, residual, *lowered, op.eps)  # type: ignore[attr-defined]
    rows, bins = op.graph._num_rows, op.graph.degree_bins(kernels)
    return kernels.signed_spmm(x, x_neg, residual, *lowered, rows, op.eps, bins)  # type: ignore[call-arg,arg-type]


def run_multi_step(
    op: OpContext,
    lowered: MergedOperand | HalvesOperand,
    x: Tensor,
    residual: Tensor | None,
    num_steps: int,
    gamma: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Call the kernels for K steps: x_K and sum_k gamma_k x_k."""
    kernels: Any = op.kernels
    residual = x if op.own_residual else residual
    given = (x, residual, op.own_residual, *lowered, op.eps, num_steps, gamma)
    if type(lowered) is MergedOperand:
        return kernels.merged_spmm_steps(*given)
    return kernels.signed_spmm_steps(*given, op.graph.degree_bins(kernels))


def operands(
    op: OpContext, x: Tensor, x_neg: Tensor, pos_weight: Tensor | None, neg_weight: Tensor | None
) -> tuple[KernelOperand | None, KernelOperand | None]:
    """Return both halves as the kernels read them, each with its learnable weights if given."""
    pos, neg, dtype = op.graph._pos, op.graph._neg, accumulation_dtype(x)
    return (
        None if pos is None else pos.operand(x, dtype, op.kernels, pos_weight),
        None if neg is None else neg.operand(x_neg, dtype, op.kernels, neg_weight),
    )


def transposed(op: OpContext, pos_weight: Tensor | None, neg_weight: Tensor | None) -> OpContext:
    """Return the same operation on the transposed graph, whose weights follow from the ones given."""
    # Without an own residual the transposed operation has none at all.
    graph = op.graph._with_temporary_weights(pos_weight, neg_weight).T
    return OpContext(op.kernels, graph, op.coefs, op.own_residual, op.eps)


def learnable_weights(graph: SignedGraph, x: Tensor) -> Weights:
    """Return the edge weights, or x0, of both halves that need a derivative, attached to their autograd graph."""
    if graph._weightless:
        return _NO_WEIGHTS
    pos, neg, dtype = graph._pos, graph._neg, accumulation_dtype(x)
    return (
        None if pos is None else pos.learnable_weight(dtype),
        None if neg is None else neg.learnable_weight(dtype),
    )


def requires_grad(*tensors: Tensor | None) -> bool:
    """Return whether autograd must record an operation of these tensors."""
    if torch.is_grad_enabled():
        # A loop: any() over a generator takes three times as long, which is measurable on small graphs.
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    return False


_NO_WEIGHTS: Weights = (None, None)
_NO_HALF = (None, None)
