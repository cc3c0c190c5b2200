"""The two negative adjacencies of structural balance propagation (arXiv 2502.11394, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from sbp_kernels import ClassBlock, Similarity


def label_negative(y: Tensor, train_mask: Tensor, softmax_over: str = "all") -> ClassBlock:
    """Return softmax of the label matrix (1 different, -1 same, 0 unknown), `[n, n]`, from training labels only."""
    # Labels outside the mask are removed here, so that no later code can read them.
    return ClassBlock.from_labels(torch.where(train_mask, y, 0), train_mask, softmax_over)


def feature_negative(x0: Tensor, temperature: float = 1.0) -> Similarity:
    r"""Return \( \mathrm{softmax}(-X_0 X_0^\top / \tau) \), `[n, n]`, streamed."""
    return Similarity(x0, sign=-1.0, temperature=temperature)
