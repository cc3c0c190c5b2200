"""One call of a backend's kernels: what it needs, and how a graph's halves reach them."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from .graph import SignedGraph
from .merged_csr import Coefs, merged
from .backends.interface import Term

Weights = tuple[Tensor | None, Tensor | None]


class Call(NamedTuple):
    """What an operation needs besides tensors that take a gradient."""

    kernels: ModuleType
    graph: SignedGraph
    coefs: Coefs = (0.0, 1.0, 1.0)
    # R is x itself: then its gradient is part of the same fused pass.
    own_residual: bool = False
    eps: float | None = None


def acc_dtype(x: Tensor) -> torch.dtype:
    """The type sums run in: float64 for float64 features, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def takes_gradient(*tensors: Tensor | None) -> bool:
    if torch.is_grad_enabled():
        # A loop: any() over a generator takes three times as long, which a small graph feels.
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def run(
    call: Call,
    x: Tensor,
    x_neg: Tensor | None,
    residual: Tensor | None,
    coef: Tensor | None,
    pos_weight: Tensor | None,
    neg_weight: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    residual = x if call.own_residual else residual
    if x_neg is None and pos_weight is None and neg_weight is None:
        both = merged(call.graph, acc_dtype(x), call.kernels, call.coefs, coef)
        if both is not None:
            return call.kernels.merged_spmm(x, residual, *both, call.eps)
    pos, neg = terms_of(call, x, x if x_neg is None else x_neg, pos_weight, neg_weight)
    plan = call.graph.plan(call.kernels)
    return call.kernels.signed_spmm(
        x, x_neg, residual, pos, neg, call.coefs, coef, call.graph._num_rows, call.eps, plan
    )


def flip(call: Call, pos_weight: Tensor | None, neg_weight: Tensor | None) -> Call:
    """The same operation on the transposed graph, whose weights follow from the ones given."""
    # Without an own residual the transposed operation has none at all.
    graph = call.graph._for_one_use(pos_weight, neg_weight).T
    return Call(call.kernels, graph, call.coefs, call.own_residual, call.eps)


def learnt_weights(graph: SignedGraph, x: Tensor) -> Weights:
    """What learns in both halves, edge weights or x0, still attached to its autograd graph."""
    if graph._weightless:
        return _NO_WEIGHTS
    pos, neg, dtype = graph._pos, graph._neg, acc_dtype(x)
    return (
        None if pos is None else pos.learnt_weight(dtype),
        None if neg is None else neg.learnt_weight(dtype),
    )


def terms_of(
    call: Call, x: Tensor, x_neg: Tensor, pos_weight: Tensor | None, neg_weight: Tensor | None
) -> tuple[Term | None, Term | None]:
    pos, neg, dtype = call.graph.pos, call.graph.neg, acc_dtype(x)
    return (
        None if pos is None else pos.term(x, dtype, call.kernels, pos_weight),
        None if neg is None else neg.term(x_neg, dtype, call.kernels, neg_weight),
    )


_NO_WEIGHTS: Weights = (None, None)
