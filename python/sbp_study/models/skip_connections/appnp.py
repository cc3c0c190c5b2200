"""APPNP (Gasteiger et al., arXiv 1810.05997): personalised PageRank."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from ...config import Config
from ..base import GraphModel


class APPNP(GraphModel):
    r"""\( X \leftarrow (1 - a) \hat A X + a X_0 \).

    The steps are linear, so a linear layer after them computes the same function as the original's before them.
    """

    summary = "each step adds X0 with weight a"

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.x0 = data.x

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return self.steps(x, num_steps, lam=1.0 - self.config.teleport, residual=self.x0)
