"""The collectives of one process group: counted, differentiable where needed, with errors that name a rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .failure import named_failure

# Bytes of the text that the ranks compare before a call.
_TEXT = 512


@dataclass
class Traffic:
    """What this rank has sent since it was reset: rows of halos, and tensors that all ranks sum."""

    halo_bytes: int = 0
    sum_bytes: int = 0

    @property
    def total(self) -> int:
        return self.halo_bytes + self.sum_bytes


class Group:
    """A process group, and the traffic of this rank in it.

    Sums have one order for a world size, so that results repeat bit for bit.
    """

    def __init__(self, group: dist.ProcessGroup | None, traffic: Traffic) -> None:
        self._group, self.traffic = group, traffic
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def run(self, collective: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a collective of torch.distributed; a failure is a RuntimeError that names the lost ranks."""
        try:
            return collective(*args, group=self._group, **options)
        except RuntimeError as error:
            raise named_failure(self._group) from error

    def wait(self, work: dist.Work) -> None:
        """Wait for a collective that was started with `async_op=True`."""
        try:
            work.wait()
        except RuntimeError as error:
            raise named_failure(self._group) from error

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum `tensor` over the ranks, in place; return it."""
        self.traffic.sum_bytes += tensor.numel() * tensor.element_size()
        if tensor.numel():
            self.run(dist.all_reduce, tensor)
        return tensor

    def gather_ints(self, value: int, device: torch.device) -> list[int]:
        """Return the value of every rank."""
        return self._gather(torch.tensor([value], dtype=torch.int64, device=device)).flatten().tolist()

    def _gather(self, own: Tensor) -> Tensor:
        """Return the vectors of all ranks, one a row."""
        gathered = own.new_empty(self.size, own.numel())
        self.run(dist.all_gather, list(gathered.unbind()), own)
        return gathered

    def exchange_rows(self, rows: Tensor, send_counts: list[int]) -> tuple[Tensor, list[int]]:
        """Send rows, grouped by rank, and return (rows received, grouped by rank; how many from each)."""
        sent = torch.tensor(send_counts, dtype=torch.int64, device=rows.device)
        received = torch.empty_like(sent)
        self.run(dist.all_to_all_single, received, sent)
        counts = received.tolist()
        out = rows.new_empty(sum(counts), *rows.shape[1:])
        self.run(dist.all_to_all_single, out, rows.contiguous(), counts, send_counts)
        return out, counts

    def require_same(self, what: str, text: str, device: torch.device) -> None:
        """Raise ValueError, on every rank, unless all ranks give the same text."""
        data = text.encode()[:_TEXT].ljust(_TEXT)
        gathered = self._gather(torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device))
        texts = [bytes(row).decode(errors="ignore").rstrip() for row in gathered.tolist()]
        other = next((rank for rank, given in enumerate(texts) if given != texts[0]), None)
        if other is not None:
            raise ValueError(
                f"{what} must be the same on every rank, got {texts[0]} on rank 0 and {texts[other]} on rank {other}"
            )


def sum_over(group: Group, tensor: Tensor) -> Tensor:
    """Return the sum of `tensor` over the ranks; its gradient is the sum of the ranks' gradients."""
    return _SumOver.apply(tensor, group)


def replicated(group: Group, tensor: Tensor) -> Tensor:
    """Return a tensor that is the same on all ranks; its gradient is the sum of the ranks' gradients."""
    return _Replicated.apply(tensor, group) if tensor.requires_grad else tensor


class _SumOver(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, group):  # type: ignore[no-untyped-def]
        ctx.group = group
        return group.add_up(tensor.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return sum_over(ctx.group, grad), None


class _Replicated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, group):  # type: ignore[no-untyped-def]
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return sum_over(ctx.group, grad), None
