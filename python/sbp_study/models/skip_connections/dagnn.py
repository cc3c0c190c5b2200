"""DAGNN (Liu et al., arXiv 2007.09296): every node has its own weights of the depths."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.data import Data

from ...config import Config
from ..base import GraphModel


class DAGNN(GraphModel):
    r"""\( \sum_k \mathrm{diag}(s_k) \hat A^k Z \), \( s_k = \sigma(\hat A^k Z w) \), Z the scores of a linear layer."""

    summary = "combines all depths with learned gates per node"
    adds_up = False
    fixed = False
    linear = True

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        # The width of Z, the number of classes, is only known at the first call.
        self.gate = nn.LazyLinear(1)

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        joined = self.gate(x).sigmoid() * x
        for _ in range(num_steps):
            x = self.after(self.spread(x), x)
            joined = joined + self.gate(x).sigmoid() * x
        return joined
