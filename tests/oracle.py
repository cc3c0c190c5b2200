"""The definitions, dense and in float64, and how far from them a result may be."""

from __future__ import annotations

import torch
from torch import Tensor

from sbp_kernels import SignedGraph


def halves(graph: SignedGraph) -> tuple[Tensor, Tensor]:
    """(A+, A-) as dense float64 matrices; zeros for an absent half."""
    zero = torch.zeros(graph.num_rows, graph.num_cols, dtype=torch.float64)
    pos = zero if graph.pos is None else graph.pos.to_dense()
    neg = zero if graph.neg is None else graph.neg.to_dense()
    return pos, neg


def propagate(
    x: Tensor,
    graph: SignedGraph,
    alpha: float | Tensor,
    beta: float | Tensor,
    lam: float | Tensor,
    residual: Tensor | None = None,
    layer_norm: bool = False,
    num_steps: int = 1,
) -> Tensor:
    """signed_propagate by its formula, in float64."""
    pos, neg = halves(graph)
    x = x.double()
    for _ in range(num_steps):
        own = x if residual is None else residual.double()
        moved = lam * (alpha * (pos @ x) - beta * (neg @ x))
        x = moved if graph.num_rows != graph.num_cols and residual is None else (1 - lam) * own + moved
        if layer_norm:
            x = torch.nn.functional.layer_norm(x, x.shape[1:])
    return x


def assert_close(got: Tensor, reference: Tensor, exact: Tensor, what: str) -> None:
    """`got` errs at most twice as much as plain torch in the same type does, plus rounding."""
    assert got.shape == exact.shape and got.dtype == reference.dtype, what
    assert bool(torch.isfinite(got).all()), f"{what}: not finite"
    if got.numel() == 0:
        return
    own = (reference.double() - exact).abs().max()
    rounding = 8 * torch.finfo(got.dtype).eps * (1 + exact.abs().max())
    error = (got.double() - exact).abs().max()
    assert error <= 2 * own + rounding, f"{what}: error {error:.3g}, allowed {2 * own + rounding:.3g}"
