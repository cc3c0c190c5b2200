"""The compiled kernels, `_ops.*`: their limits and how to call them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._extension import NOT_LOADED
from . import similarity_blas

_ops = torch.ops.sbp
_FEATURES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_EMPTY = (None,) * 7
# The index arrays of a graph were validated when it was built: the ops need not read them again.
_TRUSTED = True
# Devices that the binary has kernels for.
_DEVICES = {
    device
    for device in ("cpu", "cuda")
    if NOT_LOADED is None and torch._C._dispatch_has_kernel_for_dispatch_key("sbp::signed_spmm", device.upper())
}
# Devices whose rows are shared out by a plan, and the edges of a row (of both halves) up to which a part of
# a warp, a warp, a block of threads takes it.
_PLANNED, _LIGHT, _WARP, _CHUNK = ("cuda",), 8, 64, 2048
# Devices that read both signs from one list.
_LISTED = ("cpu",)


def unsupported(x: Tensor) -> str | None:
    if NOT_LOADED is not None:
        return NOT_LOADED
    if ("cpu" if x.is_cpu else x.device.type) not in _DEVICES:
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
    plan: Any,
) -> tuple[Tensor, Tensor | None]:
    """r R + p A+ x + q A- x_neg, then LayerNorm if `eps` is given: `[n, d]`, and 1/std of each row."""
    pos, neg = _same_index_type(pos, neg)
    args = (x, x_neg, residual, *pos, *neg, coef, *coefs, num_rows)
    if eps is None:
        return _spmm(*args, *plan, _TRUSTED), None
    return _spmm_norm(*args, eps, *plan, _TRUSTED)


class Merged(NamedTuple):
    """Both signs of a graph in one list of edges: rows 2i, 2i + 1 have the positive, the negative edges of row i."""

    rowptr: Tensor  # int64 [2 num_rows + 1]
    col: Tensor  # int32 [num_edges]
    value: Tensor  # weight and scales of an edge, and the factor of its sign, accumulation type


def merge_signs(pos: Any, neg: Any, factors: tuple[float, float], acc_dtype: torch.dtype) -> Merged | None:
    """One list of both terms' edges, whose loop a CPU foresees better than two; None where they need not be one."""
    if pos.col.device.type not in _LISTED or pos.col.dtype != torch.int32 or neg.col.dtype != torch.int32:
        return None
    return Merged(*_ops.merge_signs(*pos[:5], *neg[:5], *factors, acc_dtype == torch.float64, _TRUSTED))


def merged_spmm(
    x: Tensor,
    residual: Tensor | None,
    merged: Merged,
    coefs: Tensor | tuple[float, float, float],
    eps: float | None,
) -> tuple[Tensor, Tensor | None]:
    """`signed_spmm` of the edges in one list, x_neg = x; a tensor of coefficients is unpacked sooner than floats."""
    given = (coefs, _TRUSTED) if isinstance(coefs, Tensor) else (None, _TRUSTED, *coefs)
    if eps is None:
        return _merged(x, residual, *merged, *given), None
    return _merged_norm(x, residual, eps, *merged, *given)


def signed_spmm_steps(
    x: Tensor,
    residual: Tensor | None,
    own_residual: bool,
    halves: Any,
    coefs: Any,
    coef: Tensor | None,
    eps: float | None,
    num_steps: int,
    gamma: Tensor | None,
    plan: Any,
) -> tuple[Tensor, Tensor]:
    """x_K after K >= 1 steps, and sum_k gamma_k x_k where gamma `[K + 1]` is given: `[n, d]` each, else `[0, d]`.

    R is `residual` or, with `own_residual`, the current x of each step. Each of the two halves is a term and,
    for a class block, whose table is made in every step, (order, segptr, group_segptr, block); or both are `Merged`.
    """
    residual = x if own_residual else residual
    eps = -1.0 if eps is None else eps
    if isinstance(halves, Merged):
        given = (coefs, _TRUSTED) if isinstance(coefs, Tensor) else (None, _TRUSTED, *coefs)
        return _ops.merged_spmm_steps(x, residual, eps, num_steps, gamma, own_residual, *halves, *given)
    (pos, pos_class), (neg, neg_class) = halves
    pos, neg = _same_index_type(pos, neg)
    classes = (*(pos_class or _EMPTY[:4]), *(neg_class or _EMPTY[:4]))
    args = (x, None, residual, *pos, *neg, coef, *coefs, x.size(0), eps)
    return _ops.signed_spmm_steps(*args, num_steps, gamma, *classes, own_residual, *plan, _TRUSTED)


