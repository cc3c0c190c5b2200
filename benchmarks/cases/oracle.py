"""The float64 oracle: every method must agree with it before it is timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .workloads import Workload

# Messages are computed in blocks of this many numbers, 256 MB in float64.
_BLOCK_NUMBERS = 1 << 25
# A result with more multiplications is checked on `_ROWS` rows only, including the row of the largest degree.
_ALL_ROWS, _ROWS = 1 << 31, 2_000

# Largest error allowed, in units of the root mean square of a row of the result for x ~ N(0, 1).
# A wrong sign, weight or edge gives about 1.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 5e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class WrongResult(AssertionError):
    """A method's result differs from the oracle's."""


@dataclass(frozen=True)
class Coefficients:
    """Floats, or tensors of one element if they require grad."""

    alpha: float | Tensor = 1.0
    beta: float | Tensor = 0.5
    lam: float | Tensor = 0.5

    def requiring_grad(self, like: Tensor) -> Coefficients:
        """Return the same values as leaves of autograd, in float32 or the wider type of x."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        leaves = (torch.tensor(float(v), dtype=dtype, device=like.device) for v in vars(self).values())
        return Coefficients(*(leaf.requires_grad_() for leaf in leaves))


def halves(graph: Workload, c: Coefficients) -> tuple[tuple[Tensor, Tensor, float], tuple[Tensor, Tensor, float]]:
    """Return (edges, weight, factor) of each sign."""
    lam = float(c.lam)
    return (graph.pos, graph.pos_weight, lam * float(c.alpha)), (graph.neg, graph.neg_weight, -lam * float(c.beta))


