"""Automatic differentiation and caches: which tensors need a derivative, and which tensor a wrapper holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from ..transforms import is_wrapped, needs_derivative


def differentiable(part: Any) -> bool:
    """Return whether a derivative may be taken with respect to `part`. Values derived from it are then not cached."""
    return isinstance(part, Tensor) and needs_derivative(part)


def unwrapped(part: Any) -> Any:
    """Return an index, label or other constant without the wrappers of torch.func: the cache is keyed by that object.

    Raises NotImplementedError if its value differs between the entries of a `vmap`.
    """
    if not isinstance(part, Tensor) or torch.compiler.is_dynamo_compiling():
        return part
    while is_wrapped(part):
        if _functorch.is_batchedtensor(part):
            raise NotImplementedError(
                "torch.func.vmap over edges or labels is not implemented: only features, weights and parameters may "
                f"differ between its entries, got a batched tensor of {part.dtype} and shape {tuple(part.shape)}"
            )
        part = _functorch.get_unwrapped(part)
    return part
