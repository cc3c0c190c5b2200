"""The float64 answer that every method must give before it is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .workloads import Workload

# Columns at a time: the messages of all edges in float64 stay below 300 MB at 2.3 M edges.
_COLUMNS = 16

# Largest error allowed, in units of the root mean square that a row of the result has for
# x ~ N(0, 1). A wrong sign, weight or edge gives about 1.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 5e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class WrongResult(AssertionError):
    """A method's result is not the oracle's."""


@dataclass(frozen=True)
class Coefficients:
    alpha: float = 1.0
    beta: float = 0.5
    lam: float = 0.5


def propagate64(graph: Workload, x: Tensor, c: Coefficients, transposed: bool = False) -> Tensor:
    """(1 - lam) x + lam (alpha A+ x - beta A- x) in float64, edge by edge; [n, d]."""
    y = torch.empty(x.shape, dtype=torch.float64, device=x.device)
    for start in range(0, x.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        part = x[:, columns].double()
        total = part * (1.0 - c.lam)
        for edge_index, weight, factor in (
            (graph.pos, graph.pos_weight, c.lam * c.alpha),
            (graph.neg, graph.neg_weight, -c.lam * c.beta),
        ):
            source, target = edge_index.flip(0) if transposed else edge_index
            total.index_add_(0, target, part[source].mul_((factor * weight)[:, None]))
        y[:, columns] = total
    return y


class Oracle:
    """The right forward result and gradient for one graph and all widths of one dtype.

    Widths are the first columns of one wide x, so that the answer is computed once.
    """

    def __init__(self, graph: Workload, width: int, dtype: torch.dtype, c: Coefficients, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        shape = (2, graph.num_nodes, width)
        inputs = torch.randn(shape, generator=generator).to(graph.pos.device, dtype)
        self._graph, self._c = graph, c
        self._x, self._grad = inputs
        self._y: Tensor | None = None
        self._grad_x: Tensor | None = None

    def inputs(self, width: int) -> tuple[Tensor, Tensor]:
        """x and the gradient of the result, [n, width] each."""
        return self._x[:, :width].contiguous(), self._grad[:, :width].contiguous()

    def check(self, what: str, results: Sequence[Tensor], slack: float = 1.0) -> None:
        """Raise `WrongResult` unless y and, if it follows, the gradient of x are right.

        Right for the inputs of y's width, that is; `slack` multiplies the tolerance.
        """
        y, *grad_x = results
        if self._y is None:
            self._y = propagate64(self._graph, self._x, self._c)
        self._compare(f"{what}: forward", y, self._y, slack, transposed=False)
        if not grad_x:
            return
        if self._grad_x is None:
            self._grad_x = propagate64(self._graph, self._grad, self._c, transposed=True)
        self._compare(f"{what}: gradient of x", grad_x[0], self._grad_x, slack, transposed=True)

    def _compare(self, what: str, got: Tensor, wide: Tensor, slack: float, *, transposed: bool) -> None:
        want = wide[:, : got.shape[1]]
        if got.shape != want.shape or got.dtype != self._x.dtype:
            raise WrongResult(f"{what} must be {self._x.dtype} {tuple(want.shape)}, got {got.dtype} {tuple(got.shape)}")
        error = (got.double() - want).abs_().amax(1).div_(self._row_scale(transposed)).max().item()
        tolerance = slack * TOLERANCE[self._x.dtype]
        # Written so that a NaN fails.
        if not error <= tolerance:
            raise WrongResult(f"{what} is off by {error:.2g} row magnitudes, allowed {tolerance:g}")

    def _row_scale(self, transposed: bool) -> Tensor:
        """Root mean square of each row of the result for x ~ N(0, 1); [n]."""
        g, c = self._graph, self._c
        end = 0 if transposed else 1
        square = g.pos_weight.new_full((g.num_nodes,), (1.0 - c.lam) ** 2)
        square.index_add_(0, g.pos[end], (c.lam * c.alpha * g.pos_weight) ** 2)
        square.index_add_(0, g.neg[end], (c.lam * c.beta * g.neg_weight) ** 2)
        # A row without edges is exactly 0 at lam = 1.
        return square.sqrt_().clamp_(min=1e-12)
