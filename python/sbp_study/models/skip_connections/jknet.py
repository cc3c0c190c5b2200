"""Jumping knowledge (Xu et al., arXiv 1806.03536)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ...config import Config
from ..base import GraphModel


class JKNet(GraphModel):
    r"""All depths combined: the mean, maximum, concatenation or a learned convex sum of \( \hat A^k X, k = 0..K \)."""

    summary = "combines the features of all depths"
    adds_up = False

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        if config.jump == "learned":
            self.linear = config.layer_norm == "none"
            self.weight = nn.Parameter(torch.zeros(config.layers + 1, device=data.x.device))

    @classmethod
    def is_fixed(cls, config: Config) -> bool:
        return config.jump != "learned"

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        weight = self.weight.softmax(0) if self.config.jump == "learned" else None
        joined = x if weight is None else weight[0] * x
        parts = [x]
        for k in range(num_steps):
            x = self.after(self.spread(x), x)
            if self.config.jump == "max":
                joined = torch.maximum(joined, x)
            elif self.config.jump == "cat":
                parts.append(x)
            else:
                joined = joined + (x if weight is None else weight[k + 1] * x)
        if self.config.jump == "cat":
            return torch.cat(parts, dim=1)
        return joined / (num_steps + 1) if self.config.jump == "mean" else joined
