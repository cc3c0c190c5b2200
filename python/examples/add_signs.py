"""Add signs to your own graph: four sources of negative edges, and the effect of each.

python add_signs.py                 the karate club, which is part of PyG
python add_signs.py --root DIR      Cora, read from DIR by PyG's Planetoid
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub, Planetoid
from torch_geometric.utils import homophily

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_propagate
from sbp_kernels.pyg import from_data


def known_signs(data: Data) -> SignedGraph:
    """1. You know which edges are negative: trust and distrust, agree and disagree, ratings above and below.

    Put the sign into `edge_weight`. Here, edges between training nodes of different classes count as negative.
    """
    source, target = data.edge_index
    opposed = data.train_mask[source] & data.train_mask[target] & (data.y[source] != data.y[target])
    signed = Data(edge_index=data.edge_index, edge_weight=1.0 - 2.0 * opposed.float(), num_nodes=data.num_nodes)
    return from_data(signed, normalize="sym")


def labels(data: Data) -> SignedGraph:
    """2. You have labels on some nodes: all pairs of known nodes of different classes repel (Label-SBP).

    The matrix is dense, but it is stored as one number per pair of classes.
    """
    return from_data(data, negatives="labels", add_self_loops=True, normalize="sym")


def features(data: Data) -> SignedGraph:
    """3. You have only features: dissimilar nodes repel more (Feature-SBP). The matrix is streamed, never stored.

    Features are scaled to unit length; otherwise, the softmax would select a single node.
    """
    positive = CSR.from_edge_index(data.edge_index, num_nodes=data.num_nodes).add_self_loops().normalize("sym")
    return SignedGraph(positive, Similarity(F.normalize(data.x, dim=1)))


def mean(data: Data) -> SignedGraph:
    """4. You have neither: all nodes repel each other slightly, which centres the features (PairNorm, BatchNorm)."""
    positive = CSR.from_edge_index(data.edge_index, num_nodes=data.num_nodes).add_self_loops().normalize("sym")
    return SignedGraph(positive, ClassBlock.mean(data.num_nodes))


SOURCES = {"known signs": known_signs, "labels": labels, "features": features, "the mean": mean}


def spread(x: Tensor) -> float:
    """Return how far apart the nodes are, relative to the norm of the features."""
    return float((x - x.mean(0)).norm() / x.norm().clamp(min=1e-12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root")
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(0)
    data = Planetoid(args.root, "Cora")[0] if args.root else KarateClub()[0]
    print(f"{data.num_nodes} nodes; {homophily(data.edge_index, data.y):.0%} of the edges join a class to itself")
    x = torch.randn(data.num_nodes, 16)
    options = {"lam": 0.5, "num_steps": args.steps, "layer_norm": True}
    print(f"spread of random features after {args.steps} steps (0: all nodes are alike, 1: their mean is zero)")
    unsigned = from_data(data, negatives=None, normalize="sym")
    print(f"  no negatives  {spread(signed_propagate(x, unsigned, **options)):.3f}")
    for name, build in SOURCES.items():
        # beta is the strength of repulsion and the only number to tune, between 0 (none) and about 1.
        print(f"  {name:12}  {spread(signed_propagate(x, build(data), beta=0.5, **options)):.3f}")


if __name__ == "__main__":
    main()
