"""DropEdge (Rong et al., arXiv 1907.10903)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from sbp_kernels import SignedGraph, signed_propagate

from ...config import Config
from ..base import GraphModel, directed, normalized


class DropEdge(GraphModel):
    """Each training epoch uses a random subset of the edges, renormalized; self-loops are never dropped."""

    summary = "a random subset of the edges in each epoch, renormalized"
    fixed = False
    linear = True

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.edge_index, self.num_nodes = directed(data, config), data.num_nodes
        self.sampled_graph = self.graph

    def resample(self) -> None:
        mask = torch.rand(self.edge_index.size(1)) >= self.config.drop_rate
        edge_index = self.edge_index[:, mask.to(self.edge_index.device)]
        self.sampled_graph = SignedGraph(pos=normalized(edge_index, self.num_nodes, self.config))

    def spread(self, x: Tensor) -> Tensor:
        graph = self.sampled_graph if self.training else self.graph
        return signed_propagate(x, graph, backend=self.config.backend)
