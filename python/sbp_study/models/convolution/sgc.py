"""Simple graph convolution (Wu et al., arXiv 1902.07153): unsigned propagation, no nonlinearity."""

from __future__ import annotations

from torch import Tensor

from ..base import GraphModel


class SGC(GraphModel):
    r"""\( X \leftarrow \hat A X \), all steps in one call."""

    summary = "X <- A X, the unsigned baseline that oversmooths"

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return self.steps(x, num_steps)
