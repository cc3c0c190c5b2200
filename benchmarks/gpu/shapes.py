"""The graphs that a GPU is measured on, and the bytes that one row pass over them moves."""

from __future__ import annotations

# name: nodes, positive and negative edges, exponent of the degree distribution (0: a road network).
SHAPES = {
    "cora": (2_708, 10_556, 10_556, 3.0),
    "arxiv": (169_343, 2_315_598, 1_157_799, 2.5),
    "road": (142_000, 130_000, 70_000, 0.0),
    "reddit": (232_965, 114_615_892, 11_461_589, 2.5),
    "products": (2_449_029, 123_718_280, 61_859_140, 2.5),
}


def gathered_bytes(name: str, d: int, size: int) -> int:
    """The row of x at the far end of every edge."""
    _, pos, neg, _ = SHAPES[name]
    return (pos + neg) * d * size


def streamed_bytes(name: str, d: int, size: int) -> int:
    """An edge: its column and scale. A node: x as residual, y, two row pointers, two scales, its place in the plan."""
    n, pos, neg, _ = SHAPES[name]
    return (pos + neg) * 8 + n * (2 * d * size + 16 + 8 + 4)
