"""No propagation: the linear layer of the SGC backbone on the input features."""

from __future__ import annotations

from torch import Tensor

from ..base import Model


class MLP(Model):
    """The paper's row "MLP", interpreted as its SGC backbone without steps: one linear layer without hidden layers."""

    summary = "no propagation: one linear layer on the features"
    section = "Table 2"

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return x
