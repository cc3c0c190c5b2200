"""Layers that propagate over one normalized adjacency."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor

from ..pyg.adjacency import layer_adjacency
from ..pyg.compiled import needs_eager, run_eager
from .arguments import coefficient
from .fused import Fused, aggregate, mix, promoted
from .replacement import check_features, needs_module_call


class GCNConv(Fused, pyg.GCNConv):
    r"""PyG's `GCNConv`: \( D^{-1/2} (A + I) D^{-1/2} X \Theta + b \), with degrees of absolute weights."""

    def forward(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        # PyG raises an error for a tuple.
        if isinstance(x, (tuple, list)) or self._runs_pyg(x):
            return super().forward(x, edge_index, edge_weight)
        if needs_eager(edge_weight):
            return run_eager(self.forward, x, edge_index, edge_weight)
        if self.normalize:
            graph = self._gcn_graph(x, edge_index, edge_weight, 2.0 if self.improved else 1.0)
        else:
            graph = layer_adjacency(edge_index, edge_weight, size=x.size(-2), flow=self.flow)
        out = aggregate(promoted(self.lin(x), edge_weight), graph)
        return out if self.bias is None else out + self.bias


class SGConv(Fused, pyg.SGConv):
    r"""PyG's `SGConv`: \( (D^{-1/2} (A + I) D^{-1/2})^K X \Theta + b \), all K steps in one call.

    If \( \Theta \) reduces the number of features, it is applied first: the result is the same.
    """

    _cached_x: Tensor | None

    def forward(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        if self._runs_pyg(x) or self._cached_x is not None:
            return super().forward(x, edge_index, edge_weight)
        if needs_eager(edge_weight):
            return run_eager(self.forward, x, edge_index, edge_weight)
        size, loops = x.size(-2), 1.0 if self.add_self_loops else None
        graph = layer_adjacency(edge_index, edge_weight, size=size, flow=self.flow, self_loops=loops, normalize="sym")
        lin = self.lin
        # Forward hooks (lazy initialisation is one) must see the propagated features.
        if not (self.cached or needs_module_call(lin)) and lin.weight.size(0) < x.size(-1):
            out = aggregate(promoted(F.linear(x, lin.weight), edge_weight), graph, num_steps=self.K)
            return out if lin.bias is None else out + lin.bias
        x = aggregate(promoted(x, edge_weight), graph, num_steps=self.K)
        if self.cached and self.K > 0:
            self._cached_x = x
        return lin(x)


class LGConv(Fused, pyg.LGConv):
    r"""PyG's `LGConv`: \( D^{-1/2} A D^{-1/2} X \), with degrees of absolute weights."""

    def forward(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        if self._runs_pyg(x):
            return super().forward(x, edge_index, edge_weight)
        if needs_eager(edge_weight):
            return run_eager(self.forward, x, edge_index, edge_weight)
        mode = "sym" if self.normalize else None
        graph = layer_adjacency(edge_index, edge_weight, size=x.size(-2), flow=self.flow, normalize=mode)
        return aggregate(promoted(x, edge_weight), graph)


class APPNP(Fused, pyg.APPNP):
    r"""PyG's `APPNP`: \( X \leftarrow (1 - \alpha) \hat A X + \alpha X_0 \), K times, all in one call.

    With dropout, every step has other weights, so the steps run one by one; edges are not sorted again.
    """

    def forward(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        if self._runs_pyg(x):
            return super().forward(x, edge_index, edge_weight)
        alpha = coefficient("alpha", self.alpha)
        drops = self.dropout > 0 and self.training
        if needs_eager(edge_weight) or (drops and torch.compiler.is_dynamo_compiling()):
            return run_eager(self.forward, x, edge_index, edge_weight)
        x = promoted(x, edge_weight)
        if drops:
            return self._with_dropout(x, *self._gcn_edges(x, edge_index, edge_weight))
        if self.normalize:
            graph = self._gcn_graph(x, edge_index, edge_weight)
        else:
            graph = layer_adjacency(edge_index, edge_weight, size=x.size(-2), flow=self.flow)
        if 0.0 <= alpha <= 1.0:
            return aggregate(x, graph, x, lam=1.0 - alpha, num_steps=self.K)
        x_0 = x
        for _ in range(self.K):
            x = mix(x, graph, x_0, 1.0 - alpha, alpha)
        return x

    def _with_dropout(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        x_0 = x
        for _ in range(self.K):
            # Dropped weights stay dropped in later steps, as in PyG.
            edge_weight = F.dropout(edge_weight, p=self.dropout)
            graph = layer_adjacency(edge_index, edge_weight, size=x.size(-2), flow=self.flow, keep=False)
            x = mix(x, graph, x_0, 1.0 - self.alpha, self.alpha)
        return x


class GCN2Conv(Fused, pyg.GCN2Conv):
    r"""PyG's `GCN2Conv` (GCNII): \( H = (1 - \alpha) \hat A X + \alpha X_0 \) in one pass, then
    \( (1 - \beta) H + \beta H \Theta \)."""

    def forward(self, x: Tensor, x_0: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        check_features("x_0", x_0)
        if self._runs_pyg(x):
            return super().forward(x, x_0, edge_index, edge_weight)
        if needs_eager(edge_weight):
            return run_eager(self.forward, x, x_0, edge_index, edge_weight)
        alpha = coefficient("alpha", self.alpha)
        coefficient("beta", self.beta)
        if self.normalize:
            graph = self._gcn_graph(x, edge_index, edge_weight)
        else:
            graph = layer_adjacency(edge_index, edge_weight, size=x.size(-2), flow=self.flow)
        x = promoted(x, edge_weight)
        if x_0.size(0) != x.size(0):
            # Only slice if necessary: the gradient of a slice is a copy.
            x_0 = x_0[: x.size(0)]
        if self.weight2 is None:
            return self._transform(mix(x, graph, x_0, 1.0 - alpha, alpha), self.weight1)
        smooth = aggregate(x, graph, alpha=1.0 - alpha)
        return self._transform(smooth, self.weight1) + self._transform(alpha * x_0, self.weight2)

    def _transform(self, x: Tensor, weight: Tensor) -> Tensor:
        # X ((1 - beta) I + beta W) interpolates the weights, a small matrix, and not the features.
        return x @ torch.lerp(torch.eye(weight.size(0), dtype=weight.dtype, device=weight.device), weight, self.beta)
