"""The backward pass of LayerNorm without weight and bias."""

from __future__ import annotations

import torch
from torch import Tensor


def layer_norm_backward(grad: Tensor | None, grad_rstd: Tensor | None, y: Tensor, rstd: Tensor) -> Tensor:
    """Return the gradient before LayerNorm, from its rows y and their 1/std, in the accumulation type.

    `grad_rstd`, the gradient of 1/std, is None except in derivatives of second order; `grad` may be None there.
    """
    y_wide, scale = y.to(rstd.dtype), rstd[:, None]
    g = torch.zeros_like(y_wide) if grad is None else grad.to(rstd.dtype)
    before = scale * (g - g.mean(1, keepdim=True) - y_wide * (g * y_wide).mean(1, keepdim=True))
    if grad_rstd is None:
        return before
    # Not times the square of 1/std: that of a row of 1e-20 overflows.
    return before - (grad_rstd * rstd / max(y.size(1), 1) * rstd)[:, None] * y_wide
