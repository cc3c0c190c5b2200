"""The softmax adjacency P = softmax(scale x0 x0^T) on the BLAS that torch carries, in tiles of its logits.

Logits are symmetric: a tile above the diagonal is computed once and serves as its own mirror image as well.
Tiles add up in a fixed order. Memory O(n (width + d)) for n nodes, d features; each function is one opaque
op, so that a compiler does not unroll the tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .interface import accumulation_dtype

# Rows and columns of a tile: enough for the matrix product to run at speed, and 4 MB of float32.
_TILE = 1024
# Numbers in a matrix that is worth keeping whole: 256 MB of float32.
_KEPT = 1 << 26


def log_sum_exp(x0: Tensor, scale: Tensor) -> Tensor:
    """Return log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    x0 = _wide(x0)
    lse = x0.new_full((x0.size(0),), -torch.inf)
    for rows, cols, logits in _tiles(x0, scale):
        lse[rows] = torch.logaddexp(lse[rows], logits.logsumexp(1))
        if rows is not cols:
            lse[cols] = torch.logaddexp(lse[cols], logits.logsumexp(0))
    return lse


def product(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """Return P x, or P^T x, `[n, d]`; P_ij = exp(logit_ij - lse_i)."""
    _check_rows(x0, x=x, lse=lse)
    x0, x = _wide(x0), x.to(lse.dtype)
    out = x.new_zeros(x.size())
    for rows, cols, logits in _tiles(x0, scale):
        by_row = (logits - lse[rows, None]).exp_()
        by_col = (logits.sub_(lse[None, cols])).exp_()
        # P takes the log-sum-exp of its rows, which for the mirror image are the columns of this tile.
        tile, mirror = (by_col, by_row) if transposed else (by_row, by_col)
        out[rows].addmm_(tile, x[cols])
        if rows is not cols:
            out[cols].addmm_(mirror.T, x[rows])
    return out


def gradient(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of <a, P b> with respect to x0, `[n, width]`."""
    _check_rows(x0, a=a, b=b, lse=lse)
    x0, a, b = (t.to(lse.dtype) for t in (x0, a, b))
    along = (a * product(x0, b, lse, scale, False)).sum(1)
    out = torch.zeros_like(x0)
    for rows, cols, logits in _tiles(x0, scale):
        # The logits' gradient, P_ij (<a_i, b_j> - <a_i, (P b)_i>), of this tile and of its mirror image.
        both = (logits - lse[rows, None]).exp_().mul_((a[rows] @ b[cols].T).sub_(along[rows, None]))
        both += logits.sub_(lse[None, cols]).exp_().mul_((b[rows] @ a[cols].T).sub_(along[None, cols]))
        out[rows].addmm_(both, x0[cols])
        if rows is not cols:
            out[cols].addmm_(both.T, x0[rows])
    return out.mul_(scale)


def matrix(x0: Tensor, lse: Tensor, scale: Tensor) -> Tensor | None:
    """Return P itself, `[n, n]`, if it is small enough to be cached: a product then costs a fraction; else None."""
    if x0.size(0) ** 2 > _KEPT:
        return None
    x0 = _wide(x0)
    return ((scale * x0) @ x0.T).sub_(lse[:, None]).exp_()


def _tiles(x0: Tensor, scale: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, cols, logits) on and above the diagonal; rows is cols on it. The next tile reuses the logits."""
    blocks = [slice(i, min(i + _TILE, x0.size(0))) for i in range(0, x0.size(0), _TILE)]
    buffer = x0.new_empty(min(_TILE, x0.size(0)) ** 2)
    for first, rows in enumerate(blocks):
        left = scale * x0[rows]
        for cols in blocks[first:]:
            size = (rows.stop - rows.start, cols.stop - cols.start)
            yield rows, cols, torch.mm(left, x0[cols].T, out=buffer[: size[0] * size[1]].view(size))


def _check_rows(x0: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if other.size(0) != x0.size(0):
            raise ValueError(f"{name} must have the {x0.size(0)} rows of x0, got {other.size(0)}")


def _wide(x0: Tensor) -> Tensor:
    return x0.float() if x0.element_size() == 2 else x0


# The ops live as long as this object does.
_LIBRARY = torch.library.Library("sbp_tiles", "DEF")
_OPS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "log_sum_exp(Tensor x0, Tensor scale) -> Tensor": (
        log_sum_exp,
        lambda x0, scale: x0.new_empty(x0.size(0), dtype=accumulation_dtype(x0)),
    ),
    "product(Tensor x0, Tensor x, Tensor lse, Tensor scale, bool transposed) -> Tensor": (
        product,
        lambda x0, x, lse, scale, transposed: x.new_empty(x.size(), dtype=lse.dtype),
    ),
    "gradient(Tensor x0, Tensor a, Tensor b, Tensor lse, Tensor scale) -> Tensor": (
        gradient,
        lambda x0, a, b, lse, scale: x0.new_empty(x0.size(), dtype=lse.dtype),
    ),
}
for _schema, (_run, _fake) in _OPS.items():
    _LIBRARY.define(_schema)
    _LIBRARY.impl(_schema.split("(")[0], _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"sbp_tiles::{_schema.split('(')[0]}", _fake, lib=_LIBRARY)
