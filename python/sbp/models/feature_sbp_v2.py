"""Feature-SBP-v2, the paper's approximation for large graphs (arXiv 2502.11394, section 4.2).

This package needs no approximation: `feature-sbp` streams the n x n softmax in O(n d) memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from sbp_kernels import SignedGraph, signed_propagate

from ..config import Config
from .base import Model, positive_adjacency


class FeatureSBPv2(Model):
    r"""\( X \leftarrow (1-\lambda) X + \lambda (\alpha \hat A X - \beta X\, \mathrm{softmax}(-X_0^\top X_0)) \).

    The softmax, over rows of a d x d matrix, mixes features where that of Feature-SBP mixes nodes.
    """

    summary = "the paper's approximation: a d x d softmax of features from the right"
    signed = True

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.graph = SignedGraph(pos=positive_adjacency(data, config))
        self.mix = torch.softmax(-data.x.T @ data.x, dim=1) if config.beta else None

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        c = self.config
        for _ in range(num_steps):
            moved = signed_propagate(x, self.graph, alpha=c.alpha, lam=c.lam, backend=c.backend)
            x = moved if self.mix is None else moved - c.lam * c.beta * (x @ self.mix)
            x = F.layer_norm(x, (x.size(1),)) if c.layer_norm == "every" else x
        return x
