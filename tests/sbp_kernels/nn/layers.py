"""The parity cases: every accelerated layer of PyG with several options, and the adjacencies to call it with."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric import EdgeIndex

import sbp_kernels.nn as ours

NUM_NODES, CHANNELS = 13, 6

# Name of the class, constructor arguments, whether it accepts edge weights.
CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("GCNConv", dict(in_channels=6, out_channels=4), True),
    ("GCNConv", dict(in_channels=-1, out_channels=4, improved=True, bias=False), True),
    ("GCNConv", dict(in_channels=6, out_channels=8, add_self_loops=False), True),
    ("GCNConv", dict(in_channels=6, out_channels=4, normalize=False), True),
    ("GCNConv", dict(in_channels=6, out_channels=4, cached=True), True),
    ("SGConv", dict(in_channels=6, out_channels=4), True),
    ("SGConv", dict(in_channels=-1, out_channels=4, K=3, add_self_loops=False), True),
    ("SGConv", dict(in_channels=6, out_channels=4, K=2, cached=True, bias=False), True),
    ("LGConv", dict(), True),
    ("LGConv", dict(normalize=False), True),
    ("APPNP", dict(K=4, alpha=0.1), True),
    ("APPNP", dict(K=3, alpha=0.2, add_self_loops=False, cached=True), True),
    ("APPNP", dict(K=2, alpha=0.0, normalize=False), True),
    ("APPNP", dict(K=3, alpha=0.1, dropout=0.5), True),
    ("GCN2Conv", dict(channels=6, alpha=0.2), True),
    ("GCN2Conv", dict(channels=6, alpha=0.2, theta=0.5, layer=3, shared_weights=False), True),
    ("GCN2Conv", dict(channels=6, alpha=1.0, add_self_loops=False, cached=True), True),
    ("GCN2Conv", dict(channels=6, alpha=0.5, normalize=False), True),
    ("FAConv", dict(channels=6), False),
    ("FAConv", dict(channels=6, eps=0.0, dropout=0.4, add_self_loops=False), False),
    ("FAConv", dict(channels=-1, eps=1.0, cached=True), False),
    ("FAConv", dict(channels=6, eps=0.3, normalize=False), True),
    ("SignedConv", dict(in_channels=6, out_channels=4, first_aggr=True), False),
    ("SignedConv", dict(in_channels=-1, out_channels=4, first_aggr=True, bias=False), False),
    ("SignedConv", dict(in_channels=3, out_channels=4, first_aggr=False), False),
    ("SignedConv", dict(in_channels=3, out_channels=4, first_aggr=False, aggr="add"), False),
]
FORMS = ["edge_index", "int32", "EdgeIndex", "coo", "csr", "csc"]


def name_of(case: tuple[str, dict[str, Any], bool]) -> str:
    return case[0] + "".join(f",{k}={v}" for k, v in case[1].items() if k not in ("in_channels", "out_channels"))


def both(name: str, arguments: dict[str, Any]) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return (PyG's layer, the accelerated layer), initialised with the same seed."""
    layers = []
    for package in (pyg, ours):
        torch.manual_seed(1)
        layers.append(getattr(package, name)(**arguments))
    return layers[0], layers[1]


def edges(seed: int, num_edges: int = 60, num_nodes: int = NUM_NODES) -> Tensor:
    """Return directed edges with duplicates and two self-loops; the last two nodes have no edges."""
    torch.manual_seed(seed)
    edge_index = torch.randint(0, num_nodes - 2, (2, num_edges))
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    loops = torch.tensor([[0, 3], [0, 3]]) if num_edges else torch.empty(2, 0, dtype=torch.long)
    return torch.cat([edge_index[:, :10], loops, edge_index[:, 10:]], 1)


def in_form(form: str, edge_index: Tensor, weight: Tensor | None) -> tuple[Any, Tensor | None]:
    """Return (adjacency, edge weights); the weights are None if the adjacency holds them."""
    if form == "edge_index":
        return edge_index, weight
    if form == "int32":
        return edge_index.int(), weight
    if form == "EdgeIndex":
        return EdgeIndex(edge_index, sparse_size=(NUM_NODES, NUM_NODES)), weight
    value = torch.ones(edge_index.size(1)) if weight is None else weight.detach()
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), value, (NUM_NODES, NUM_NODES)).coalesce()
    return {"coo": adj_t, "csr": adj_t.to_sparse_csr(), "csc": adj_t.to_sparse_csc()}[form], None


def inputs(name: str) -> list[Tensor]:
    """Return the features that a layer accepts before the adjacency."""
    torch.manual_seed(2)
    return [torch.randn(NUM_NODES, CHANNELS) for _ in range(2 if name in ("GCN2Conv", "FAConv") else 1)]


def run(layer: torch.nn.Module, features: list[Tensor], adjacency: list[Any]) -> tuple[Tensor, list[Tensor | None]]:
    """Return the output, and the gradients of features, edge weights and parameters."""
    leaves = [f.clone().requires_grad_() for f in features]
    learnable = [a for a in adjacency if isinstance(a, Tensor) and a.requires_grad]
    torch.manual_seed(3)
    out = layer(*leaves, *adjacency)
    wanted = [*leaves, *learnable, *layer.parameters()]
    torch.manual_seed(4)
    return out, list(torch.autograd.grad(out, wanted, torch.randn(out.shape), allow_unused=True))
