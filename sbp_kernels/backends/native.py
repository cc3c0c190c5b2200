"""The compiled kernels, `_ops.*`: their limits and how to call them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import similarity_blas
from ._extension import NOT_LOADED
from .degree_bins import NO_BINS, DegreeBins, bin_rows
from .interface import unsupported_dtype

_ops = torch.ops.sbp
_EMPTY = (None,) * 7
# The index arrays of a graph were validated when it was built: the ops need not read them again.
_TRUSTED = True
# Devices that the binary has kernels for.
_DEVICES = {
    device
    for device in ("cpu", "cuda")
    if NOT_LOADED is None and torch._C._dispatch_has_kernel_for_dispatch_key("sbp::signed_spmm", device.upper())
}
# Devices that use degree bins, and the largest degree (of both halves) handled by a part of a warp, a warp, a block.
_BINNED, _SUB_WARP, _WARP, _BLOCK = ("cuda",), 8, 64, 2048
# Devices that have kernels for a merged CSR.
_MERGED = ("cpu",)


def unsupported(x: Tensor) -> str | None:
    if NOT_LOADED is not None:
        return NOT_LOADED
    if ("cpu" if x.is_cpu else x.device.type) not in _DEVICES:
        return f"no kernels were compiled for {x.device.type} tensors"
    return unsupported_dtype(x)


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
    bins: Any,
) -> tuple[Tensor, Tensor | None]:
    """Return r R + p A+ x + q A- x_neg, then LayerNorm if `eps` is given, `[n, d]`, and 1/std of each row."""
    pos, neg = _same_index_type(pos, neg)
    args = (x, x_neg, residual, *pos, *neg, coef, *coefs, num_rows)
    if eps is None:
        return _spmm(*args, *bins, _TRUSTED), None
    return _spmm_norm(*args, eps, *bins, _TRUSTED)


class MergedCSR(NamedTuple):
    """Both signs of a graph in one CSR: rows 2i, 2i + 1 have the positive, the negative edges of row i."""

    rowptr: Tensor  # int64 [2 num_rows + 1]
    col: Tensor  # int32 [num_edges]
    value: Tensor  # weight and scales of an edge, and the factor of its sign, accumulation type


def merge_signs(pos: Any, neg: Any, factors: tuple[float, float], acc_dtype: torch.dtype) -> MergedCSR | None:
    """Merge both signs into one CSR: one mispredicted loop exit per row instead of two.

    None off the CPU and for int64 columns.
    """
    if pos.col.device.type not in _MERGED or pos.col.dtype != torch.int32 or neg.col.dtype != torch.int32:
        return None
    return MergedCSR(*_ops.merge_signs(*pos[:5], *neg[:5], *factors, acc_dtype == torch.float64, _TRUSTED))


def merged_spmm(
    x: Tensor,
    residual: Tensor | None,
    csr: MergedCSR,
    coefs: Tensor | tuple[float, float, float],
    eps: float | None,
) -> tuple[Tensor, Tensor | None]:
    """Take one step of a merged CSR, with x_neg = x; a tensor of coefficients is unpacked faster than three floats."""
    given = (coefs, _TRUSTED) if isinstance(coefs, Tensor) else (None, _TRUSTED, *coefs)
    if eps is None:
        return _merged(x, residual, *csr, *given), None
    return _merged_norm(x, residual, eps, *csr, *given)


def signed_spmm_steps(
    x: Tensor,
    residual: Tensor | None,
    own_residual: bool,
    pos: Any,
    neg: Any,
    coefs: tuple[float, float, float],
    coef: Tensor | None,
    eps: float | None,
    num_steps: int,
    gamma: Tensor | None,
    bins: Any,
) -> tuple[Tensor, Tensor]:
    """Return x_K after K >= 1 steps and sum_k gamma_k x_k, `[n, d]` each; the sum is empty without gamma `[K + 1]`.

    R is `residual` or, with `own_residual`, the current x of each step. A half is an operand and, for a class block,
    whose table is recomputed in every step, (order, segptr, group_segptr, block).
    """
    (pos, pos_class), (neg, neg_class) = pos, neg
    pos, neg = _same_index_type(pos, neg)
    classes = (*(pos_class or _EMPTY[:4]), *(neg_class or _EMPTY[:4]))
    args = (x, None, residual, *pos, *neg, coef, *coefs, x.size(0), -1.0 if eps is None else eps)
    return _ops.signed_spmm_steps(*args, num_steps, gamma, *classes, own_residual, *bins, _TRUSTED)


def merged_spmm_steps(
    x: Tensor,
    residual: Tensor | None,
    own_residual: bool,
    csr: MergedCSR,
    coefs: Tensor | tuple[float, float, float],
    eps: float | None,
    num_steps: int,
    gamma: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Take K steps of a merged CSR; results as `signed_spmm_steps`."""
    given = (coefs, _TRUSTED) if isinstance(coefs, Tensor) else (None, _TRUSTED, *coefs)
    eps = -1.0 if eps is None else eps
    return _ops.merged_spmm_steps(x, residual, eps, num_steps, gamma, own_residual, *csr, *given)


