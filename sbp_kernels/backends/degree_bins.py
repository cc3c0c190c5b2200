"""Rows binned by degree, so that a GPU gives each row as many threads as it has work for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class DegreeBins(NamedTuple):
    """Rows of a graph by the number of their edges in both halves, the heaviest first; empty where none are used.

    Hub rows have more edges than a block of threads takes; they are cut into chunks that are summed in order.
    """

    chunk: Tensor | None = None  # int32 [num_chunks, 3]: row, first and last of its edges (A+ then A-)
    hub: Tensor | None = None  # int32 [num_hubs + 1, 2]: row, first chunk
    block_rows: Tensor | None = None  # int32: rows for a block of threads each
    warp_rows: Tensor | None = None  # int32: rows for a warp each
    light_rows: Tensor | None = None  # int32: rows for a part of a warp each


NO_BINS = DegreeBins()


def bin_rows(degree: Any, light: int, warp: int, chunk: int) -> DegreeBins:
    """Return the bins of rows with these degrees; rows of more than `chunk` edges are cut into chunks."""
    rows = torch.arange(degree.numel(), device=degree.device, dtype=torch.int32)
    heavy = rows[degree > chunk]
    parts = (degree[heavy.long()] + chunk - 1) // chunk
    first_part = torch.cat([parts.new_zeros(1), parts.cumsum(0)])
    hub = torch.stack([torch.cat([heavy, heavy.new_zeros(1)]), first_part.to(torch.int32)], 1)
    owner = torch.repeat_interleave(torch.arange(heavy.numel(), device=degree.device), parts)
    first = (torch.arange(owner.numel(), device=degree.device) - first_part[owner]) * chunk
    last = torch.minimum(first + chunk, degree[heavy.long()][owner])
    chunks = torch.stack([heavy[owner], first.to(torch.int32), last.to(torch.int32)], 1)
    block = (degree > warp) & (degree <= chunk)
    return DegreeBins(chunks, hub, rows[block], rows[(degree > light) & (degree <= warp)], rows[degree <= light])
