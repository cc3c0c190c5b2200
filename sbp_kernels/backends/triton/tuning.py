"""How kernels are cut into tiles: a table by device and shape class, rules where it has no entry; and the launch.

Nothing is tuned in the call path: `python -m benchmarks.tune` writes `tuned.py` on a machine with a GPU.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache
from math import log2
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import on_compilation
from .tuned import TUNED

# Widest tile of features: one more column of programs beyond it. Whole rows (LayerNorm) may be wider.
MAX_BLOCK = 256
MAX_WHOLE_ROW = 1024
ON_AMD = torch.version.hip is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
ACC = {torch.float64: tl.float64}
# Unless somebody else already listens.
if triton.knobs.compilation.listener is None:
    triton.knobs.compilation.listener = on_compilation


class RowTile(NamedTuple):
    """A tile of gathered rows: at most `edges` of a row and `budget` numbers a trip."""

    edges: int
    budget: int
    num_warps: int


class DenseTile(NamedTuple):
    """A tile of streamed logits `[rows, cols]`, summed over slices of `depth` of the width of the factors."""

    rows: int
    cols: int
    depth: int
    num_warps: int
    num_stages: int


# Safe on every target: no register spills, and within the 64 KiB of shared memory of an AMD core.
ROW_DEFAULT = {"row": RowTile(16, 1024, 1), "light": RowTile(2, 512, 1), "segment": RowTile(32, 2048, 4)}


def row_tile(device: torch.device, kernel: str, itemsize: int, width: int) -> RowTile:
    """The tile of a gathering kernel: "row", "light" or "segment"."""
    found = _nearest(_device_name(device), kernel, itemsize, width, 0)
    if found is not None:
        return RowTile(*found)
    if ON_AMD and kernel == "light":
        # Waves of 64 lanes keep one mask a load in scalar registers, of which there are few: 16 bytes a lane, or
        # four numbers where rows do not start at a multiple of that.
        return ROW_DEFAULT[kernel]._replace(budget=512 if itemsize == 2 and width % 8 == 0 else 256)
    return ROW_DEFAULT[kernel]


def dense_tile(device: torch.device, itemsize: int, width: int, depth: int, kernel: str = "similarity") -> DenseTile:
    """The tile of the streamed softmax of logits over `depth` numbers, times x of `width` features."""
    found = _nearest(_device_name(device), kernel, itemsize, width, depth)
    if found is not None:
        return DenseTile(*found)
    if itemsize == 8:
        return DenseTile(16, 16, 16, 4, 1)
    # Whatever is wide takes twice the threads and half the columns, so that sums and logits stay in registers.
    narrow = kernel == "similarity" and itemsize == 2 and width <= 128 and depth <= 128
    if ON_AMD:
        return DenseTile(64, 32, 32, 4 if itemsize == 2 and (narrow or kernel == "similarity_grad") else 8, 1)
    return DenseTile(64, 64, 64, 4, 2) if narrow else DenseTile(64, 32, 32, 8, 2)


def resident_depth(itemsize: int) -> int:
    """The widest x0 whose rows stay in registers while columns stream by."""
    return 256 // itemsize


def feature_block(width: int, whole_row: bool = False) -> int:
    """Features in one tile, a power of two."""
    most = MAX_WHOLE_ROW if whole_row else MAX_BLOCK
    return min(1 << max(width - 1, 0).bit_length(), most)


def cut_row(tile: RowTile, block: int, several: bool) -> dict[str, int]:
    """How many rows, edges and features a trip takes; wide rows get more warps instead of more registers."""
    edges = max(min(tile.edges, tile.budget // block), 1)
    rows = max(tile.budget // (block * edges), 1) if several else 1
    warps = max(tile.num_warps, min(block * edges * rows // tile.budget, 4))
    return {"ROWS": rows, "EDGES": edges, "BLOCK": block, "num_warps": warps}


def together(width: int, *tensors: Tensor | None) -> int:
    """How many numbers, at most 16 bytes of them, lie side by side in every row of every tensor."""
    sizes = [width, *(t.stride(0) for t in tensors if t is not None)]
    align = max(16 // t.element_size() for t in tensors if t is not None)
    while align > 1 and any(size % align for size in sizes):
        align //= 2
    return align


def acc_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def stored_dtype(x: Tensor) -> torch.dtype:
    """The type kernels store results in; the interpreter would cut bfloat16 off instead of rounding it."""
    return torch.float32 if INTERPRETED and x.dtype == torch.bfloat16 else x.dtype


def acc_type(x: Tensor) -> Any:
    """The type sums run in, as kernels name it."""
    return ACC.get(x.dtype, tl.float32)


def dense_rows(x: Any) -> Any:
    """The same tensor with the features of a node side by side; rows may be any distance apart."""
    return x if x is None or x.stride(1) == 1 or x.size(1) <= 1 else x.contiguous()


def dot_precision() -> str:
    """How float32 factors multiply: three tensor-core products keep float32's own accuracy on NVIDIA."""
    return "ieee" if ON_AMD or INTERPRETED else "tf32x3"


def blocks(size: int, block: int) -> int:
    return -(-size // block)


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, args: dict[str, Any]) -> None:
    """Run on torch's current stream, on the tensor's device; an empty grid is no launch."""
    if 0 in grid:
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        # Fused multiply-adds, whatever the version's default.
        kernel[grid](**args, enable_fp_fusion=True)


def forget() -> None:
    """Look the table up again: it has changed."""
    _nearest.cache_clear()


@lru_cache
def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@lru_cache
def _nearest(device: str, kernel: str, itemsize: int, width: int, depth: int) -> tuple[int, ...] | None:
    """The entry of the nearest shape for this device, kernel and size of number."""
    keys = [key for key in TUNED.get(device, {}) if key[:2] == (kernel, itemsize)]
    if not keys:
        return None

    def distance(key: tuple[str, int, int, int]) -> float:
        return abs(log2(key[2] / max(width, 1))) + abs(log2(max(key[3], 1) / max(depth, 1)))

    return TUNED[device][min(keys, key=distance)]
