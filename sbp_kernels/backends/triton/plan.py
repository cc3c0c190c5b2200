"""Which rows a launch takes: bins by degree, and hub rows cut into chunks. Built once a pattern."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Limits(NamedTuple):
    """Degrees (edges of both halves) that part the bins."""

    # Rows of at most so many edges share a program, if there are enough of them to pay a launch.
    light: int = 8
    light_min_rows: int = 4096
    # Rows of more edges than `hub` are cut into chunks of `chunk` edges a half.
    hub: int = 512
    chunk: int = 256


class RowPlan(NamedTuple):
    """Rows by falling degree, so that neighbours in a launch take equally long."""

    light: Tensor
    single: Tensor
    hub: Tensor
    # Chunk c sums edges `bounds[c, 0]` to `bounds[c, 1]` of each half; hub h owns chunks `ptr[h]` to `ptr[h + 1]`.
    chunk_ptr: Tensor
    chunk_row: Tensor
    bounds: tuple[Tensor | None, Tensor | None]


LIMITS = Limits()
# A plan lives as long as the row pointers that it was made from.
_ONE_HALF: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_TWO_HALVES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def row_plan(pos: Tensor | None, neg: Tensor | None) -> RowPlan | None:
    """The plan of a pair of row pointers, from the cache where it was made before; None without any."""
    if pos is None and neg is None:
        return None
    if pos is None or neg is None:
        return _of_one_half(pos, neg)
    plans = _TWO_HALVES.get(pos)
    if plans is None:
        plans = _TWO_HALVES[pos] = WeakTensorKeyDictionary()
    plan = plans.get(neg)
    if plan is None:
        plan = plans[neg] = build(pos, neg, LIMITS)
    return plan


def _of_one_half(pos: Tensor | None, neg: Tensor | None) -> RowPlan:
    only = pos if neg is None else neg
    assert only is not None
    plan = _ONE_HALF.get(only)
    if plan is None:
        plan = _ONE_HALF[only] = build(only, None, LIMITS)
    return plan if neg is None else plan._replace(bounds=(None, plan.bounds[0]))


def build(pos: Tensor, neg: Tensor | None, limits: Limits) -> RowPlan:
    """Sort the rows by degree and cut them into bins: reads two numbers back, once a graph."""
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
    return RowPlan(
        order[num_heavy:].to(index),
        order[num_hub:num_heavy].to(index),
        hub.to(index),
        chunk_ptr,
        chunk_row.to(index),
        (bounds(pos), None if neg is None else bounds(neg)),
    )
