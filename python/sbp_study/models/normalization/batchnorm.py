"""BatchNorm after every propagation (Ioffe and Szegedy, arXiv 1502.03167)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from ...config import Config
from ..base import GraphModel


class BatchNorm(GraphModel):
    r"""Each column of \( \hat A X \) minus its mean, divided by its deviation: \( \hat A^- = 11^\top/n\, \hat A \).

    With `column_scale` "length" it is divided by its Euclidean length, \( n^{1/2} \) deviations. Between layers with
    weights the scale is learned, starting from this value.
    """

    summary = "centers and scales the columns of A X"

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.scale = data.num_nodes**-0.5 if config.column_scale == "length" else 1.0
        if config.backbone == "gcn":
            norms = [nn.BatchNorm1d(config.hidden) for _ in range(config.layers - 1)]
            for norm in norms:
                nn.init.constant_(norm.weight, self.scale)
            self.norms = nn.ModuleList(norms)

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        # Use the statistics of all nodes, because a step of the SGC backbone has no training mode.
        return self.scale * F.batch_norm(z, None, None, training=True)

    def layer(self, x: Tensor, before: Tensor, index: int) -> Tensor:
        return self.norms[index](self.spread(x))
