"""Does a user trust or distrust another? Predict signs with PyG's `SignedGCN`, before and after `accelerate`.

python link_signs.py                                  a generated network
python link_signs.py --csv bitcoin_otc.csv            columns: from, to, sign (rows without a sign are dropped)
python link_signs.py --root DIR                       PyG's own BitcoinOTC dataset in DIR
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time

import torch
from torch import Tensor
from torch_geometric import seed_everything
from torch_geometric.datasets import BitcoinOTC
from torch_geometric.nn import SignedGCN

from sbp_kernels.nn import accelerate


def generated(num_nodes: int = 300, num_edges: int = 3000, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Return a random network in which one user in five cheats and is distrusted by the others, with some noise."""
    edges = torch.randint(num_nodes, (2, num_edges))
    trusted = (edges[1] % 5 > 0) ^ (torch.rand(num_edges) < noise)
    return edges[:, trusted], edges[:, ~trusted]


def from_csv(path: str) -> tuple[Tensor, Tensor]:
    """Return positive and negative edges `[2, num_edges]` from a file with a header and three columns."""
    with open(path, newline="") as file:
        rows = [(int(a), int(b), float(sign)) for a, b, sign in list(csv.reader(file))[1:] if sign]
    sign = torch.tensor([row[2] for row in rows])
    edges = torch.tensor([row[:2] for row in rows]).t().contiguous()
    return edges[:, sign > 0], edges[:, sign < 0]


def from_pyg(root: str) -> tuple[Tensor, Tensor]:
    """Return all ratings of PyG's dataset by sign; the dataset splits them into 138 periods."""
    periods = list(BitcoinOTC(root, edge_window_size=1))
    edges = torch.cat([period.edge_index for period in periods], 1)
    rating = torch.cat([period.edge_attr for period in periods])
    return edges[:, rating > 0], edges[:, rating < 0]


def train(pos: Tensor, neg: Tensor, seed: int, epochs: int, fast: bool) -> tuple[float, float, float]:
    """Return (AUC, F1, median seconds per epoch) of one run; `fast` accelerates the model."""
    seed_everything(seed)
    num_nodes = 1 + int(torch.cat([pos, neg], 1).max())
    width = min(64, num_nodes)
    model = SignedGCN(width, 64, num_layers=2, lamb=5)
    pos, test_pos = model.split_edges(pos)
    neg, test_neg = model.split_edges(neg)
    x = spectral_features(pos, neg, num_nodes, width)
    if fast:
        accelerate(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        optimizer.zero_grad()
        model.loss(model(x, pos, neg), pos, neg).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    model.eval()
    with torch.no_grad():
        auc, f1 = model.test(model(x, pos, neg), test_pos, test_neg)
    return auc, f1, statistics.median(seconds)


def spectral_features(pos: Tensor, neg: Tensor, num_nodes: int, width: int) -> Tensor:
    """Return leading singular vectors of the signed adjacency, as PyG's slower `create_spectral_features`."""
    edges = torch.cat([pos, neg, pos.flip(0), neg.flip(0)], 1)
    sign = torch.ones(edges.size(1))
    sign[pos.size(1) : pos.size(1) + neg.size(1)] = sign[-neg.size(1) :] = -1.0
    matrix = torch.sparse_coo_tensor(edges, sign, (num_nodes, num_nodes), check_invariants=True).coalesce()
    return torch.svd_lowrank(matrix, width, niter=8)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv")
    parser.add_argument("--root")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    seed_everything(0)
    pos, neg = from_csv(args.csv) if args.csv else from_pyg(args.root) if args.root else generated()
    print(f"{pos.size(1)} positive and {neg.size(1)} negative edges, {torch.get_num_threads()} threads")
    means = {}
    for name, fast in (("PyG", False), ("accelerated", True)):
        runs = [train(pos, neg, seed, args.epochs, fast) for seed in range(args.seeds)]
        auc, f1, seconds = means[name] = [statistics.mean(column) for column in zip(*runs, strict=True)]
        print(f"{name:12} AUC {auc:.3f}   F1 {f1:.3f}   {1000 * seconds:.1f} ms per epoch")
    print(f"{means['PyG'][2] / means['accelerated'][2]:.1f} times as fast")


if __name__ == "__main__":
    main()
