"""What arguments must satisfy; each check raises ValueError with the rule and the offending value.

Only a tensor without data (on the meta device) raises NotImplementedError: it is legal, but nothing here can read it.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from ..backends.interface import FLOATS
from ..transforms import is_wrapped, needs_derivative, outside, plain

# Row pointers are int64, and counts of nodes and edges are sized by them.
_BYTES_A_ROW = 8
# Others, as those of torch.export, have no storage to look at.
_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


def describe(value: Any) -> str:
    """Return how a message names a value: a tensor's type and shape, another object's class, a short value itself."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {'nested' if value.is_nested else tuple(value.shape)}"
    text = repr(value) if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_tensor(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a dense tensor that holds data."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor, got {describe(value)}")
    if value.layout is not torch.strided or value.is_nested:
        raise ValueError(f"{name} must be a dense tensor, got one of layout {value.layout}")
    if value.is_meta:
        raise NotImplementedError(f"{name} must hold data, and a tensor on the meta device has none")


def as_index(value: Any) -> int | None:
    """Return the integer that `value` stands for; None for bools, tensors and whatever is no integer."""
    if isinstance(value, (bool, Tensor)) or not hasattr(value, "__index__"):
        return None
    try:
        return value.__index__()
    except TypeError:
        # An array of several numbers.
        return None


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int; it must be an integer >= 0 for which row pointers fit in this machine's memory."""
    count = as_index(value)
    if count is None:
        raise ValueError(f"{name} must be an integer, got {describe(value)}")
    if count < 0:
        raise ValueError(f"{name} must be >= 0, got {count}")
    if count > 1 << 28 and count * _BYTES_A_ROW > _memory():
        raise ValueError(
            f"{name} must leave room for {_BYTES_A_ROW} bytes a node in the {_memory():.2e} bytes of this machine, "
            f"got {describe(count)}"
        )
    return count


