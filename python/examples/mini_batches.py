"""Train in mini-batches: the signed graph of a batch is built from the batch, with any loader of PyG.

python mini_batches.py                               a generated graph, induced subgraphs of random nodes
python mini_batches.py --loader neighbor             sampled neighbourhoods; needs pyg-lib or torch-sparse
python mini_batches.py --root DIR                    Cora, read from DIR by PyG's Planetoid
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid
from torch_geometric.loader import NeighborLoader, RandomNodeLoader
from torch_geometric.utils import stochastic_blockmodel_graph

from sbp_kernels import SignedGraph, signed_propagate
from sbp_kernels.pyg import SignedData, ToSignedGraph


def generated(size: int = 400, classes: int = 3) -> Data:
    """Return a graph of communities with noisy features."""
    inside, outside = 8 / size, 2 / size
    chances = torch.full((classes, classes), outside).fill_diagonal_(inside)
    y = torch.arange(classes).repeat_interleave(size)
    x = F.one_hot(y, 8).float() + 1.5 * torch.randn(classes * size, 8)
    train = torch.rand(y.numel()) < 0.3
    edge_index = stochastic_blockmodel_graph([size] * classes, chances)
    return Data(x=x, y=y, edge_index=edge_index, train_mask=train, test_mask=~train)


class SBP(nn.Module):
    """An encoder, four signed propagation steps and a decoder."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.encode = nn.Linear(in_channels, hidden_channels)
        self.decode = nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor, graph: SignedGraph) -> Tensor:
        h = F.relu(self.encode(x))
        return self.decode(signed_propagate(h, graph, lam=0.5, beta=0.5, num_steps=4))


def batches(data: SignedData, loader: str) -> Iterable[SignedData]:
    if loader == "neighbor":
        return NeighborLoader(data, num_neighbors=[10, 10, 10, 10], batch_size=256, shuffle=True)
    return RandomNodeLoader(data, num_parts=4, shuffle=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--loader", choices=["random", "neighbor"], default="random")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    data = Planetoid(args.root, "Cora")[0] if args.root else generated()
    # The transform stores the rule, not a graph: each batch has the graph of its own edges and labels.
    data = ToSignedGraph("labels", add_self_loops=True, normalize="sym")(data)
    model = SBP(data.num_features, 64, int(data.y.max()) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for epoch in range(1, args.epochs + 1):
        model.train()
        for batch in batches(data, args.loader):
            optimizer.zero_grad()
            out = model(batch.x, batch.signed_graph)
            # A sampled neighbourhood starts with the seed nodes; only these have predictions.
            asked = torch.arange(batch.num_nodes) < batch.get("batch_size", batch.num_nodes)
            train = batch.train_mask & asked
            if train.any():
                F.cross_entropy(out[train], batch.y[train]).backward()
                optimizer.step()
        if epoch % 5 == 0:
            model.eval()
            with torch.no_grad():
                right = model(data.x, data.signed_graph).argmax(1) == data.y
            print(
                f"epoch {epoch:3}  test accuracy on the whole graph {float(right[data.test_mask].float().mean()):.3f}"
            )


if __name__ == "__main__":
    main()