def signed_pair(x: Tensor, pos: Any, neg: Any, num_rows: int, plan: Any) -> tuple[Tensor, Tensor]:
    """(A+ x, A- x), each `[n, d]`."""
    pos, neg = _same_index_type(pos, neg)
    return _ops.signed_pair(x, *pos, *neg, num_rows, *plan, _TRUSTED)


def signed_dot(y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any, plan: Any) -> Tensor:
    """(<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    pos, neg = _same_index_type(pos, neg)
    return _ops.signed_dot(y, x, *pos, *neg, residual, *plan, _TRUSTED)


def edge_dot(a: Tensor, b: Tensor, term: Any) -> Tensor:
    """row_scale_i col_scale_j <a_i, b_j> for every edge j -> i: `[E]`."""
    return _ops.edge_dot(a, b, term.rowptr, term.col, term.row_scale, term.col_scale, _TRUSTED)


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Sum of x over each group, `[num_groups, d]`."""
    return _ops.group_sum(x, order, segptr, group_segptr, _TRUSTED)


def mix_groups(block: Tensor, sums: Tensor) -> Tensor:
    """block `[rows, num_groups]` @ sums: `[rows, d]`; BLAS would round differently with another number of threads."""
    return _ops.mix_groups(block, sums)


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    return torch.ops.sbp_tiles.log_sum_exp(x0, scale)


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """softmax(scale x0 x0^T) x, or its transpose times x: `[n, d]`."""
    return torch.ops.sbp_tiles.product(x0, x, lse, scale, transposed)


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T): `[n, width]`."""
    return torch.ops.sbp_tiles.gradient(x0, a, b, lse, scale)


def similarity_matrix(x0: Tensor, lse: Tensor, scale: Tensor) -> Tensor | None:
    """softmax(scale x0 x0^T), `[n, n]`, where it is worth keeping; None where it is streamed."""
    return similarity_blas.matrix(x0, lse, scale) if x0.device.type == "cpu" else None


class RowPlan(NamedTuple):
    """How a GPU shares out rows by the number of their edges, the heaviest first; empty on the CPU."""

    chunk: Tensor | None = None  # int32 [num_chunks, 3]: row, first and last of its edges (A+ then A-)
    hub: Tensor | None = None  # int32 [num_hubs + 1, 2]: row, first chunk
    block_rows: Tensor | None = None  # int32: rows that a block of threads takes whole
    warp_rows: Tensor | None = None  # a warp
    light_rows: Tensor | None = None  # a part of a warp


_NO_PLAN = RowPlan()


def cuda_archs() -> str:
    """The GPUs that the binary carries code for, such as "sm_80, sm_90"; or that it carries none."""
    if "cuda" not in _DEVICES:
        return "no CUDA kernels"
    return "CUDA kernels: " + ", ".join(f"sm_{int(arch) // 10}" for arch in _ops.cuda_archs().split(","))


def row_plan(pos: Tensor | None, neg: Tensor | None) -> RowPlan:
    """The plan for two row pointers. Reads sizes back: once a graph."""
    first = neg if pos is None else pos
    if first is None or first.device.type not in _PLANNED or first.numel() > 2**31 - 1:
        return _NO_PLAN
    return plan_by_degree(sum(half.diff() for half in (pos, neg) if half is not None), _LIGHT, _WARP, _CHUNK)


def plan_by_degree(degree: Any, light: int, warp: int, chunk: int) -> RowPlan:
    """Deal rows with so many edges to bins; rows of more than `chunk` edges are cut into chunks."""
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
    return RowPlan(chunks, hub, rows[block], rows[(degree > light) & (degree <= warp)], rows[degree <= light])


def _same_index_type(pos: Any, neg: Any) -> tuple[Any, Any]:
    """Both halves with columns of one type; absent halves as seven Nones."""
    pos, neg = _EMPTY if pos is None else pos, _EMPTY if neg is None else neg
    if pos[1] is not None and neg[1] is not None and pos[1].dtype != neg[1].dtype:
        pos, neg = (half._replace(col=half.col.long()) for half in (pos, neg))
    return pos, neg


if NOT_LOADED is None:
    _spmm, _spmm_norm = _ops.signed_spmm.default, _ops.signed_spmm_norm.default
    _merged, _merged_norm = _ops.merged_spmm.default, _ops.merged_spmm_norm.default
