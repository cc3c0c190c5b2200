"""Normalization layers that act as negative edges between all nodes (arXiv 2502.11394, table 5)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor

from ..adjacency.checks import check_tensor, describe
from ..adjacency.similarity import Similarity
from ..graph import SignedGraph
from ..propagate import signed_propagate
from ..pyg.autodiff import unwrapped
from ..pyg.compiled import is_recorded, run_eager
from .arguments import finite_number, positive_number
from .replacement import Replacement, check_features


class PairNorm(Replacement, pyg.PairNorm):
    r"""PyG's `PairNorm`: centred features over their root mean square norm, without its copies of x.

    With a batch vector, or with `scale_individually`, PyG's own code runs.
    """

    def pyg_reason(self, x: Any = None) -> str | None:
        return "scale_individually=True needs the norm of every row" if self.scale_individually else None

    def forward(self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None) -> Tensor:
        check_features("x", x)
        if batch is not None or self.scale_individually:
            return super().forward(x, batch, batch_size)
        x = x - x.mean(dim=0, keepdim=True)
        # The sum is taken row by row: a single sum over all of x would lose precision.
        mean_square = torch.linalg.vector_norm(x, dim=-1).square().mean()
        return x * (self.scale * (self.eps + mean_square).rsqrt())


# PyG's layer is one pass of PyTorch, and a fused kernel measured no faster.
MeanSubtractionNorm = pyg.MeanSubtractionNorm


def check_batch(batch: Any, x: Tensor) -> None:
    """Raise ValueError unless `batch` holds the index of the graph of every node."""
    check_tensor("batch", batch)
    if batch.dim() != 1 or batch.numel() != x.size(0) or batch.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"batch must be integer of shape [num_nodes={x.size(0)}], got {describe(batch)}")
    if batch.device != x.device:
        raise ValueError(f"batch must be on the device of x, {x.device}, got {batch.device}")
    if batch.numel() and not is_recorded() and not torch.compiler.is_compiling() and int(unwrapped(batch).min()) < 0:
        raise ValueError(f"batch must be >= 0, got {int(unwrapped(batch).min())}")


class ContraNorm(torch.nn.Module):
    r"""ContraNorm, exactly (arXiv 2303.06562): \( X \leftarrow (1 + s) X - s\, P X \), then an optional LayerNorm.

    \( P = \mathrm{softmax}(\tilde X \tilde X^\top / \tau) \), with rows of \( \tilde X \) of unit length as in the
    authors' code for graphs, is streamed: memory is O(n d), where the authors' code stores n² numbers. Gradients
    flow through P as well. Programs of torch.jit.trace and torch.export use torch's own operations, and store n²
    numbers.

    Args:
        scale: s >= 0, the strength of repulsion.
        temperature: \( \tau > 0 \).
        normalize: take the products of rows of unit length.
        channels: features of a LayerNorm with parameters at the end; none if absent.

    Raises:
        ValueError: an argument has another type or lies outside of the range above.
    """

    def __init__(
        self, scale: float = 0.1, temperature: float = 1.0, normalize: bool = True, channels: int | None = None
    ) -> None:
        super().__init__()
        self.scale, self.temperature = finite_number("scale", scale), positive_number("temperature", temperature)
        if scale < 0:
            raise ValueError(f"scale must be >= 0, got {scale}")
        if not isinstance(normalize, bool):
            raise ValueError(f"normalize must be True or False, got {normalize!r}")
        if channels is not None and (isinstance(channels, bool) or not isinstance(channels, int) or channels < 1):
            raise ValueError(f"channels must be an integer > 0 or None, got {channels!r}")
        self.normalize = normalize
        self.norm = None if channels is None else torch.nn.LayerNorm(channels)

    def reset_parameters(self) -> None:
        if self.norm is not None:
            self.norm.reset_parameters()

    def __prepare_scriptable__(self) -> Any:
        raise NotImplementedError("TorchScript cannot compile ContraNorm: use torch.jit.trace or torch.export")

    def forward(self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None) -> Tensor:
        """Return the features `[num_nodes, features]`; with PyG's `batch` vector, nodes repel only within a graph."""
        check_tensor("x", x)
        if x.dim() != 2 or not x.is_floating_point():
            raise ValueError(f"x must be floating of shape [num_nodes, features], got {describe(x)}")
        if self.norm is not None and self.norm.normalized_shape != (x.size(1),):
            raise ValueError(f"x must have channels={self.norm.normalized_shape[0]} features, got {x.size(1)}")
        if batch is not None:
            check_batch(batch, x)
        if torch.compiler.is_dynamo_compiling() and not is_recorded():
            # The graph is built from x in every call, so compiled code could not reuse it.
            return run_eager(self.forward, x, batch, batch_size)
        x0 = F.normalize(x, dim=1) if self.normalize else x
        if is_recorded():
            logits = x0 @ x0.T / self.temperature
            if batch is not None:
                logits = logits.masked_fill(batch[:, None] != batch, float("-inf"))
            smooth = torch.softmax(logits, dim=1) @ x
        else:
            smooth = self._smooth(x, x0, batch)
        x = torch.lerp(x, smooth, -self.scale)
        return x if self.norm is None else self.norm(x)

    def _smooth(self, x: Tensor, x0: Tensor, batch: Tensor | None) -> Tensor:
        """Return P x, for each graph separately."""
        if batch is None:
            return signed_propagate(x, SignedGraph(pos=Similarity(x0, sign=1.0, temperature=self.temperature)))
        # In PyG's batches, the nodes of a graph are contiguous, but `batch` may have any order.
        order = torch.argsort(unwrapped(batch), stable=True)
        sizes = torch.bincount(unwrapped(batch)).tolist()
        parts = zip(x.index_select(0, order).split(sizes), x0.index_select(0, order).split(sizes), strict=True)
        smooth = torch.cat([self._smooth(part, part_0, None) for part, part_0 in parts if part.size(0)] or [x])
        return smooth.index_select(0, torch.argsort(order))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale}, temperature={self.temperature})"
