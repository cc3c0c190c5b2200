"""The backward pass of LayerNorm without weight and bias."""

from __future__ import annotations

from torch import Tensor


def layer_norm_backward(grad: Tensor, grad_rstd: Tensor, y: Tensor, rstd: Tensor) -> Tensor:
    """Return the gradient before LayerNorm, from its rows y and their 1/std, in the accumulation type."""
    g, y_wide = grad.to(rstd.dtype), y.to(rstd.dtype)
    inner = g - g.mean(1, keepdim=True) - y_wide * (g * y_wide).mean(1, keepdim=True)
    scale = rstd[:, None]
    through_rstd = (grad_rstd * rstd.square() / max(y.size(1), 1))[:, None] * y_wide
    return scale * inner - through_rstd
