"""GCNII (Chen et al., arXiv 2007.02133)."""

from __future__ import annotations

from ..base import GraphModel


class GCNII(GraphModel):
    r"""\( H \leftarrow \mathrm{ReLU}(((1-a) \hat A H + a H_0)((1-b_l) I + b_l W_l)) \): unchanged backbone."""

    summary = "initial residual and identity mapping"
    section = "Table 14"
