"""Bytes that a fused pass moves, by formula."""

from __future__ import annotations

from .modes import FORWARD


def gather_bytes(num_edges: int, width: int, itemsize: int) -> int:
    """Return the bytes of the rows of x that all edges read."""
    return num_edges * width * itemsize


def stream_bytes(num_nodes: int, num_edges: int, width: int, itemsize: int) -> int:
    """Return the bytes that a pass reads or writes in order, whatever its format.

    Each edge has a column and a factor of 4 bytes; each node has a row of x as residual, a row of y and a row pointer.
    """
    return 8 * num_edges + num_nodes * (2 * width * itemsize + 8)


def passes(mode: str) -> int:
    """Return how often a call traverses the graph: once forward, and once more backward."""
    return 1 if mode == FORWARD else 2
