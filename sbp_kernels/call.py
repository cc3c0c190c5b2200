"""One call of a backend's kernels: what it needs, and how a graph's halves reach them."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from .graph import Adjacency, SignedGraph
from .term import Term

Coefs = tuple[float, float, float]
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


def takes_gradient(x: Tensor, *others: Tensor | None) -> bool:
    if not torch.is_grad_enabled():
        return False
    return x.requires_grad or any(other is not None and other.requires_grad for other in others)


def run(
    call: Call,
    x: Tensor,
    x_neg: Tensor | None,
    residual: Tensor | None,
    coef: Tensor | None,
    pos_weight: Tensor | None,
    neg_weight: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    pos, neg = terms_of(call, x, x if x_neg is None else x_neg, pos_weight, neg_weight)
    residual = x if call.own_residual else residual
    plan = call.graph.plan(call.kernels)
    return call.kernels.signed_spmm(x, x_neg, residual, pos, neg, call.coefs, coef, call.graph.num_rows, call.eps, plan)


def flip(call: Call, pos_weight: Tensor | None, neg_weight: Tensor | None) -> Call:
    """The same operation on the transposed graph, whose weights follow from the ones given."""
    graph = call.graph.with_weights(pos_weight, neg_weight).T
    # Without an own residual the transposed operation has none at all.
    coefs = call.coefs if call.own_residual else (0.0, *call.coefs[1:])
    return Call(call.kernels, graph, coefs, call.own_residual, call.eps)


def learnt_weights(graph: SignedGraph, x: Tensor) -> Weights:
    """What learns in both halves, edge weights or x0, still attached to its autograd graph."""
    pos, neg = graph.pos, graph.neg
    return (
        None if pos is None else pos.learnt_weight(acc_dtype(x)),
        None if neg is None else neg.learnt_weight(acc_dtype(x)),
    )


def terms_of(
    call: Call, x: Tensor, x_neg: Tensor, pos_weight: Tensor | None, neg_weight: Tensor | None
) -> tuple[Term | None, Term | None]:
    return (
        _term(call.graph.pos, x, call.kernels, pos_weight),
        _term(call.graph.neg, x_neg, call.kernels, neg_weight),
    )


def _term(half: Adjacency | None, x: Tensor, kernels: ModuleType, weight: Tensor | None) -> Term | None:
    return None if half is None else half.term(x, acc_dtype(x), kernels, weight)
