"""ContraNorm (Guo et al., arXiv 2303.06562), exact at any size, because its n x n softmax is streamed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sbp_kernels import SignedGraph, Similarity, signed_propagate

from ..base import GraphModel


class ContraNorm(GraphModel):
    r"""\( H \leftarrow (1 + s) H - s\, \mathrm{softmax}(\bar H \bar H^\top / \tau) H \) on \( H = \hat A X \).

    \( \bar H \) has the rows of H, scaled to length 1, as in the authors' code for graphs.
    """

    summary = "repels similar nodes after A X"

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        c = self.config
        if not bool(torch.isfinite(z).all()):
            # Features may grow by 1 + s in every step; rows that have overflowed have no direction.
            return z
        repulsion = SignedGraph(neg=Similarity(F.normalize(z, dim=1), sign=1.0, temperature=c.temperature))
        # With lam = 1/2 and doubled coefficients, the residual adds both terms in one pass.
        propagated = signed_propagate(
            z, repulsion, beta=2.0 * c.norm_scale, lam=0.5, residual=(2.0 + 2.0 * c.norm_scale) * z, backend=c.backend
        )
        return super().after(propagated, before)
