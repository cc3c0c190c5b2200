"""wGCN (Eliasof et al., ICML 2023): each channel has a learned step size, which smooths or sharpens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ...config import Config
from ..base import GraphModel


class WGCN(GraphModel):
    r"""\( H \leftarrow \mathrm{ReLU}(Z + (\hat A Z - Z)\, \mathrm{diag}(\omega_l)) \), \( Z = H W \)."""

    summary = "a learned step size per channel; negative ones sharpen"
    section = "Table 11"

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.omega = nn.Parameter(torch.ones(max(config.layers - 1, 0), config.hidden, device=data.x.device))

    def layer(self, x: Tensor, before: Tensor, index: int) -> Tensor:
        return x + (self.spread(x) - x) * self.omega[index]
