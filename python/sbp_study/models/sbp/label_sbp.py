"""Label-SBP: training nodes of different classes repel each other (arXiv 2502.11394, section 4.2)."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from sbp_kernels import ClassBlock

from ..base import SignedModel
from .negative_adjacency import label_negative


class LabelSBP(SignedModel):
    """The signed step with the softmaxed matrix of training labels as negative adjacency."""

    summary = "signed step, negative edges from training labels"

    def negative(self, data: Data) -> ClassBlock:
        known = data.train_mask
        if self.config.label_ratio < 1.0:
            nodes = known.nonzero().squeeze(1).cpu()
            # All seeds use the same order, and a larger ratio contains the nodes of a smaller one.
            order = torch.randperm(nodes.numel(), generator=torch.Generator().manual_seed(0))
            known = torch.zeros_like(known)
            known[nodes[order[: round(self.config.label_ratio * nodes.numel())]]] = True
        return label_negative(data.y, known, self.config.label_softmax)
