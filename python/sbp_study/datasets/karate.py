"""Zachary's karate club, embedded in PyG: one known label in each of four communities."""

from __future__ import annotations

import torch
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub


def load(root: str, split: int) -> Data:
    """Return 34 members with identity features. All members without a training label are test nodes."""
    data = KarateClub()[0]
    data.val_mask = torch.zeros_like(data.train_mask)
    data.test_mask = ~data.train_mask
    return data
