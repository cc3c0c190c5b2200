"""The compiled kernels, `torch.ops.sbp.*`: their limits and how to call them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._library import NOT_LOADED

_FEATURES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_EMPTY = (None,) * 7
# Numbers in one tile of streamed logits: large enough for BLAS, small enough to be no memory question.
_TILE = 1 << 21


def unsupported(x: Tensor) -> str | None:
    if NOT_LOADED is not None:
        return NOT_LOADED
    if x.device.type != "cpu":
        return f"no kernels were compiled for {x.device.type} tensors"
    if x.dtype not in _FEATURES:
        return f"features must be float32, float64, bfloat16 or float16, got {x.dtype}"
    return None


def signed_spmm(
    x: Tensor,
    x_neg: Tensor | None,
    residual: Tensor | None,
    pos: Any,
    neg: Any,
    coefs: tuple[float, float, float],
    coef: Tensor | None,
    num_rows: int,
    eps: float | None,
) -> tuple[Tensor, Tensor | None]:
    """r R + p A+ x + q A- x_neg, then LayerNorm if `eps` is given: `[n, d]`, and 1/std of each row."""
    pos, neg = _same_index_type(pos, neg)
    together = _rows_together(x)
    residual = together if residual is x else _rows_together(residual)
    args = (together, _rows_together(x_neg), residual, *pos, *neg, coef, *coefs, num_rows)
    return (_spmm(*args), None) if eps is None else _spmm_norm(*args, eps)


def signed_pair(x: Tensor, pos: Any, neg: Any, num_rows: int) -> tuple[Tensor, Tensor]:
    """(A+ x, A- x), each `[n, d]`."""
    pos, neg = _same_index_type(pos, neg)
    return torch.ops.sbp.signed_pair(_rows_together(x), *pos, *neg, num_rows)


def signed_dot(y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any) -> Tensor:
    """(<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    pos, neg = _same_index_type(pos, neg)
    return torch.ops.sbp.signed_dot(_rows_together(y), _rows_together(x), *pos, *neg, _rows_together(residual))


def edge_dot(a: Tensor, b: Tensor, term: Any) -> Tensor:
    """row_scale_i col_scale_j <a_i, b_j> for every edge j -> i: `[E]`."""
    return torch.ops.sbp.edge_dot(
        _rows_together(a), _rows_together(b), term.rowptr, term.col, term.row_scale, term.col_scale
    )


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Sum of x over each group, `[num_groups, d]`."""
    return torch.ops.sbp.group_sum(_rows_together(x), order, segptr, group_segptr)


def mix_groups(block: Tensor, sums: Tensor) -> Tensor:
    """block @ sums, `[num_groups, d]`; BLAS would round differently with another number of threads."""
    return torch.ops.sbp.mix_groups(block, sums)


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """log sum_j exp(scale <x0_i, x0_j>), `[n]`, a tile of rows at a time."""
    return torch.cat([torch.logsumexp(logits, dim=1) for logits in _logit_tiles(x0, scale)])


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """softmax(scale x0 x0^T) x, or its transpose times x: `[n, d]`, a tile of rows at a time."""
    x = x.to(lse.dtype)
    tiles, first = [], 0
    for logits in _logit_tiles(x0, scale):
        last = first + logits.size(0)
        logits -= lse if transposed else lse[first:last, None]
        tiles.append(logits.exp_() @ x)
        first = last
    return torch.cat(tiles)


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T): `[n, width]`, a tile of rows at a time."""
    x0, a, b = (t.to(lse.dtype) for t in (x0, a, b))
    out, first = torch.zeros_like(x0), 0
    for tile in _logit_tiles(x0, scale):
        rows = slice(first, first + tile.size(0))
        # The gradient of the logits, P (<a_i, b_j> - <a_i, (P b)_i>), takes their place.
        tile.sub_(lse[rows, None]).exp_()
        dot = a[rows] @ b.T
        dot -= (tile * dot).sum(1, keepdim=True)
        tile *= dot
        out[rows] += tile @ x0
        out += tile.T @ x0[rows]
        first = rows.stop
    return out.mul_(scale)


def _logit_tiles(x0: Tensor, scale: Tensor) -> Any:
    """scale x0 x0^T, some rows at a time (at least one tile, be it empty)."""
    x0 = x0.float() if x0.element_size() == 2 else x0
    num_nodes = x0.size(0)
    rows = max(1, min(num_nodes, _TILE // max(num_nodes, 1)))
    for first in range(0, max(num_nodes, 1), rows):
        yield (scale * x0[first : first + rows]) @ x0.T


def _rows_together(x: Any) -> Any:
    """The same tensor with the features of a node side by side; rows may be any distance apart."""
    return x if x is None or x.stride(1) == 1 else x.contiguous()


def _same_index_type(pos: Any, neg: Any) -> tuple[Any, Any]:
    """Both halves with columns of one type; absent halves as seven Nones."""
    pos, neg = _EMPTY if pos is None else pos, _EMPTY if neg is None else neg
    if pos[1] is not None and neg[1] is not None and pos[1].dtype != neg[1].dtype:
        pos, neg = (half._replace(col=half.col.long()) for half in (pos, neg))
    return pos, neg


if NOT_LOADED is None:
    _spmm, _spmm_norm = torch.ops.sbp.signed_spmm.default, torch.ops.sbp.signed_spmm_norm.default