def _memory() -> int:
    """Return the bytes of this machine's memory, or 2**40 if the system does not report them."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 40


def check_real(name: str, value: Any) -> float:
    """Return `value` as a float; it must be a finite real number."""
    try:
        number = math.nan if isinstance(value, (str, bytes, Tensor)) else float(value)
    except (TypeError, OverflowError, ValueError):
        number = math.nan
    # Not math.isfinite, which torch.compile does not trace for a variable number.
    if not -math.inf < number < math.inf:
        raise ValueError(f"{name} must be a finite number, got {describe(value)}")
    return number


def check_device(device: Any) -> torch.device:
    """Return `device`, which must name one that torch can use here."""
    try:
        if device is not None and not isinstance(device, bool):
            return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"device must be one that torch can use here, got {describe(device)}") from error
    raise ValueError(f"device must be one that torch can use here, got {describe(device)}")


def check_pattern(rowptr: Tensor, col: Tensor, num_cols: int) -> None:
    """Raise ValueError unless (rowptr, col) is a valid compressed-row pattern over `num_cols` columns."""
    if rowptr.dim() != 1 or rowptr.numel() < 1 or rowptr.dtype != torch.int64:
        raise ValueError(f"rowptr must be int64 of shape [num_rows + 1], got {describe(rowptr)}")
    if col.dim() != 1 or col.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"col must be int32 or int64 of shape [num_edges], got {describe(col)}")
    if rowptr.device != col.device:
        raise ValueError(f"rowptr and col must be on one device, got {rowptr.device} and {col.device}")
    first, last = int(rowptr[0]), int(rowptr[-1])
    if first != 0 or last != col.numel():
        raise ValueError(f"rowptr must run from 0 to num_edges={col.numel()}, got {first} to {last}")
    falls = rowptr[1:] < rowptr[:-1]
    if bool(falls.any()):
        row = int(falls.nonzero()[0])
        raise ValueError(f"rowptr must not decrease, got {int(rowptr[row])} then {int(rowptr[row + 1])} at row {row}")
    check_index("col", col, num_cols)


def check_index(name: str, index: Tensor, size: int) -> None:
    """Raise ValueError unless every value of `index` lies in [0, size)."""
    if index.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(index))
    if low < 0 or high >= size:
        raise ValueError(f"{name} must lie in [0, {size}), got values from {low} to {high}")


def check_values(name: str, value: Any, size: int, size_name: str, device: torch.device) -> None:
    """Raise ValueError unless `value` is absent, or a finite floating vector of `size` on `device`.

    Under `torch.func` the values cannot be read, so that finiteness is not checked there.
    """
    if value is None:
        return
    check_tensor(name, value)
    if value.dim() != 1 or value.numel() != size or not value.is_floating_point():
        raise ValueError(f"{name} must be floating with shape [{size_name}={size}], got {describe(value)}")
    check_float_type(name, value)
    if value.device != device:
        raise ValueError(f"{name} must be on the device of the edges, {device}, got {value.device}")
    check_finite(name, value)


def check_float_type(name: str, value: Tensor) -> None:
    """Raise ValueError if `value` is of a floating type that no kernel reads."""
    if value.is_floating_point() and value.dtype not in FLOATS:
        raise ValueError(f"{name} must be float32, float64, bfloat16 or float16, got {value.dtype}")


def check_finite(name: str, value: Tensor) -> None:
    """Raise ValueError unless every element of `value` is finite."""
    if value.numel() == 0 or is_wrapped(value):
        return
    # Both ends are finite if all are: a NaN is both.
    low, high = torch.aminmax(value.detach())
    if not -math.inf < float(low) <= float(high) < math.inf:
        where = tuple((~torch.isfinite(value)).nonzero()[0].tolist())
        place = where[0] if len(where) == 1 else where
        raise ValueError(f"{name} must be finite, got {float(value[where])} at position {place}")


def check_storage(name: str, tensor: Tensor) -> None:
    """Raise ValueError if someone has resized the storage of a tensor so that its elements lie beyond the end."""
    if is_dynamo_compiling() or is_wrapped(tensor) or type(tensor) not in _PLAIN_TENSORS or tensor.numel() == 0:
        return
    last = tensor.storage_offset() + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    if tensor.untyped_storage().nbytes() < (last + 1) * tensor.element_size():
        raise ValueError(f"{name} must keep its storage, but someone has resized it below {tuple(tensor.shape)}")


def check_scale(name: str, value: Any, size: int, size_name: str, device: torch.device) -> None:
    """Check a node scale like `check_values`; it must not require a gradient."""
    check_values(name, value, size, size_name, device)
    if needs_derivative(value):
        raise ValueError(f"{name} must not require a gradient: multiply the edge weights by it instead")


def check_order(order: Any, num_edges: int, weight: Any) -> None:
    """Raise ValueError unless `order` says for each edge which element of `weight` it takes."""
    check_tensor("order", order)
    check_tensor("weight", weight)
    if order.dim() != 1 or order.dtype != torch.int64 or order.numel() != num_edges:
        raise ValueError(f"order must be int64 of shape [num_edges={num_edges}], got {describe(order)}")
    check_values("weight", weight, weight.numel(), "num_weights", order.device)
    check_index("order", order, weight.numel())


def check_permutation(order: Any, num_edges: int) -> None:
    """Raise ValueError unless `order` names one edge of the caller for each edge."""
    check_tensor("edge_permutation", order)
    if order.dim() != 1 or order.dtype != torch.int64 or order.numel() != num_edges:
        raise ValueError(f"edge_permutation must be int64 of shape [num_edges={num_edges}], got {describe(order)}")
    if num_edges and int(order.min()) < 0:
        raise ValueError(f"edge_permutation must be >= 0, got {int(order.min())}")


def check_edges(
    edge_index: Any, num_nodes: Any, size: Any, name: str = "edge_index"
) -> tuple[Tensor, Tensor, int, int]:
    """Check PyG's `edge_index`; return (source, target, num_sources, num_targets)."""
    check_tensor(name, edge_index)
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{name} must be int64 of shape [2, num_edges], got {describe(edge_index)}")
    if num_nodes is not None and size is not None:
        raise ValueError("give num_nodes (square) or size=(num_sources, num_targets), not both")
    if size is None:
        if num_nodes is None:
            num_nodes = int(plain(edge_index).max()) + 1 if edge_index.numel() else 0
        size = (num_nodes, num_nodes)
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size must be (num_sources, num_targets), got {describe(size)}")
    num_sources, num_targets = (check_count("the number of nodes", part) for part in size)
    with outside():
        source, target = plain(edge_index)
        check_index(f"{name}[0] (sources)", source, num_sources)
        check_index(f"{name}[1] (targets)", target, num_targets)
        return source.long(), target.long(), num_sources, num_targets