def signed_pair(x: Tensor, pos: Any, neg: Any, num_rows: int, bins: Any) -> tuple[Tensor, Tensor]:
    """Return (A+ x, A- x), each `[n, d]`."""
    pos, neg = _same_index_type(pos, neg)
    return _ops.signed_pair(x, *pos, *neg, num_rows, *bins, _TRUSTED)


def signed_dot(y: Tensor, x: Tensor, residual: Tensor | None, pos: Any, neg: Any, bins: Any) -> Tensor:
    """Return (<y, R>, <y, A+ x>, <y, A- x>), `[3]`."""
    pos, neg = _same_index_type(pos, neg)
    return _ops.signed_dot(y, x, *pos, *neg, residual, *bins, _TRUSTED)


def edge_dot(a: Tensor, b: Tensor, operand: Any) -> Tensor:
    """Return row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, `[E]`."""
    return _ops.edge_dot(a, b, operand.rowptr, operand.col, operand.row_scale, operand.col_scale, _TRUSTED)


def group_sum(x: Tensor, order: Tensor, segptr: Tensor, group_segptr: Tensor) -> Tensor:
    """Sum of x over each group, `[num_groups, d]`."""
    return _ops.group_sum(x, order, segptr, group_segptr, _TRUSTED)


def mix_groups(block: Tensor, sums: Tensor) -> Tensor:
    """Return block `[rows, num_groups]` @ sums, `[rows, d]`; BLAS would round by the number of threads."""
    return _ops.mix_groups(block, sums)


def similarity_lse(x0: Tensor, scale: Tensor) -> Tensor:
    """Return log sum_j exp(scale <x0_i, x0_j>), `[n]`."""
    return torch.ops.sbp_tiles.log_sum_exp(x0, scale)


def similarity(x0: Tensor, x: Tensor, lse: Tensor, scale: Tensor, transposed: bool) -> Tensor:
    """Return softmax(scale x0 x0^T) x, or its transpose times x, `[n, d]`."""
    return torch.ops.sbp_tiles.product(x0, x, lse, scale, transposed)


def similarity_grad(x0: Tensor, a: Tensor, b: Tensor, lse: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of <a, P b> with respect to x0, P = softmax(scale x0 x0^T), `[n, width]`."""
    return torch.ops.sbp_tiles.gradient(x0, a, b, lse, scale)


def similarity_matrix(x0: Tensor, lse: Tensor, scale: Tensor) -> Tensor | None:
    """Return softmax(scale x0 x0^T), `[n, n]`, if it is small enough to be cached; None if it is streamed."""
    return similarity_blas.matrix(x0, lse, scale) if x0.device.type == "cpu" else None


def cuda_archs() -> str:
    """Return the GPUs that the binary carries code for, such as "sm_80, sm_90"; or that it carries none."""
    if "cuda" not in _DEVICES:
        return "no CUDA kernels"
    return "CUDA kernels: " + ", ".join(f"sm_{int(arch) // 10}" for arch in _ops.cuda_archs().split(","))


def degree_bins(pos: Tensor | None, neg: Tensor | None) -> DegreeBins:
    """Return the bins for two row pointers; empty on devices that use none. Reads sizes back, so once a graph."""
    first = neg if pos is None else pos
    if first is None or first.device.type not in _BINNED or first.numel() > 2**31 - 1:
        return NO_BINS
    return bin_rows(sum(half.diff() for half in (pos, neg) if half is not None), _SUB_WARP, _WARP, _BLOCK)


def _same_index_type(pos: Any, neg: Any) -> tuple[Any, Any]:
    """Return both halves with columns of one type; absent halves as seven Nones."""
    pos, neg = _EMPTY if pos is None else pos, _EMPTY if neg is None else neg
    if pos[1] is not None and neg[1] is not None and pos[1].dtype != neg[1].dtype:
        pos, neg = (half._replace(col=half.col.long()) for half in (pos, neg))
    return pos, neg


if NOT_LOADED is None:
    _spmm, _spmm_norm = _ops.signed_spmm.default, _ops.signed_spmm_norm.default
    _merged, _merged_norm = _ops.merged_spmm.default, _ops.merged_spmm_norm.default
