"""The launch of a kernel, and its arguments that depend on types and layouts."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .ops import on_compilation

ON_AMD = torch.version.hip is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
ACC = {torch.float64: tl.float64}
# Set the listener only if no other one is set.
if triton.knobs.compilation.listener is None:
    triton.knobs.compilation.listener = on_compilation


def run(kernel: Any, grid: tuple[int, ...], device: torch.device, args: dict[str, Any]) -> None:
    """Launch on torch's current stream of the tensors' device; an empty grid is no launch."""
    if 0 in grid:
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        # Fused multiply-adds, whatever the default of the Triton version is.
        kernel[grid](**args, enable_fp_fusion=True)


def blocks(size: int, block: int) -> int:
    """Return how many blocks of `block` elements cover `size`."""
    return -(-size // block)


def alignment(width: int, *tensors: Tensor | None) -> int:
    """Return how many numbers, at most 16 bytes, a load may take at a time in every row of every tensor."""
    sizes = [width, *(t.stride(0) for t in tensors if t is not None)]
    align = max(16 // t.element_size() for t in tensors if t is not None)
    while align > 1 and any(size % align for size in sizes):
        align //= 2
    return align


def dense_rows(x: Any) -> Any:
    """Return x with the features of a node contiguous; the stride between nodes is arbitrary."""
    return x if x is None or x.stride(1) == 1 or x.size(1) <= 1 else x.contiguous()


def acc_type(x: Tensor) -> Any:
    """Return the accumulation type as Triton names it."""
    return ACC.get(x.dtype, tl.float32)


def stored_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which kernels store results; the interpreter truncates to bfloat16 instead of rounding."""
    return torch.float32 if INTERPRETED and x.dtype == torch.bfloat16 else x.dtype


def dot_precision() -> str:
    """Return how float32 factors are multiplied: on NVIDIA, three tf32 products, which are as accurate as float32."""
    return "ieee" if ON_AMD or INTERPRETED else "tf32x3"
