"""Accuracy, and two measures of oversmoothing: Dirichlet energy and effective rank."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threads import one_thread

# Edges per chunk: limits the memory of their differences to a few hundred megabytes for wide features.
_EDGE_CHUNK = 1 << 14


def accuracy(predicted: Tensor, y: Tensor, mask: Tensor) -> float | None:
    """Return the percentage of correctly predicted nodes in `mask`, or None if the mask is empty."""
    if not bool(mask.any()):
        return None
    return 100.0 * (predicted[mask] == y[mask]).double().mean().item()


def dirichlet_energy(x: Tensor, edge_index: Tensor) -> float:
    r"""Return \( \frac1n \sum_i \sum_{j \in N_i} \lVert x_i - x_j \rVert^2 \) over the stored edges.

    The sum uses the differences themselves. The expanded square would cancel to zero digits once neighbors agree.
    """
    total = 0.0
    for source, target in edge_index.split(_EDGE_CHUNK, dim=1):
        total += (x[target] - x[source]).square().sum(dtype=torch.float64).item()
    return total / x.size(0)


def effective_rank(x: Tensor) -> float:
    r"""Return \( \exp(-\sum_k p_k \log p_k) \), \( p_k = \sigma_k / \sum_l \sigma_l \) (arXiv 2502.04591).

    The singular values \( \sigma \) are computed from the smaller Gram matrix in float64. Their error is about 1e-8 of
    the largest one.
    """
    wide = x.double()
    gram = wide.T @ wide if x.size(0) > x.size(1) else wide @ wide.T
    with one_thread():
        sigma = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    if not bool(sigma.sum() > 0):
        return 0.0
    return torch.special.entr(sigma / sigma.sum()).sum().exp().item()
