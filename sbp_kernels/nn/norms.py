"""Normalisation layers that act as negative edges between all nodes (arXiv 2502.11394, table 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor

from ..graph import SignedGraph
from ..propagate import signed_propagate
from ..similarity import Similarity


class PairNorm(pyg.PairNorm):
    r"""PyG's `PairNorm`: centred features over their root mean square norm, without its copies of x.

    With a batch vector it is PyG's own.
    """

    def forward(self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None) -> Tensor:
        if batch is not None or self.scale_individually:
            return super().forward(x, batch, batch_size)
        x = x - x.mean(dim=0, keepdim=True)
        # By rows: one sum over all of x would lose digits.
        mean_square = torch.linalg.vector_norm(x, dim=-1).square().mean()
        return x * (self.scale * (self.eps + mean_square).rsqrt())


# One pass of PyTorch's, which a kernel of ours was measured not to beat.
MeanSubtractionNorm = pyg.MeanSubtractionNorm


class ContraNorm(torch.nn.Module):
    r"""ContraNorm, exactly (arXiv 2303.06562): \( X \leftarrow (1 + s) X - s\, P X \), then LayerNorm if asked.

    \( P = \mathrm{softmax}(\tilde X \tilde X^\top / \tau) \), with rows of \( \tilde X \) of unit length as in the
    authors' code for graphs, is streamed: memory O(n d) where they hold n² numbers. Gradients, of first order,
    flow through P as well.

    Args:
        scale: s >= 0, the strength of repulsion.
        temperature: \( \tau > 0 \).
        normalize: take the products of rows of unit length.
        channels: features of a learnt LayerNorm at the end; none if absent.
    """

    def __init__(
        self, scale: float = 0.1, temperature: float = 1.0, normalize: bool = True, channels: int | None = None
    ) -> None:
        super().__init__()
        if scale < 0 or not temperature > 0:
            raise ValueError(f"scale must be >= 0 and temperature > 0, got {scale} and {temperature}")
        self.scale, self.temperature, self.normalize = scale, temperature, normalize
        self.norm = None if channels is None else torch.nn.LayerNorm(channels)

    def reset_parameters(self) -> None:
        if self.norm is not None:
            self.norm.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        x0 = F.normalize(x, dim=1) if self.normalize else x
        graph = SignedGraph(pos=Similarity(x0, sign=1.0, temperature=self.temperature))
        x = torch.lerp(x, signed_propagate(x, graph), -self.scale)
        return x if self.norm is None else self.norm(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale}, temperature={self.temperature})"
