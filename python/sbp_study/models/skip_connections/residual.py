"""Residual connections (He et al., arXiv 1512.03385)."""

from __future__ import annotations

from torch import Tensor

from ..base import GraphModel


class Residual(GraphModel):
    r"""\( X \leftarrow (1 - \lambda) X + \lambda \hat A X \); between layers with weights, the sum \( Z + H \)."""

    summary = "each step adds a residual connection"

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return self.steps(x, num_steps, lam=self.config.lam)

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        # The first layer changes the width.
        return z + before if z.shape == before.shape else z
