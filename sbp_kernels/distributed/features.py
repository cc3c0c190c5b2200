"""LayerNorm of rows whose features are divided among ranks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .collectives import Group, sum_over


class SplitFeatures(NamedTuple):
    """Which columns of all the features this rank has."""

    ranks: Group
    first: int
    total: int


def feature_range(total: int, rank: int, size: int) -> tuple[int, int]:
    """Return the columns `[first, last)` of a rank: blocks of sizes that differ by one at most."""
    return total * rank // size, total * (rank + 1) // size


def standardize(y: Tensor, eps: float, split: SplitFeatures) -> Tensor:
    """Return the rows of y standardized over the features of all ranks, in the type of y.

    The ranks sum two float64 numbers a row, and two more in the backward pass. Squares are taken without scaling:
    float64 features must lie below 1e150.
    """
    wide = y.double()
    sums = sum_over(split.ranks, torch.stack([wide.sum(1), wide.square().sum(1)]))
    mean, mean_square = sums / max(split.total, 1)
    rstd = ((mean_square - mean.square()).clamp(min=0.0) + eps).rsqrt()
    return ((wide - mean[:, None]) * rstd[:, None]).to(y.dtype)
