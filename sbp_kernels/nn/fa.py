"""`FAConv`, the layer with learnable signs of edges."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric.typing import OptTensor, PairTensor
from torch_geometric.utils import is_sparse

from ..pyg.adjacency import layer_adjacency
from ..pyg.compiled import run_eager
from .arguments import coefficient
from .fused import Fused, aggregate, mix, promoted
from .replacement import check_features


class FAConv(Fused, pyg.FAConv):
    r"""PyG's `FAConv`: gates \( a_{ij} = \tanh(g_l x_j + g_r x_i) \in (-1, 1) \) on the edges of \( \hat A \),
    plus \( \epsilon X_0 \). Only the gates are stored per edge; the gated sum and its gradients are fused."""

    propagate_type: ClassVar[dict[str, Any]] = {"x": Tensor, "alpha": PairTensor, "edge_weight": OptTensor}

    def forward(
        self,
        x: Tensor,
        x_0: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        check_features("x", x)
        eps = coefficient("eps", self.eps)
        uses_x_0 = isinstance(eps, Tensor) or eps != 0.0
        if uses_x_0:
            check_features("x_0", x_0)
        return_attention = isinstance(return_attention_weights, bool)
        # PyG's own forward returns the attention weights of a sparse matrix.
        if self._runs_pyg(x) or (return_attention and is_sparse(edge_index)):
            return super().forward(x, x_0, edge_index, edge_weight, return_attention_weights)
        if torch.compiler.is_dynamo_compiling():
            return run_eager(self.forward, x, x_0, edge_index, edge_weight, return_attention_weights)
        if self.normalize and edge_weight is not None:
            raise ValueError("FAConv takes edge_weight only with normalize=False")
        if not self.normalize and edge_weight is None and not is_sparse(edge_index):
            raise ValueError("FAConv(normalize=False) needs edge_weight")
        edges, weight = self._gcn_edges(x, edge_index, edge_weight)
        source, target = edges if self.flow == "source_to_target" else edges.flip(0)
        gate = self.att_l(x).index_select(-2, source) + self.att_r(x).index_select(-2, target)
        gate = gate.tanh().squeeze(-1)
        weight = F.dropout(gate, p=self.dropout, training=self.training) * weight
        graph = layer_adjacency(edges, weight, size=x.size(-2), flow=self.flow, keep=False)
        x = promoted(x, edge_weight)
        out = mix(x, graph, x_0, 1.0, eps) if uses_x_0 else aggregate(x, graph)
        return (out, (edges, gate)) if return_attention else out
