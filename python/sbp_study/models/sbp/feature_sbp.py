"""Feature-SBP: nodes with dissimilar initial features repel each other (arXiv 2502.11394, section 4.2)."""

from __future__ import annotations

from torch_geometric.data import Data

from sbp_kernels import Similarity

from ..base import SignedModel
from .negative_adjacency import feature_negative


class FeatureSBP(SignedModel):
    """The signed step with the softmaxed dissimilarity of the initial features as negative adjacency."""

    summary = "signed step, negative edges from initial features"

    def negative(self, data: Data) -> Similarity:
        return feature_negative(data.x, self.config.temperature)
