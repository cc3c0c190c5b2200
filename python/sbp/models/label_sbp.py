"""Label-SBP: training nodes of different classes repel each other (arXiv 2502.11394, section 4.2)."""

from __future__ import annotations

from torch_geometric.data import Data

from sbp_kernels import ClassBlock

from ..negatives import label_negative
from .base import SignedModel


class LabelSBP(SignedModel):
    """The signed step with the softmaxed matrix of training labels as negative adjacency."""

    summary = "signed step, negative edges from training labels"

    def negative(self, data: Data) -> ClassBlock:
        return label_negative(data.y, data.train_mask, self.config.label_softmax)
