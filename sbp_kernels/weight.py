"""Edge weights as the caller gave them."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Reordered(NamedTuple):
    """Weights in the caller's edge order, sorted anew at each use.

    A sorted copy of weights that take a gradient would tie every later step to one autograd graph.
    """

    edge_weight: Tensor
    order: Tensor
    sign: float

    def sorted(self) -> Tensor:
        return self.sign * self.edge_weight.index_select(0, self.order)


def given(weight: Tensor | Reordered | None) -> Tensor | None:
    """The caller's own tensor."""
    return weight.edge_weight if isinstance(weight, Reordered) else weight


def stamp(weight: Tensor | Reordered | None) -> tuple[Any, ...] | None:
    """What changes when someone writes to the weights, or has them learn; None where they tell nobody."""
    own = given(weight)
    if own is None:
        return ()
    return None if own.is_inference() else (own.requires_grad, own.data_ptr(), own._version)
