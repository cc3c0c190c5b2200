"""Contexts of the caller's: forward-mode differentiation, `torch.func`, autocast; what must run outside of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.autograd.forward_ad as _forward_ad
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.compiler import is_dynamo_compiling

_functorch_active = torch._C._are_functorch_transforms_active
is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor


def active() -> bool:
    """Return whether a `torch.func` transform runs or a level of forward-mode differentiation is open."""
    return _functorch_active() or _forward_ad._current_level >= 0


def outside() -> AbstractContextManager[object]:
    """Run the block outside of every `torch.func` transform.

    What is computed inside of one is a wrapper that dies with it, so values that are cached must not come from there.
    """
    return temporarily_clear_interpreter_stack() if _functorch_active() else nullcontext()


def needs_derivative(tensor: Tensor | None) -> bool:
    """Return whether a derivative may be taken with respect to this tensor, in reverse or in forward mode.

    A tensor inside a transform, or with a tangent, takes part in one without `requires_grad` being set.
    """
    if tensor is None:
        return False
    if tensor.requires_grad or is_dynamo_compiling():
        return tensor.requires_grad
    if is_wrapped(tensor):
        return True
    return _forward_ad._current_level >= 0 and _forward_ad.unpack_dual(tensor).tangent is not None


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Run the block without autocast on the tensor's device: its matrix products would round to 16 bits."""
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def plain(tensor: Tensor) -> Tensor:
    """Return the values of a tensor without derivatives and without the wrappers of `torch.func`.

    Raises NotImplementedError under `vmap` over the tensor, which then has other values in each batch entry.
    """
    while is_wrapped(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            raise NotImplementedError("edges, labels and signs are read when a graph is built: no vmap over them")
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.detach()
