"""What the arrays of an adjacency must satisfy; each check names the rule and the offending value."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_pattern(rowptr: Tensor, col: Tensor, num_cols: int) -> None:
    """Raise ValueError unless (rowptr, col) is a valid compressed-row pattern over `num_cols` columns."""
    if rowptr.dim() != 1 or rowptr.numel() < 1 or rowptr.dtype != torch.int64:
        raise ValueError(f"rowptr must be int64 of shape [num_rows + 1], got {rowptr.dtype} {tuple(rowptr.shape)}")
    if col.dim() != 1 or col.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"col must be int32 or int64 of shape [num_edges], got {col.dtype} {tuple(col.shape)}")
    if rowptr.device != col.device:
        raise ValueError(f"rowptr and col must be on one device, got {rowptr.device} and {col.device}")
    first, last = int(rowptr[0]), int(rowptr[-1])
    if first != 0 or last != col.numel():
        raise ValueError(f"rowptr must run from 0 to num_edges={col.numel()}, got {first} to {last}")
    step = rowptr.diff()
    if step.numel() and int(step.min()) < 0:
        row = int(step.argmin())
        raise ValueError(f"rowptr must not decrease, got {int(rowptr[row])} then {int(rowptr[row + 1])} at row {row}")
    check_index("col", col, num_cols)


def check_index(name: str, index: Tensor, size: int) -> None:
    """Raise ValueError unless every value of `index` lies in [0, size)."""
    if index.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(index))
    if low < 0 or high >= size:
        raise ValueError(f"{name} must lie in [0, {size}), got values from {low} to {high}")


def check_values(name: str, value: Tensor | None, size: int, size_name: str, device: torch.device) -> None:
    """Raise ValueError unless `value` is absent or a finite floating vector of `size` on `device`."""
    if value is None:
        return
    if value.dim() != 1 or value.numel() != size or not value.is_floating_point():
        raise ValueError(
            f"{name} must be floating with shape [{size_name}={size}], got {value.dtype} {tuple(value.shape)}"
        )
    if value.device != device:
        raise ValueError(f"{name} must be on the device of the edges, {device}, got {value.device}")
    if value.numel() == 0:
        return
    # Both ends are finite if all are: a NaN is both.
    low, high = torch.aminmax(value.detach())
    if not -math.inf < float(low) <= float(high) < math.inf:
        where = int((~torch.isfinite(value)).nonzero()[0])
        raise ValueError(f"{name} must be finite, got {float(value[where])} at position {where}")


def check_edges(
    edge_index: Tensor, num_nodes: int | None, size: tuple[int, int] | None
) -> tuple[Tensor, Tensor, int, int]:
    """Check PyG's `edge_index`; return (source, target, num_sources, num_targets)."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"edge_index must be int64 of shape [2, num_edges], got {edge_index.dtype} {tuple(edge_index.shape)}"
        )
    if num_nodes is not None and size is not None:
        raise ValueError("give num_nodes (square) or size=(num_sources, num_targets), not both")
    if size is None:
        if num_nodes is None:
            num_nodes = int(edge_index.max()) + 1 if edge_index.numel() else 0
        size = (num_nodes, num_nodes)
    if min(size) < 0:
        raise ValueError(f"the number of nodes must be >= 0, got {min(size)}")
    check_index("edge_index[0] (sources)", edge_index[0], size[0])
    check_index("edge_index[1] (targets)", edge_index[1], size[1])
    return edge_index[0].long(), edge_index[1].long(), size[0], size[1]
