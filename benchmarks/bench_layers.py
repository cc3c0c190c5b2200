"""python -m benchmarks.bench_layers --root DIR --signed FILE: time epochs of PyG's models, plain and accelerated."""

from __future__ import annotations

import argparse
import csv
import random
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import Tensor
from torch_geometric.datasets import Planetoid
from torch_geometric.utils import to_torch_csr_tensor

from sbp_kernels.nn import accelerate

from .bench_implicit import add_arguments, run_cases
from .competitors.comparisons import Comparison

HIDDEN, LAYERS = 64, 64


class GCNII(torch.nn.Module):
    """64 layers of PyG's `GCN2Conv` between two linear layers."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(in_channels, HIDDEN), torch.nn.Linear(HIDDEN, out_channels)
        self.convs = torch.nn.ModuleList(pyg.GCN2Conv(HIDDEN, 0.1, 0.5, layer + 1) for layer in range(LAYERS))
        self.dropout = torch.nn.Dropout(dropout) if dropout else torch.nn.Identity()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = x_0 = self.first(self.dropout(x)).relu()
        for conv in self.convs:
            x = conv(self.dropout(x), x_0, edge_index).relu()
        return self.last(self.dropout(x))


def gcnii(args: argparse.Namespace, dropout: float) -> Comparison:
    """Compare a training epoch on Cora: PyG on edges, PyG on a sparse matrix, ours on edges."""
    data = Planetoid(args.root, "Cora")[0]
    adj_t = to_torch_csr_tensor(data.edge_index.flip(0), size=(data.num_nodes, data.num_nodes))

    def epoch(swap: bool, adjacency: Tensor) -> Callable[[], Tensor]:
        torch.manual_seed(0)
        model = GCNII(data.num_features, int(data.y.max()) + 1, dropout)
        if swap:
            accelerate(model)

        def loss() -> Tensor:
            return F.cross_entropy(model(data.x, adjacency)[data.train_mask], data.y[data.train_mask])

        return training(model, loss)

    name = f"GCNII, {LAYERS} layers, Cora{', dropout' if dropout else ''}"
    return Comparison(name, data.num_nodes, HIDDEN, {
        "accelerated": epoch(True, data.edge_index),
        "PyG, edge_index": epoch(False, data.edge_index),
        "PyG, sparse adj_t": epoch(False, adj_t),
    }, agree=1e-4)  # fmt: skip


def signed_gcn(args: argparse.Namespace) -> Comparison:
    """Compare a training epoch of `SignedGCN`, losses included."""
    with open(args.signed, newline="") as file:
        rows = [[float(v) for v in row] for row in list(csv.reader(file))[1:] if len(row) == 3 and row[2]]
    table_ = torch.tensor(rows, dtype=torch.float64)
    nodes, edges = table_[:, :2].long().unique(return_inverse=True)
    pos, neg = (edges[chosen].T.contiguous() for chosen in (table_[:, 2] > 0, table_[:, 2] < 0))
    x = torch.randn(nodes.numel(), HIDDEN, generator=torch.Generator().manual_seed(0))

    def epoch(swap: bool) -> Callable[[], Tensor]:
        torch.manual_seed(0)
        model = pyg.SignedGCN(HIDDEN, HIDDEN, num_layers=2)
        if swap:
            accelerate(model)
        return training(model, lambda: model.loss(model(x, pos, neg), pos, neg))

    name = f"SignedGCN, {pos.size(1)} + {neg.size(1)} edges"
    calls = {"accelerated": epoch(True), "PyG, edge_index": epoch(False)}
    return Comparison(name, nodes.numel(), HIDDEN, calls, agree=1e-4)


def training(model: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return a function that trains one epoch with fixed random numbers and returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def epoch() -> Tensor:
        torch.manual_seed(1)
        random.seed(1)
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return epoch


CASES: dict[str, Callable[[argparse.Namespace], Comparison]] = {
    "gcnii": lambda args: gcnii(args, 0.0),
    "gcnii-dropout": lambda args: gcnii(args, 0.6),
    "signed-gcn": signed_gcn,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_layers", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of PyG's Planetoid, for Cora")
    parser.add_argument("--signed", type=Path, required=True, help="CSV of source, target, sign, with a header")
    add_arguments(parser, CASES, budget=20.0)
    args = parser.parse_args(argv)
    # PyTorch warns that sparse matrices are in beta.
    warnings.filterwarnings("ignore", message=".*[Ss]parse")
    return run_cases(parser, args, {name: partial(make, args) for name, make in CASES.items()}, "layers.csv")


if __name__ == "__main__":
    sys.exit(main())
