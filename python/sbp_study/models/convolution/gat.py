"""Graph attention network (Velickovic et al., arXiv 1710.10903)."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import models

from ...config import Config
from ..base import Model, Network, directed


class GAT(Model):
    """PyG's network: attention recomputes the weight of every edge, so there is no fixed adjacency."""

    summary = "attention over the neighbors (PyG's GATConv)"
    section = "Table 11"

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.edge_index = directed(data, config)

    def network(self, in_channels: int, num_classes: int) -> Network:
        return _Network(self, in_channels, num_classes)


class _Network(Network):
    def __init__(self, model: GAT, in_channels: int, num_classes: int) -> None:
        super().__init__(model)
        c = model.config
        # PyG divides the hidden channels among the heads.
        hidden = c.hidden * c.heads
        self.gat = models.GAT(in_channels, hidden, c.layers, num_classes, heads=c.heads, add_self_loops=c.self_loops)
        self.edge_index = model.edge_index

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        *hidden, last = self.gat.convs
        dropout = self.model.config.dropout
        for conv in hidden:
            x = F.relu(conv(F.dropout(x, dropout, self.training), self.edge_index))
            yield x
        yield last(F.dropout(x, dropout, self.training), self.edge_index)
