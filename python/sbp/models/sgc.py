"""Simple graph convolution (Wu et al., arXiv 1902.07153): unsigned propagation, no nonlinearity."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from sbp_kernels import SignedGraph

from ..config import Config
from .base import Model, positive_adjacency


class SGC(Model):
    r"""\( X \leftarrow \hat A X \)."""

    summary = "X <- A X, the unsigned baseline that oversmooths"

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.graph = SignedGraph(pos=positive_adjacency(data, config))

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return self.signed_steps(x, num_steps, self.graph, alpha=1.0, beta=0.0, lam=1.0)
