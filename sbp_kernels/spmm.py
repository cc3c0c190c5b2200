"""`signed_spmm`: one step with free coefficients, lowered to the fused pass wherever they allow it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .adjacency.checks import check_tensor, describe
from .arguments import (
    Scalar,
    as_number,
    as_scalar,
    autocast,
    check_call,
    check_graph,
    check_real_tensor,
    choose_backend,
)
from .autograd import pair, spmm
from .backends.interface import accumulation_dtype, is_zero
from .composed import product
from .dispatch import OpContext, learnable_weights
from .graph import SignedGraph


def signed_spmm(
    x: Tensor,
    graph: SignedGraph,
    *,
    pos: Scalar = 1.0,
    neg: Scalar = -1.0,
    x_neg: Tensor | None = None,
    residual: Tensor | None = None,
    res: Scalar = 0.0,
    backend: str | None = None,
) -> Tensor:
    r"""Return \( res \odot R + pos \odot A^+ X + neg \odot A^- X_- \), the linear operation of every signed layer.

    Derivatives are those of `signed_propagate`, and reach `x_neg` and tensor coefficients as well. Cost, apart from
    the edges, which are read once:

    * scalar coefficients: one fused pass; a distinct `x_neg` reads two CSRs instead of the merged one.
    * `[features]`: one product with the features of each such part before the fused pass.
    * `[num_rows, 1]` on `pos` or `neg`: one pass that writes \( A^+ X \) and \( A^- X \) apart, or two passes if
      `x_neg` is given, then one operation per part; three results in memory instead of one.

    With other than scalar coefficients, 16-bit features are converted to float32 first, so that a result is rounded
    once. A part whose coefficient is the number 0 is not read, nor is that of an absent half.

    Args:
        x: `[num_cols]`, `[num_cols, features]` or `[..., num_cols, features]`. A batch is one call with more features,
            and costs a copy of x.
        graph: the two adjacencies; either may be absent.
        pos, neg, res: coefficients, unrestricted: numbers, or tensors of one element, `[num_rows, 1]` (one per node) or
            `[features]` (one per feature).
        x_neg: what the negative half multiplies, in the shape and type of x; x if absent.
        residual: R, with `num_rows` rows, else in the shape and type of x; x if absent, which needs a square graph.
        backend: as in `signed_propagate`.

    Returns:
        The shape of x with `num_rows` rows, in the type of x; a view in another memory order for a batch.

    Raises:
        ValueError, NotImplementedError: as `signed_propagate`.
    """
    check_graph(graph)
    batch = _Batch.of(x, graph)
    given = (("x_neg", x_neg, graph._num_cols), ("residual", residual, graph._num_rows))
    for name, tensor, rows in given:
        _check_like(name, tensor, x, rows)
    flat, flat_neg, flat_res = (batch.fold(None if t is None else autocast(t)) for t in (x, x_neg, residual))
    check_call(flat, graph, flat_res, 1)
    coefs = [_coefficient(name, c, batch, graph, flat) for name, c in (("res", res), ("pos", pos), ("neg", neg))]
    if flat_res is None and not is_zero(coefs[0]) and graph._num_rows != graph._num_cols:
        raise ValueError(f"a {graph._num_rows}x{graph._num_cols} graph needs residual=... unless res is the number 0")
    op = OpContext(choose_backend(flat, graph, backend), graph)
    step = _fused if all(_is_scalar(c) for c in coefs) else _scaled
    return batch.unfold(step(op, flat, flat_neg, flat_res, coefs))


def _fused(op: OpContext, x: Tensor, x_neg: Tensor | None, residual: Tensor | None, coefs: list[Any]) -> Tensor:
    """Return the step with scalar coefficients (r, p, q) from one pass."""
    own = residual is None and not is_zero(coefs[0])
    if own and x_neg is not None:
        # The gradient of x has two parts then, which autograd adds.
        residual, own = x, False
    op = op._replace(own_residual=own)
    if not any(isinstance(c, Tensor) for c in coefs):
        return spmm(op._replace(coefs=tuple(coefs)), x, residual, x_neg=x_neg)
    coef = torch.stack([as_scalar("coefficient", c, x) for c in coefs])
    return spmm(op._replace(coefs=(0.0, 0.0, 0.0)), x, residual, coef, x_neg=x_neg)


def _scaled(op: OpContext, x: Tensor, x_neg: Tensor | None, residual: Tensor | None, coefs: list[Any]) -> Tensor:
    """Return the step with coefficients of any shape; in the accumulation type until the result is stored."""
    dtype, wide = x.dtype, accumulation_dtype(x)
    x = x.to(wide)
    x_neg, residual = (t if t is None else t.to(wide) for t in (x_neg, residual))
    r, p, q = coefs
    residual = x if residual is None and not is_zero(r) else residual
    p, q = (0.0 if half is None else c for half, c in ((op.graph._pos, p), (op.graph._neg, q)))
    if _is_per_node(p) or _is_per_node(q):
        return _sum([(r, residual), *_products(op, x, x_neg, p, q)]).to(dtype)
    if not _is_scalar(r):
        residual, r = r * residual, 1.0
    # (A x) c = A (x c) for one factor per feature.
    if not _is_scalar(p) or not _is_scalar(q):
        x_neg = x if x_neg is None else x_neg
        x, p = (x, p) if _is_scalar(p) else (x * p, 1.0)
        x_neg, q = (x_neg, q) if _is_scalar(q) else (x_neg * q, 1.0)
    return _fused(op, x, x_neg, residual, [r, p, q]).to(dtype)


def _products(op: OpContext, x: Tensor, x_neg: Tensor | None, p: Any, q: Any) -> list[tuple[Any, Tensor | None]]:
    """Return (p, A+ x) and (q, A- x_neg), with None for a part that is not needed."""
    if x_neg is None and not is_zero(p) and not is_zero(q):
        return list(zip((p, q), pair(op, x), strict=True))
    halves = (op.graph._pos, op.graph._neg)
    sources = (x, x if x_neg is None else x_neg)
    every = zip((p, q), halves, sources, learnable_weights(op.graph, x), strict=True)
    return [(c, None if is_zero(c) else product(op.kernels, half, source, w)) for c, half, source, w in every]


def _sum(terms: list[tuple[Any, Any]]) -> Tensor:
    """Return the sum of coefficient * part over the terms whose part is read; at least one is."""
    first, *others = [(coef, part) for coef, part in terms if part is not None and not is_zero(coef)]
    total = first[0] * first[1]
    for coef, part in others:
        total = torch.addcmul(total, coef, part) if isinstance(coef, Tensor) else torch.add(total, part, alpha=coef)
    return total


class _Batch(NamedTuple):
    """How `[n]`, `[n, d]` or `[..., n, d]` becomes `[n, features]`: a batch is more features."""

    shape: torch.Size
    features: int
    vector: bool

    @staticmethod
    def of(x: Any, graph: SignedGraph) -> _Batch:
        """Return the batch of x; ValueError unless it has a row per column of the graph."""
        check_tensor("x", x)
        vector = x.dim() == 1
        if x.dim() == 0 or x.size(0 if vector else -2) != graph._num_cols:
            raise ValueError(
                f"x must have shape [..., num_nodes={graph._num_cols}, features] or [num_nodes], got {tuple(x.shape)}"
            )
        return _Batch(x.shape[:-2], 1 if vector else x.size(-1), vector)

    def fold(self, t: Any) -> Any:
        """Return a tensor like x as `[rows, features]`; None for None."""
        if t is None or (not self.shape and not self.vector):
            return t
        if self.vector:
            return t.unsqueeze(1)
        return t.movedim(-2, 0).reshape(t.size(-2), self.shape.numel() * self.features)

    def unfold(self, y: Tensor) -> Tensor:
        """Return a result `[rows, features]` in the shape of x."""
        if self.vector:
            return y.squeeze(1)
        return y.view(y.size(0), *self.shape, self.features).movedim(0, -2) if self.shape else y


def _check_like(name: str, tensor: Any, x: Tensor, num_rows: int) -> None:
    """Raise ValueError unless `tensor` is absent or like x, with `num_rows` rows."""
    if tensor is None:
        return
    check_tensor(name, tensor)
    shape = (num_rows,) if x.dim() == 1 else (*x.shape[:-2], num_rows, x.size(-1))
    if tuple(tensor.shape) != shape or tensor.dtype != x.dtype or tensor.device != x.device:
        raise ValueError(
            f"{name} must have shape {tuple(shape)}, the type {x.dtype} and the device {x.device} of x, "
            f"got {describe(tensor)} on {tensor.device}"
        )


def _coefficient(name: str, value: Any, batch: _Batch, graph: SignedGraph, x: Tensor) -> Any:
    """Return a coefficient as a number, or as a tensor `[]`, `[num_rows, 1]` or `[x.size(1)]` that multiplies rows."""
    if not isinstance(value, Tensor):
        number = as_number(name, value)
        if not -_INF < number < _INF:
            raise ValueError(f"{name} must be finite, got {number}")
        return number
    check_real_tensor(name, value)
    if value.numel() == 1:
        return as_scalar(name, value, x)
    shape, rows, features = tuple(value.shape), graph._num_rows, batch.features
    if shape not in ((rows, 1), (features,)):
        raise ValueError(
            f"{name} must be a number or a tensor of one element, [num_rows={rows}, 1] or [features={features}], "
            f"got shape {shape}"
        )
    if value.device != x.device:
        raise ValueError(f"{name} must be on the device of x, {x.device}, got {value.device}")
    value = value.to(accumulation_dtype(x))
    return value if shape == (rows, 1) else value.repeat(batch.shape.numel())


def _is_scalar(coef: Any) -> bool:
    return not isinstance(coef, Tensor) or coef.dim() == 0


def _is_per_node(coef: Any) -> bool:
    return isinstance(coef, Tensor) and coef.dim() == 2


_INF = float("inf")
