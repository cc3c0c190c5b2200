"""DropMessage (Fang et al., arXiv 2204.10037), on the aggregated messages."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..base import GraphModel


class DropMessage(GraphModel):
    r"""A random mask of the entries of \( \hat A X \) in training, following Table 5 of arXiv 2502.11394.

    The original masks the message of each edge before the sum.
    """

    summary = "a random mask of the entries of A X in each epoch"
    fixed = False

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        return F.dropout(super().after(z, before), self.config.drop_rate, self.training)
