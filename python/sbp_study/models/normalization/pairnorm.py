"""PairNorm (Zhao and Akoglu, arXiv 1909.12223)."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import PairNorm as Norm

from ...config import Config
from ..base import GraphModel


class PairNorm(GraphModel):
    r"""Centers the columns of \( \hat A X \), then scales all rows together (PN) or each row (PN-SI, PN-SCS).

    PN-SCS divides each row by its length before centering.
    """

    summary = "centers the columns of A X, one scale for all rows"

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.norm = Norm(config.norm_scale, scale_individually=config.norm_mode == "PN-SI")

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        if self.config.norm_mode == "PN-SCS":
            z = self.config.norm_scale * z / z.norm(dim=1, keepdim=True).clamp_min(1e-6)
            return z - z.mean(dim=0)
        return self.norm(z)
