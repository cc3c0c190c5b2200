"""PyGSD's `SNEAConv`: attention over positive and negative neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric_signed_directed.nn import signed

from ... import SignedGraph
from ...adjacency.csr import CSR
from ...adjacency.sparsity import SparsityPattern
from ...pyg.compiled import deferrable, defers_lookup, lookup, lookup_graph
from ...pyg.edges import list_edges
from ...pyg.ops import propagate
from ..fused import Fused
from ..replacement import needs_module_call


class SNEAConv(Fused, signed.SNEAConv):
    r"""`torch_geometric_signed_directed.nn.SNEAConv` without messages (Li et al., AAAI 2020).

    PyGSD weighs the features of the *target* of an edge by its attention (the paper: of its source), so only the
    share of attention that a node gives to its positive neighbours matters:

    \[ y_i = p_i x^1_i + (1 - p_i) x^2_i, \quad p_i = \sum_{j \in N^+_i} a_{ij} \Big/ \sum_{j \in N^\pm_i} a_{ij},
       \quad a_{ij} = e^{\tanh(v_1 \cdot x_j + v_2 \cdot x_i + c)} \]

    This takes a few numbers per edge, where PyGSD stores 8 `out_dim`. In a first layer \( p_i = 1 \).
    Features that are not finite affect their own rows; in PyGSD, those of their neighbours as well.

    Shapes:
        x `[num_nodes, in_dim]`, or `[num_nodes, 2 in_dim]` unless `first_aggr`; output `[num_nodes, 2 out_dim]`.
    """

    def pyg_reason(self, x: Any = None) -> str | None:
        if needs_module_call(self.alpha_b, self.alpha_u):
            return "its alpha_b or alpha_u is not a plain Linear without hooks"
        return super().pyg_reason(x)

    def forward(self, x: Tensor, pos_edge_index: Tensor, neg_edge_index: Tensor) -> Tensor:
        """Return the same result as PyGSD's layer."""
        if self._runs_pyg(x) or x.dim() != 2:
            return super().forward(x, pos_edge_index, neg_edge_index)
        pos, neg = (_half(edges, x.size(0), self.flow) for edges in (pos_edge_index, neg_edge_index))
        if self.first_aggr:
            # The shares sum to one, so attention has no effect. Its gradient is zero and not None, for weight decay.
            lins, alphas = (self.lin_b, self.lin_u), (self.alpha_b, self.alpha_u)
            outs = [
                lin(x) * half.reached + 0.0 * sum(p.sum() for p in alpha.parameters())
                for lin, alpha, half in zip(lins, alphas, (pos, neg), strict=True)
            ]
            return torch.cat(outs, -1)
        h_b, h_u = x[..., : self.in_dim], x[..., self.in_dim :]
        x1 = torch.stack([self.lin_b(h_b), self.lin_u(h_u)], 1)  # [n, 2, out_dim]
        x2 = torch.stack([self.lin_b(h_u), self.lin_u(h_b)], 1)
        attention_pos = self._attention(x1, pos, loops=True)
        attention_neg = self._attention(x2, neg, loops=False)
        total = attention_pos + attention_neg
        total = torch.where(total > 0, total, 1.0)
        return (x1 * (attention_pos / total).unsqueeze(-1) + x2 * (attention_neg / total).unsqueeze(-1)).flatten(1)

    def _attention(self, x: Tensor, half: _Half, loops: bool) -> Tensor:
        """Return the attention of each node summed over its edges, by balanced and unbalanced features: `[n, 2]`."""
        weight = torch.cat([self.alpha_b.weight, self.alpha_u.weight])
        bias = torch.cat([self.alpha_b.bias, self.alpha_u.bias])
        of_source, of_target = weight.unflatten(1, (2, self.out_dim)).unbind(1)
        source, target = (x * of_source).sum(-1), (x * of_target).sum(-1) + bias
        logit = source.index_select(0, half.source) + target.index_select(0, half.target)
        total = propagate(logit.tanh().exp(), half.edges_of_node)
        return total + (source + target).tanh().exp() * half.reached if loops else total


class _Half(NamedTuple):
    source: Tensor
    target: Tensor
    # The matrix [n, num_edges] that sums over the edges that end in a node, without self-loops.
    edges_of_node: Any
    # [n, 1]: 1 for each node to which PyGSD adds a self-loop.
    reached: Tensor


def _half(edge_index: Tensor, n: int, flow: str) -> _Half:
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided or edge_index.dim() != 2:
        list_edges(edge_index, n, flow)
        raise ValueError(f"SNEAConv takes edges as a tensor [2, num_edges], got a matrix of layout {edge_index.layout}")
    graph = lookup_graph(_snea_edges, ((edge_index.size(1), n), flow), edge_index)
    source, target = edge_index if flow == "source_to_target" else edge_index.flip(0)
    reached = _reached((n,), edge_index) if defers_lookup() else lookup(_reached, (n,), edge_index)
    return _Half(source, target, graph, reached)


def _reached(options: tuple[int], edge_index: Tensor) -> Tensor:
    """Return 1 for each node up to the last that has an edge to another one: PyGSD adds self-loops to these."""
    source, target = edge_index
    last = torch.where(source != target, torch.maximum(source, target), -1).amax() if source.numel() else -1
    nodes = torch.arange(options[0], device=edge_index.device)
    return (nodes <= last).view(-1, 1).to(torch.int8)


@deferrable
def _snea_edges(options: tuple[tuple[int, int], str], edge_index: Tensor) -> SignedGraph:
    (num_edges, n), flow = options
    source, target = list_edges(edge_index, n, flow)[0]
    not_loops = (source != target).nonzero().view(-1)
    pattern, _ = SparsityPattern.from_coo(target[not_loops], not_loops, n, num_edges)
    return SignedGraph(CSR._trusted(pattern))