def propagate64(
    graph: Workload, x: Tensor, c: Coefficients, transposed: bool = False, rows: Tensor | None = None
) -> Tensor:
    """Return (1 - lam) x + lam (alpha A+ x - beta A- x) in float64, computed per edge; [n, d], or the chosen rows."""
    rows = torch.arange(graph.num_nodes, device=x.device) if rows is None else rows
    place = torch.full((graph.num_nodes,), -1, device=x.device)
    place[rows] = torch.arange(rows.numel(), device=x.device)
    y = (1.0 - float(c.lam)) * x[rows].double()
    for edge_index, weight, factor in halves(graph, c):
        source, target = edge_index.flip(0) if transposed else edge_index
        chosen = (place[target] >= 0).nonzero().squeeze(1)
        for part in chosen.split(max(1, _BLOCK_NUMBERS // x.size(1))):
            message = x[source[part]].double().mul_((factor * weight[part])[:, None])
            y.index_add_(0, place[target[part]], message)
    return y


def edge_dots(graph: Workload, x: Tensor, grad: Tensor, c: Coefficients) -> Iterator[Tensor]:
    """Yield the gradient of the edge weights in float64, [E+] then [E-]."""
    for edge_index, _, factor in halves(graph, c):
        parts = edge_index.split(max(1, _BLOCK_NUMBERS // x.size(1)), 1)
        dots = [(x[source].double() * grad[target].double()).sum(1) for source, target in parts]
        yield factor * torch.cat(dots)


def coefficient_grads(graph: Workload, x: Tensor, grad: Tensor, c: Coefficients) -> Tensor:
    """Return the gradient of alpha, beta and lam in float64; [3]."""
    flat = Coefficients(1.0, 1.0, 1.0)
    pos_dots, neg_dots = edge_dots(graph, x, grad, flat)
    pos, neg = graph.pos_weight @ pos_dots, graph.neg_weight @ neg_dots
    own = (x.double() * grad.double()).sum()
    alpha, beta, lam = (float(v) for v in vars(c).values())
    # `halves` has already applied the sign to neg.
    return torch.stack([lam * pos, lam * neg, alpha * pos + beta * neg - own])


class Oracle:
    """The expected forward result and gradients for one graph and all widths of one dtype.

    A narrower case uses the first columns of one wide x, so that the expected result is computed once.
    """

    def __init__(self, graph: Workload, width: int, dtype: torch.dtype, c: Coefficients, seed: int = 0):
        device = graph.pos.device
        generator = torch.Generator(device).manual_seed(seed)
        inputs = torch.randn((2, graph.num_nodes, width), generator=generator, device=device).to(dtype)
        self._graph, self._c = graph, c
        self._x, self._grad = inputs
        self._rows: Tensor | None = None
        if graph.num_edges * width > _ALL_ROWS:
            some = torch.randperm(graph.num_nodes, generator=generator, device=device)[:_ROWS]
            self._rows = torch.cat([some, graph.degrees().argmax().view(1)]).unique()
        self._y: Tensor | None = None
        self._grad_x: Tensor | None = None

    def inputs(self, width: int) -> tuple[Tensor, Tensor]:
        """Return x and the gradient of the result, [n, width] each."""
        return self._x[:, :width].contiguous(), self._grad[:, :width].contiguous()

    def check(self, what: str, results: Sequence[Tensor], slack: float = 1.0, learnable: str = "") -> None:
        """Raise `WrongResult` unless y, and the gradients of x and of what is learnable if given, are correct.

        They are compared for the inputs of y's width; `slack` multiplies the tolerance.
        """
        y, *grads = results
        if self._y is None:
            self._y = propagate64(self._graph, self._x, self._c, rows=self._rows)
        self._compare(f"{what}: forward", y, self._y, slack, transposed=False)
        if not grads:
            return
        if self._grad_x is None:
            self._grad_x = propagate64(self._graph, self._grad, self._c, transposed=True, rows=self._rows)
        self._compare(f"{what}: gradient of x", grads[0], self._grad_x, slack, transposed=True)
        if learnable:
            self._compare_learnable(f"{what}: gradient of {learnable}", grads[1:], y.shape[1], learnable, slack)

    def _compare(self, what: str, got: Tensor, wide: Tensor, slack: float, *, transposed: bool) -> None:
        shape = (self._graph.num_nodes, got.shape[1])
        if got.shape != shape or got.dtype != self._x.dtype:
            raise WrongResult(f"{what} must be {self._x.dtype} {shape}, got {got.dtype} {tuple(got.shape)}")
        rows = slice(None) if self._rows is None else self._rows
        error = (got[rows].double() - wide[:, : got.shape[1]]).abs_().amax(1)
        error = error.div_(self._row_scale(transposed)[rows]).max().item()
        tolerance = slack * TOLERANCE[self._x.dtype]
        # `not <=`, so that a NaN fails.
        if not error <= tolerance:
            raise WrongResult(f"{what} is off by {error:.2g} row magnitudes, allowed {tolerance:g}")

    def _compare_learnable(self, what: str, got: Sequence[Tensor], width: int, learnable: str, slack: float) -> None:
        x, grad = self.inputs(width)
        if learnable == "weights":
            want = torch.cat(list(edge_dots(self._graph, x, grad, self._c)))
            scale = width**0.5
        else:
            want = coefficient_grads(self._graph, x, grad, self._c)
            # Each gradient is a sum of this many products of N(0, 1) numbers.
            scale = x.numel() ** 0.5
        error = ((torch.cat([g.flatten() for g in got]).double() - want).abs().max() / scale).item()
        tolerance = 4 * slack * TOLERANCE[self._x.dtype]
        if not error <= tolerance:
            raise WrongResult(f"{what} is off by {error:.2g} of its size, allowed {tolerance:g}")

    def _row_scale(self, transposed: bool) -> Tensor:
        """Return the root mean square of each row of the result for x ~ N(0, 1); [n]."""
        end = 0 if transposed else 1
        square = self._graph.pos_weight.new_full((self._graph.num_nodes,), (1.0 - float(self._c.lam)) ** 2)
        for edge_index, weight, factor in halves(self._graph, self._c):
            square.index_add_(0, edge_index[end], (factor * weight) ** 2)
        # A row without edges is exactly 0 at lam = 1.
        return square.sqrt_().clamp_(min=1e-12)
