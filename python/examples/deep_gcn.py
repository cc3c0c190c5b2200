"""How deep can a GCN be? Compare plain layers with layers of one SBP step, in which other classes repel.

python deep_gcn.py                             the karate club, which is part of PyG
python deep_gcn.py --root DIR --depths 2,32    Cora, read from DIR by PyG's Planetoid
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub, Planetoid

from sbp_kernels import SignedGraph, signed_propagate
from sbp_kernels.pyg import from_data

# The propagation step of a layer, before its weights. The plain one is that of GCN, a weighted mean of neighbours.
STEPS = {
    "plain": ({}, None),
    "SBP": ({"lam": 0.5, "beta": 0.5, "layer_norm": True}, "labels"),
}


class DeepGCN(nn.Module):
    """`depth` layers of \\( H \\leftarrow \\mathrm{relu}(\\mathrm{step}(H) W) \\) between two linear maps."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, depth: int, step: dict) -> None:
        super().__init__()
        self.step = step
        self.encode = nn.Linear(in_channels, hidden_channels)
        self.layers = nn.ModuleList(nn.Linear(hidden_channels, hidden_channels) for _ in range(depth))
        self.decode = nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor, graph: SignedGraph) -> Tensor:
        h = F.relu(self.encode(F.dropout(x, 0.5, self.training)))
        for layer in self.layers:
            h = F.relu(layer(signed_propagate(h, graph, **self.step)))
        return self.decode(h)


def accuracy(data: Data, name: str, depth: int, epochs: int, seed: int) -> float:
    """Train on `train_mask`; return the accuracy on all other nodes, or on `test_mask` if there is one."""
    torch.manual_seed(seed)
    step, negatives = STEPS[name]
    # The graph is built once. Training nodes of other classes repel, without a dense matrix.
    graph = from_data(data, negatives=negatives, add_self_loops=True, normalize="sym")
    model = DeepGCN(data.num_features, 64, int(data.y.max()) + 1, depth, step)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=5e-4)
    for _ in range(epochs):
        optimizer.zero_grad()
        F.cross_entropy(model(data.x, graph)[data.train_mask], data.y[data.train_mask]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = model(data.x, graph).argmax(1) == data.y
    tested = data.test_mask if "test_mask" in data else ~data.train_mask
    return float(right[tested].float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--depths", default="2,8")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    data = Planetoid(args.root, "Cora")[0] if args.root else KarateClub()[0]
    for depth in map(int, args.depths.split(",")):
        for name in STEPS:
            runs = [accuracy(data, name, depth, args.epochs, seed) for seed in range(args.seeds)]
            print(f"{depth:3} layers, {name:5}  accuracy {sum(runs) / len(runs):.3f}", flush=True)


if __name__ == "__main__":
    main()
