"""A matrix over groups that is a diagonal plus few outer products: what a label matrix of many classes is."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checks import check_finite, check_tensor


class LowRank(NamedTuple):
    r"""\( B = \mathrm{diag}(v) + L R \), of which \( B S \) costs O(num_groups (rank + 1) d)."""

    diagonal: Tensor  # [num_groups]
    left: Tensor  # [num_groups, rank]
    right: Tensor  # [rank, num_groups]

    def check(self) -> None:
        """Raise ValueError unless the three parts fit together and are finite."""
        for name, part in self._asdict().items():
            check_tensor(name, part)
            check_finite(name, part)
        groups, rank = self.left.shape if self.left.dim() == 2 else (-1, -1)
        if self.diagonal.shape != (groups,) or self.right.shape != (rank, groups):
            shapes = ", ".join(str(tuple(part.shape)) for part in self)
            raise ValueError(f"diagonal [g], left [g, rank] and right [rank, g] must fit together, got {shapes}")

    @property
    def T(self) -> LowRank:
        return LowRank(self.diagonal, self.right.T.contiguous(), self.left.T.contiguous())

    def to(self, to: torch.device | str | torch.dtype) -> LowRank:
        return LowRank(*(part.to(to) for part in self))

    def dense(self) -> Tensor:
        return torch.diag(self.diagonal) + self.left @ self.right

    def mix(self, sums: Tensor, kernels: Any) -> Tensor:
        """Return B S for the sums S of all groups, `[num_groups, d]`."""
        whole = kernels.mix_groups(self.left, kernels.mix_groups(self.right, sums))
        return whole.addcmul_(self.diagonal[:, None], sums)


def of_labels(count: Tensor, softmax_over: str) -> LowRank:
    """Return Label-SBP's block for classes with so many known nodes; the last group is the unknown nodes.

    A known row of the softmax weighs e for other classes, 1/e for its own, 1 for the unknown; an unknown row 1 for all.
    """
    known = torch.ones_like(count)
    known[-1] = 0.0
    other, own = known.exp(), known * (torch.exp(-known) - torch.exp(known))
    unknown = torch.full_like(count, 0.0 if softmax_over == "labelled" else 1.0)
    total = other * (count * known).sum() + own * count + unknown * count[-1]
    scale = 1.0 / total.clamp_min(torch.finfo(count.dtype).tiny)
    left = torch.stack([other * scale, unknown * scale], 1)
    return LowRank(own * scale, left, torch.stack([known, 1.0 - known]))
