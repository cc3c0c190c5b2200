"""Contextual stochastic block model, generated on request (arXiv 2502.11394, section I.1)."""

from __future__ import annotations

import math

import torch
from torch_geometric.data import Data
from torch_geometric.utils import stochastic_blockmodel_graph

from ..errors import UserError

CLASS_SIZE = 100
NUM_FEATURES = 8


def load(root: str, split: int, phi: float = 1 / 3) -> Data:
    r"""Generate graph number `split`: two classes of 100 nodes, 80 % of the nodes with training labels.

    Edge probability \( p = (1 + \varphi)\, s / 2 \) inside a class, \( q = (1 - \varphi)\, s / 2 \) across,
    \( s = 3 \log(100) / 100 \); features \( N(\pm 1, I_8) \). So \( \varphi = (p - q) / (p + q) \) sets the homophily
    at a constant expected degree of \( 100 s - p \): -1 puts all edges between the classes, 1 puts all edges inside a
    class, and 1/3 gives the paper's \( p = 2q = 2 \log(100) / 100 \). Features do not depend on \( \varphi \), unlike
    those of GPR-GNN (arXiv 2006.07988).
    """
    if not -1 <= phi <= 1:
        raise UserError(f"phi must lie in [-1, 1], got {phi}")
    n = 2 * CLASS_SIZE
    both = 3 * math.log(CLASS_SIZE) / CLASS_SIZE
    p, q = (1 + phi) * both / 2, (1 - phi) * both / 2
    # PyG's block model uses torch's global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(split)
        edge_index = stochastic_blockmodel_graph([CLASS_SIZE] * 2, [[p, q], [q, p]])
        y = torch.arange(n) // CLASS_SIZE
        x = torch.randn(n, NUM_FEATURES) + (2.0 * y - 1.0)[:, None]
        order = torch.randperm(n)
    train_mask = torch.zeros(n, dtype=torch.bool)
    train_mask[order[: int(0.8 * n)]] = True
    none = torch.zeros_like(train_mask)
    return Data(x=x, y=y, edge_index=edge_index, train_mask=train_mask, val_mask=none, test_mask=~train_mask)
