"""Degree bins: the rows of each launch, sorted by degree, and hub rows in chunks. Built once per sparsity pattern."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Limits(NamedTuple):
    """Degrees (edges of both halves) at which the bins end."""

    # Rows of at most `light` edges share a program, if at least `light_min_rows` of them justify a launch.
    light: int = 8
    light_min_rows: int = 4096
    # Rows of more edges than `hub` are cut into chunks of `chunk` edges a half.
    hub: int = 512
    chunk: int = 256


class DegreeBins(NamedTuple):
    """Rows by decreasing degree, so that adjacent programs of a launch take equally long."""

    light: Tensor
    single: Tensor
    hub: Tensor
    # Chunk c sums edges `bounds[c, 0]` to `bounds[c, 1]` of each half; hub h has chunks `ptr[h]` to `ptr[h + 1]`.
    chunk_ptr: Tensor
    chunk_row: Tensor
    bounds: tuple[Tensor | None, Tensor | None]


LIMITS = Limits()
# Caches by row pointers: an entry lives as long as the row pointers that it was built from.
_ONE_HALF: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_TWO_HALVES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def degree_bins(pos: Tensor | None, neg: Tensor | None) -> DegreeBins | None:
    """Return the degree bins of a pair of row pointers, cached; None if both are None."""
    if pos is None and neg is None:
        return None
    if pos is None or neg is None:
        return _of_one_half(pos, neg)
    by_neg = _TWO_HALVES.get(pos)
    if by_neg is None:
        by_neg = _TWO_HALVES[pos] = WeakTensorKeyDictionary()
    bins = by_neg.get(neg)
    if bins is None:
        bins = by_neg[neg] = build(pos, neg, LIMITS)
    return bins


def _of_one_half(pos: Tensor | None, neg: Tensor | None) -> DegreeBins:
    only = pos if neg is None else neg
    assert only is not None
    bins = _ONE_HALF.get(only)
    if bins is None:
        bins = _ONE_HALF[only] = build(only, None, LIMITS)
    return bins if neg is None else bins._replace(bounds=(None, bins.bounds[0]))


def build(pos: Tensor, neg: Tensor | None, limits: Limits) -> DegreeBins:
    """Sort the rows by degree and cut them into bins. Copies two numbers to the host, once per graph."""
    both = (pos,) if neg is None else (pos, neg)
    degree = torch.stack([rowptr.diff() for rowptr in both])  # [halves, n]
    total = degree.sum(0)
    num_hub, num_heavy = torch.stack([(total > limits.hub).sum(), (total > limits.light).sum()]).tolist()
    if total.numel() - num_heavy < limits.light_min_rows:
        num_heavy = total.numel()
    order = torch.argsort(total, descending=True, stable=True)
    hub = order[:num_hub]
    chunks = (degree[:, hub].amax(0) + limits.chunk - 1) // limits.chunk if num_hub else hub
    chunk_ptr = torch.cat([chunks.new_zeros(1), chunks.cumsum(0)])
    chunk_row = torch.repeat_interleave(hub, chunks)
    first = torch.arange(chunk_row.numel(), device=hub.device) - torch.repeat_interleave(chunk_ptr[:-1], chunks)

    def bounds(rowptr: Tensor) -> Tensor:
        lo, last = rowptr[chunk_row] + first * limits.chunk, rowptr[chunk_row + 1]
        return torch.stack([torch.minimum(lo, last), torch.minimum(lo + limits.chunk, last)], 1)

    index = torch.int32 if total.numel() < 2**31 else torch.int64
    return DegreeBins(
        order[num_heavy:].to(index),
        order[num_hub:num_heavy].to(index),
        hub.to(index),
        chunk_ptr,
        chunk_row.to(index),
        (bounds(pos), None if neg is None else bounds(neg)),
    )
