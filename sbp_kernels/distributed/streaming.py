"""Features that exceed the memory of a machine: propagated in blocks of columns, from file to file."""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adjacency.checks import check_count, describe
from ..graph import SignedGraph
from ..propagate import signed_propagate
from .fingerprint import fingerprint

# Rows that are read or written between two releases of their pages.
_ROW_BYTES = 1 << 26
# Blocks in memory: features, result, and two that the kernels use between steps.
_COPIES = 4


def precompute(
    x: Any,
    graph: SignedGraph,
    num_steps: int,
    out: Any,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    lam: float = 1.0,
    memory_bytes: int = 1 << 30,
) -> Any:
    """Write `signed_propagate(x, graph, num_steps=num_steps, ...)` into `out`, and return `out`.

    The steps are linear, so columns are independent: a block of as many as fit `memory_bytes` is read, propagated and
    written. After each block, a file beside `out` (`.progress`) records what is done; a call with the same arguments
    resumes there after an interruption, and the file is deleted at the end. The features before SGC's or SIGN's linear
    layer are computed like this once.

    Args:
        x: `numpy.memmap` (or array) `[num_nodes, features]`, float16, float32 or float64.
        graph: square, with fixed weights.
        out: `numpy.memmap` of the shape and type of x.
        alpha, beta, lam: as in `signed_propagate`, numbers.
        memory_bytes: what the blocks may take, besides the graph.

    Raises:
        ValueError: an argument breaks a rule, or the progress file belongs to other arguments.
    """
    width = _checked(x, graph, out, memory_bytes)
    given = {"graph": fingerprint(graph), "shape": list(x.shape), "dtype": str(x.dtype), "width": width,
             "num_steps": num_steps, "coefficients": [alpha, beta, lam]}  # fmt: skip
    progress = Path(f"{out.filename}.progress")
    for first in range(_done(progress, given), x.shape[1], width):
        block = _read(x, first, min(first + width, x.shape[1]))
        with torch.no_grad():
            result = signed_propagate(block, graph, alpha=alpha, beta=beta, lam=lam, num_steps=num_steps)
        _write(out, result, first)
        # The block must be in the file before the record says so.
        out.flush()
        _record(progress, {**given, "done": first + block.size(1)})
    progress.unlink(missing_ok=True)
    return out


def _checked(x: Any, graph: SignedGraph, out: Any, memory_bytes: int) -> int:
    """Return how many columns are in memory at a time."""
    if not isinstance(graph, SignedGraph) or graph.num_rows != graph.num_cols:
        raise ValueError(f"graph must be a square SignedGraph, got {describe(graph)}")
    if getattr(x, "ndim", 0) != 2 or x.shape[0] != graph.num_rows or str(x.dtype) not in _DTYPES:
        got = f"{getattr(x, 'dtype', type(x).__name__)} {getattr(x, 'shape', '')}"
        raise ValueError(f"x must be a float array [num_nodes={graph.num_rows}, features], got {got}")
    if getattr(out, "filename", None) is None or out.shape != x.shape or out.dtype != x.dtype or out.mode == "r":
        got = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
        raise ValueError(f"out must be a writable numpy.memmap of the shape and type of x, {x.shape}, got {got}")
    column = _COPIES * max(x.shape[0], 1) * x.dtype.itemsize
    if check_count("memory_bytes", memory_bytes) < column:
        raise ValueError(f"memory_bytes must hold one column, {column} bytes, got {memory_bytes}")
    width = min(memory_bytes // column, max(x.shape[1], 1))
    # Whole vectors of the kernels, if there are some.
    return width if width < 16 or width == x.shape[1] else width // 16 * 16


def _done(progress: Path, given: dict[str, Any]) -> int:
    """Return how many columns an interrupted call has written."""
    if not progress.exists():
        return 0
    try:
        found = json.loads(progress.read_text())
    except ValueError as error:
        raise ValueError(f"{progress} must be the record of a call of precompute, got other text") from error
    done = found.pop("done", None) if isinstance(found, dict) else None
    if not isinstance(done, int) or found != given:
        differing = [key for key in given if not isinstance(found, dict) or found.get(key) != given[key]]
        raise ValueError(
            f"{progress} must have the arguments of this call, got other {', '.join(differing)}; "
            "delete it to start again"
        )
    return done


def _record(progress: Path, content: dict[str, Any]) -> None:
    """Replace the file at once, so that it is whole whenever the process ends."""
    fresh = progress.with_name(f"{progress.name}.new")
    with fresh.open("w") as file:
        file.write(json.dumps(content))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(progress)


def _read(x: Any, first: int, last: int) -> Tensor:
    """Return the columns `[first, last)`."""
    block = torch.empty(x.shape[0], last - first, dtype=_DTYPES[str(x.dtype)])
    for rows in _row_ranges(x):
        block[rows] = torch.from_numpy(x[rows, first:last].copy())
        _release(x)
    return block


def _write(out: Any, result: Tensor, first: int) -> None:
    for rows in _row_ranges(out):
        out[rows, first : first + result.size(1)] = result[rows].numpy()
        _release(out)


def _row_ranges(array: Any) -> list[slice]:
    step = max(1, _ROW_BYTES // max(array.shape[1] * array.dtype.itemsize, 1))
    return [slice(start, start + step) for start in range(0, array.shape[0], step)]


def _release(array: Any) -> None:
    """Tell the system that this process no longer needs the pages of a memory map; the file keeps what was written."""
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED") and getattr(array, "mode", "c") != "c":
        pages.madvise(mmap.MADV_DONTNEED)


_DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
