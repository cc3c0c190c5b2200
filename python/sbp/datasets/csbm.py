"""Contextual stochastic block model, drawn on the spot (arXiv 2502.11394, section I.1)."""

from __future__ import annotations

import math

import torch
from torch_geometric.data import Data
from torch_geometric.utils import stochastic_blockmodel_graph

CLASS_SIZE = 100
NUM_FEATURES = 8


def load(root: str, split: int) -> Data:
    r"""Draw graph number `split`: two classes of 100, 80 % of the nodes with known labels.

    Edge probability \( p = 2 \log(100) / 100 \) inside a class, \( q = p / 2 \) across;
    features \( N(\pm 1, I_8) \).
    """
    n = 2 * CLASS_SIZE
    p = 2 * math.log(CLASS_SIZE) / CLASS_SIZE
    # PyG's block model draws from torch's global generator only.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(split)
        edge_index = stochastic_blockmodel_graph([CLASS_SIZE] * 2, [[p, p / 2], [p / 2, p]])
        y = torch.arange(n) // CLASS_SIZE
        x = torch.randn(n, NUM_FEATURES) + (2.0 * y - 1.0)[:, None]
        order = torch.randperm(n)
    train_mask = torch.zeros(n, dtype=torch.bool)
    train_mask[order[: int(0.8 * n)]] = True
    none = torch.zeros_like(train_mask)
    return Data(x=x, y=y, edge_index=edge_index, train_mask=train_mask, val_mask=none, test_mask=~train_mask)
