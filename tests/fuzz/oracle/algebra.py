"""Two readings of one formula in float64: its value, and its majorant, which bounds every derivative's rounding.

A rounding error of relative size u in an intermediate value v changes a result by at most |d result / d v| |v| u. The
majorant of a formula takes absolute values of all inputs and adds where the formula subtracts, so it and all of its
derivatives are sums of the magnitudes of the terms that the formula and its derivatives add up, with no cancellation.
A power v^-e, e > 0, becomes (c - v)^-e with c such that value and magnitudes of all derivatives stay; so does exp.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Exact:
    """The formula itself; records the arguments of its nonlinear parts."""

    def __init__(self) -> None:
        self.trace: list[Tensor] = []

    def fixed(self, value: Tensor) -> Tensor:
        return value

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return a - b

    def negative(self, a: Tensor) -> Tensor:
        return -a

    def size(self, a: Tensor) -> Tensor:
        """|a| with derivative 1 at 0."""
        return torch.where(a < 0, -a, a)

    def power(self, value: Tensor, exponent: float) -> Tensor:
        self.trace.append(value.detach())
        return value**exponent

    def softmax(self, logits: Tensor) -> Tensor:
        out = torch.softmax(logits, 1)
        self.trace.append(out.detach())
        return out


class Majorant:
    """The majorant; `scale` inflates all fixed inputs, `constants` are those of an earlier, uninflated evaluation."""

    def __init__(self, trace: list[Tensor], scale: float = 1.0, constants: list[Tensor] | None = None) -> None:
        self.trace, self.at, self.scale = trace, 0, scale
        self.constants: list[Tensor] = [] if constants is None else constants
        self.records = constants is None

    def fixed(self, value: Tensor) -> Tensor:
        return value.abs() * self.scale

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def negative(self, a: Tensor) -> Tensor:
        return a

    def size(self, a: Tensor) -> Tensor:
        return a

    def _constant(self, value: Tensor) -> Tensor:
        self.at += 1
        if self.records:
            self.constants.append(value.detach())
        return self.constants[self.at - 1]

    def power(self, value: Tensor, exponent: float) -> Tensor:
        true = self.trace[self.at]
        return (self._constant(value + true) - value) ** exponent

    def softmax(self, logits: Tensor) -> Tensor:
        true = self.trace[self.at]
        part = true * torch.exp(logits - self._constant(logits))
        return part / (2.0 - part.sum(1, keepdim=True))
