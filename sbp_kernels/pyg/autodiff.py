"""Which tensors automatic differentiation tracks, and how to compute outside of a torch.func transform."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd import forward_ad


def differentiable(part: Any) -> bool:
    """Return whether a derivative may be asked for with respect to `part`: then nothing derived from it is cached.

    Inside `torch.func.jvp` and `vmap`, and with the dual tensors of forward mode, `requires_grad` is False.
    """
    return isinstance(part, Tensor) and (part.requires_grad or (in_transform() and _tracked(part)))


def in_transform() -> bool:
    """Return whether the caller runs under a transform of torch.func or inside a level of forward mode."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return _functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def fixed(part: Any) -> Any:
    """Return an index, label or other constant without the wrappers of torch.func, to look it up in the cache.

    Raises NotImplementedError where a `vmap` gives every one of its entries another value.
    """
    if not isinstance(part, Tensor):
        return part
    while _functorch.is_functorch_wrapped_tensor(part):
        if _functorch.is_batchedtensor(part):
            raise NotImplementedError(
                "torch.func.vmap over edges or labels is not implemented: only features, weights and parameters may "
                f"differ between its entries, got a batched tensor of {part.dtype} and shape {tuple(part.shape)}"
            )
        part = _functorch.get_unwrapped(part)
    return part


@contextmanager
def outside_transforms() -> Iterator[None]:
    """Compute plain tensors: results of an operation inside a transform are wrapped, and must not be cached."""
    if _functorch.peek_interpreter_stack() is None:
        yield
    else:
        with temporarily_clear_interpreter_stack():
            yield


def _tracked(part: Tensor) -> bool:
    if _functorch.is_functorch_wrapped_tensor(part):
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(part).tangent is not None
