"""What the public operations call instead of their own code if each process holds a part of the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class ShardedGraph(ABC):
    """The part of a signed graph that this process works on; `distributed.shard` returns one.

    `signed_propagate` and `signed_pair` pass their arguments on, and `x`, `residual` and the results are the blocks
    of this process.
    """

    @abstractmethod
    def propagate(self, x: Tensor, **options: Any) -> Tensor:
        """Return this process's block of `signed_propagate(x, graph, **options)`."""

    @abstractmethod
    def pair(self, x: Tensor, *, backend: str | None) -> tuple[Tensor, Tensor]:
        """Return this process's blocks of `signed_pair(x, graph)`."""
