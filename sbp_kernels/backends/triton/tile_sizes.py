"""Tile sizes of the kernels: measured ones by device and shape, and rules for shapes without a measurement.

Calls never tune: `python -m benchmarks.tune` measures on a GPU and writes `measured_tile_sizes.py`.
"""

from __future__ import annotations

from functools import lru_cache
from math import log2
from typing import NamedTuple

import torch

from . import launch
from .measured_tile_sizes import TUNED

# Features in a tile at most; wider rows take several programs. A tile of whole rows (LayerNorm) may be wider.
MAX_BLOCK = 256
MAX_WHOLE_ROW = 1024


class RowTile(NamedTuple):
    """A tile of gathered rows: at most `edges` edges of a row and `budget` numbers per iteration."""

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


# Defaults that spill no registers on any target and fit in the 64 KiB of shared memory of an AMD compute unit.
ROW_DEFAULT = {"row": RowTile(16, 1024, 1), "light": RowTile(2, 512, 1), "segment": RowTile(32, 2048, 4)}


def row_tile(device: torch.device, kernel: str, itemsize: int, width: int) -> RowTile:
    """Return the tile of a kernel that gathers rows: "row", "light" or "segment"."""
    found = _nearest(_device_name(device), kernel, itemsize, width, 0)
    if found is not None:
        return RowTile(*found)
    if launch.ON_AMD and kernel == "light":
        # A wave of 64 lanes holds one mask per load in scalar registers, of which there are few. So a lane loads 16
        # bytes or, if rows do not begin at a multiple of 16 bytes, four numbers.
        return ROW_DEFAULT[kernel]._replace(budget=512 if itemsize == 2 and width % 8 == 0 else 256)
    return ROW_DEFAULT[kernel]


def dense_tile(device: torch.device, itemsize: int, width: int, depth: int, kernel: str = "similarity") -> DenseTile:
    """Return the tile of the similarity kernels, for logits over `depth` numbers and x of `width` features."""
    found = _nearest(_device_name(device), kernel, itemsize, width, depth)
    if found is not None:
        return DenseTile(*found)
    if itemsize == 8:
        return DenseTile(16, 16, 16, 4, 1)
    # Larger shapes take twice the threads and half the columns, so that sums and logits stay in registers.
    small = kernel == "similarity" and itemsize == 2 and width <= 128 and depth <= 128
    if launch.ON_AMD:
        return DenseTile(64, 32, 32, 4 if itemsize == 2 and (small or kernel == "similarity_grad") else 8, 1)
    return DenseTile(64, 64, 64, 4, 2) if small else DenseTile(64, 32, 32, 8, 2)


def resident_depth(itemsize: int) -> int:
    """Return the largest width of x0 for which the rows of a tile stay in registers while it iterates over columns."""
    return 256 // itemsize


def feature_block(width: int, whole_row: bool = False) -> int:
    """Return the number of features in one tile, a power of two."""
    most = MAX_WHOLE_ROW if whole_row else MAX_BLOCK
    return min(1 << max(width - 1, 0).bit_length(), most)


def cut_row(tile: RowTile, block: int, several: bool) -> dict[str, int]:
    """Return the rows, edges and features per iteration; longer rows take more warps instead of more registers."""
    edges = max(min(tile.edges, tile.budget // block), 1)
    rows = max(tile.budget // (block * edges), 1) if several else 1
    warps = max(tile.num_warps, min(block * edges * rows // tile.budget, 4))
    return {"ROWS": rows, "EDGES": edges, "BLOCK": block, "num_warps": warps}


def forget() -> None:
    """Clear cached look-ups after a change of the table."""
    _nearest.cache_clear()


@lru_cache
def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@lru_cache
def _nearest(device: str, kernel: str, itemsize: int, width: int, depth: int) -> tuple[int, ...] | None:
    """Return the entry with the nearest shape for this device, kernel and size of a number; None without entries."""
    keys = [key for key in TUNED.get(device, {}) if key[:2] == (kernel, itemsize)]
    if not keys:
        return None

    def distance(key: tuple[str, int, int, int]) -> float:
        return abs(log2(key[2] / max(width, 1))) + abs(log2(max(key[3], 1) / max(depth, 1)))

    return TUNED[device][min(keys, key=distance)]
