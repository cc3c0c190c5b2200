"""Feature-SBP-v2, the paper's approximation for large graphs (arXiv 2502.11394, section 4.2).

This package does not need the approximation: `feature-sbp` streams the n x n softmax in O(n d) memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from sbp_kernels import signed_propagate

from ...config import Config
from ..base import GraphModel


class FeatureSBPv2(GraphModel):
    r"""\( X \leftarrow (1-\lambda) X + \lambda (\alpha \hat A X - \beta X\, \mathrm{softmax}(-X_0^\top X_0)) \).

    The softmax runs over rows of a d x d matrix and mixes features; that of Feature-SBP mixes nodes. Between layers
    with weights, X0 is the current X, because the initial features have a different width.
    """

    summary = "the paper's approximation: a d x d softmax of features from the right"
    section = "4.2"
    signed = True

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.mix = _mixing(data.x) if config.beta and config.backbone == "sgc" else None

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        for _ in range(num_steps):
            x = self._step(x, self.mix)
        return x

    def layer(self, x: Tensor, before: Tensor, index: int) -> Tensor:
        z = self.spread(x)
        return self._step(z, _mixing(z) if self.config.beta else None)

    def _step(self, x: Tensor, mix: Tensor | None) -> Tensor:
        c = self.config
        propagated = signed_propagate(x, self.graph, alpha=c.alpha, lam=c.lam, backend=c.backend)
        x = propagated if mix is None else propagated - c.lam * c.beta * (x @ mix)
        return F.layer_norm(x, (x.size(1),)) if c.layer_norm == "every" else x


def _mixing(x: Tensor) -> Tensor:
    return torch.softmax(-x.T @ x, dim=1)
