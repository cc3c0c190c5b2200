"""The halo exchange: rows that other ranks need travel while this rank computes its interior edges.

    pack(x)     = the rows that other ranks need       gradient: wait, then sum what came back, in a fixed order
    receive(p)  = the rows that this rank needs        gradient: start the reversed exchange
Autograd runs the backward pass of the interior edges between the two, because it takes the operations in reverse
order: the gradients travel meanwhile, too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..adjacency.csr import CSR
from ..adjacency.sparsity import SparsityPattern
from ..autograd import spmm
from ..backends.interface import Backend
from ..dispatch import OpContext
from ..graph import SignedGraph
from .collectives import Group
from .partition import Partition


class Route:
    """How many rows travel from this rank to each rank, and back."""

    def __init__(self, group: Group, send_counts: list[int], recv_counts: list[int]) -> None:
        self.group, self.send_counts, self.recv_counts = group, send_counts, recv_counts

    def reversed(self) -> Route:
        return Route(self.group, self.recv_counts, self.send_counts)

    def start(self, rows: Tensor) -> Transfer:
        """Send `rows`, grouped by rank, without waiting."""
        return Transfer(self, rows)


class Transfer:
    """Rows on their way."""

    def __init__(self, route: Route, rows: Tensor) -> None:
        self._group = route.group
        # Until the end, both buffers must live. Backends without 16-bit types send bytes.
        self._sent = rows.contiguous()
        self.received = rows.new_empty(sum(route.recv_counts), rows.size(1))
        self._group.traffic.halo_bytes += rows.numel() * rows.element_size()
        buffers = (t.view(torch.uint8) for t in (self.received, self._sent))
        self._work: dist.Work | None = self._group.run(
            dist.all_to_all_single, *buffers, route.recv_counts, route.send_counts, async_op=True
        )

    def wait(self) -> Tensor:
        """Return the rows received, grouped by the rank that sent them."""
        if self._work is not None:
            self._group.wait(self._work)
            self._work = None
        return self.received


class Halo:
    """The rows of other ranks that this rank needs, and the rows of this rank that others need."""

    def __init__(self, needed: Tensor, cols: Partition, group: Group, wire_dtype: torch.dtype | None) -> None:
        """Exchange the lists once; `needed` are positions of other ranks' rows, ascending."""
        counts = torch.bincount(cols.owners(needed), minlength=group.size).tolist()
        wanted, send_counts = group.exchange_rows(needed, counts)
        self._index = wanted - cols.bounds[group.rank]
        self.route, self._wire_dtype = Route(group, send_counts, counts), wire_dtype
        # Row i sums the rows of the message that are copies of row i: by ascending rank.
        place = torch.arange(wanted.numel(), device=wanted.device)
        pattern, _ = SparsityPattern.from_coo(self._index, place, cols.size(group.rank), wanted.numel())
        self._collect = SignedGraph(CSR._trusted(pattern))

    @property
    def rows_sent(self) -> int:
        return self._index.numel()

    @property
    def rows_received(self) -> int:
        return sum(self.route.recv_counts)

    def fetch(self, values: Tensor) -> Tensor:
        """Return the halo's rows of a tensor without a gradient that is not counted as traffic, in its own type."""
        before = self.route.group.traffic.halo_bytes
        received = self.route.start(values.index_select(0, self._index)).wait()
        self.route.group.traffic.halo_bytes = before
        return received

    def start(self, x: Tensor, kernels: Backend) -> tuple[Tensor, Transfer]:
        """Send the rows of x that other ranks need; return (the message, its transfer) for `receive`."""
        packed = _Pack.apply(x, self, kernels)
        return packed, self.route.start(packed.detach())

    def receive(self, packed: Tensor, transfer: Transfer, dtype: torch.dtype) -> Tensor:
        """Return the rows of other ranks that this rank needs, `[rows_received, features]`."""
        return _Receive.apply(packed, self.route, transfer, _pending(packed)).to(dtype)

    def wire_dtype(self, x: Tensor) -> torch.dtype:
        """Return the type in which rows of x travel: a narrower one if that was chosen."""
        wire = self._wire_dtype
        return x.dtype if wire is None or wire.itemsize >= x.dtype.itemsize else wire

    def sum_returned(self, grad: Tensor, dtype: torch.dtype, kernels: Backend) -> Tensor:
        """Return the sum of the gradients of the copies of each row, `[rows of this rank, features]`."""
        return spmm(OpContext(kernels, self._collect, (0.0, 1.0, 0.0)), grad.to(dtype))


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, halo, kernels):  # type: ignore[no-untyped-def]
        # Gradients on their way back, which `_Receive.backward` starts.
        ctx.halo, ctx.kernels, ctx.dtype, ctx.pending = halo, kernels, x.dtype, []
        return x.index_select(0, halo._index).to(halo.wire_dtype(x))

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        while ctx.pending:
            ctx.pending.pop().wait()
        return ctx.halo.sum_returned(grad, ctx.dtype, ctx.kernels), None, None


class _Receive(torch.autograd.Function):
    @staticmethod
    def forward(ctx, packed, route, transfer, pending):  # type: ignore[no-untyped-def]
        ctx.route, ctx.pending = route, pending
        return transfer.wait()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        back = ctx.route.reversed()
        transfer = back.start(grad.detach())
        if torch.is_grad_enabled() or ctx.pending is None or torch.is_anomaly_enabled():
            # Something else than `_Pack.backward` may read the rows: wait for them here.
            return _Receive.apply(grad, back, transfer, None), None, None, None
        ctx.pending.append(transfer)
        return transfer.received, None, None, None


def _pending(packed: Tensor) -> list[Any] | None:
    """Return where `_Pack.backward` finds the transfers that it must wait for."""
    return None if packed.grad_fn is None else packed.grad_fn.pending  # type: ignore[attr-defined]
