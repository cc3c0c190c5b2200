"""Graph convolutional network (Kipf and Welling, arXiv 1609.02907)."""

from __future__ import annotations

from ..base import GraphModel


class GCN(GraphModel):
    r"""\( H \leftarrow \mathrm{ReLU}(\hat A H W) \): the backbone without changes."""

    summary = "H <- ReLU(A H W), the unsigned baseline with weights"
