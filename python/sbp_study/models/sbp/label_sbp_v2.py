"""Label-SBP-v2, the paper's approximation for large graphs (arXiv 2502.11394, section 4.2).

This package does not need the approximation: `label-sbp` is exact at the cost of one pass over the rows.
"""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from ...config import Config
from ..base import GraphModel


class LabelSBPv2(GraphModel):
    r"""\( X \leftarrow (1 - \lambda) X + \lambda \alpha \hat A^+ X \) without edges between known different labels.

    The edges are removed before the adjacency is normalized, so its row sums are unchanged.
    """

    summary = "the paper's approximation: no negative edges, training labels remove edges"
    section = "4.2"

    def __init__(self, data: Data, config: Config) -> None:
        source, target = data.edge_index
        known = data.train_mask[source] & data.train_mask[target]
        super().__init__(data.edge_subgraph(~(known & (data.y[source] != data.y[target]))), config)

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return self.steps(x, num_steps, alpha=self.config.alpha, lam=self.config.lam)

    def layer(self, x: Tensor, before: Tensor, index: int) -> Tensor:
        return self.propagate(self.spread(x), 1)
