"""Zachary's karate club, embedded in PyG: one known label in each of four communities."""

from __future__ import annotations

import torch
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub


def load(root: str, split: int) -> Data:
    """34 members, identity features; every member without a known label is tested."""
    data = KarateClub()[0]
    data.val_mask = torch.zeros_like(data.train_mask)
    data.test_mask = ~data.train_mask
    return data
