"""DropMessage (Fang et al., arXiv 2204.10037), on the aggregated messages."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..base import GraphModel


class DropMessage(GraphModel):
    r"""A random mask of the entries of \( \hat A X \) in training, as the paper's Table 5 reads it.

    The original masks each edge's message before they are summed.
    """

    summary = "a random mask of the entries of A X each epoch"
    fixed = False

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        return F.dropout(super().after(z, before), self.config.drop_rate, self.training)
