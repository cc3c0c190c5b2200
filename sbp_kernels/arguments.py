"""What every public operation checks and converts: features, steps, coefficients, the backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, is_autocast_enabled

from .adjacency.checks import as_index, check_real, check_tensor, describe
from .backends import select
from .backends.interface import Backend, accumulation_dtype
from .graph import SignedGraph

Scalar = float | Tensor


class ShardedGraph(ABC):
    """The part of a signed graph that this process works on; `distributed.shard` returns one.

    `signed_propagate` and `signed_pair` pass their arguments on, and `x`, `residual` and the results are the blocks
    of this process.
    """

    @abstractmethod
    def propagate(self, x: Tensor, **options: Any) -> Tensor:
        """Return this process's block of `signed_propagate(x, graph, **options)`."""

    @abstractmethod
    def pair(self, x: Tensor, *, backend: str | None) -> tuple[Tensor, Tensor]:
        """Return this process's blocks of `signed_pair(x, graph)`."""


def choose_backend(x: Tensor, graph: SignedGraph, backend: str | None) -> Backend:
    """Return the backend for x; while torch.compile traces, prepare the graph for it."""
    kernels = select(x, backend)
    if torch.compiler.is_dynamo_compiling():
        graph._prepare(accumulation_dtype(x), kernels)
    return kernels


def check_graph(graph: Any) -> None:
    """Raise ValueError unless `graph` is a SignedGraph."""
    if not isinstance(graph, SignedGraph):
        raise ValueError(f"graph must be a SignedGraph, got {describe(graph)}")


def check_call(x: Tensor, graph: SignedGraph, residual: Tensor | None, num_steps: int) -> None:
    """Raise ValueError unless x `[num_cols, d]`, the residual and the number of steps fit the graph."""
    # Read once: each x.size(i) takes as long, which is measurable on small graphs.
    shape = x.shape if isinstance(x, Tensor) and not x.is_nested else ()
    if len(shape) != 2 or shape[0] != graph._num_cols:
        got = tuple(shape) if isinstance(x, Tensor) and not x.is_nested else type(x).__name__
        raise ValueError(f"x must have shape [num_nodes={graph._num_cols}, features], got {got}")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating, got {x.dtype}")
    if x.layout is not _STRIDED:
        check_tensor("x", x)
    if x.device != graph._device:
        raise ValueError(f"x and graph must be on one device, got {x.device} and {graph._device}")
    if residual is not None:
        check_residual_fits(x, graph, residual)
    # One test for the usual single step, which is measurable on small graphs.
    if type(num_steps) is not int or num_steps != 1:
        _check_steps(num_steps, graph)


def _check_steps(num_steps: Any, graph: SignedGraph) -> None:
    """Raise ValueError unless the graph can take `num_steps`, an integer or a compiler's symbolic size."""
    if as_index(num_steps) is None:
        raise ValueError(f"num_steps must be an integer, got {describe(num_steps)}")
    if not 0 <= num_steps <= _MAX_STEPS:
        raise ValueError(f"num_steps must be >= 0{' and < 2**31' * (num_steps > 0)}, got {describe(num_steps)}")
    if num_steps != 1 and graph._num_rows != graph._num_cols:
        raise ValueError(f"num_steps must be 1 on a {graph._num_rows}x{graph._num_cols} graph, got {num_steps}")


def check_residual_fits(x: Tensor, graph: SignedGraph, residual: Tensor) -> None:
    """Raise ValueError unless the residual is `[num_rows, d]`, in the type and on the device of x."""
    check_tensor("residual", residual)
    rows, features = graph._num_rows, x.size(1)
    if residual.shape != (rows, features) or residual.dtype != x.dtype:
        raise ValueError(
            f"residual must have shape [num_nodes={rows}, features={features}] and the type of x, {x.dtype}, "
            f"got {tuple(residual.shape)} and {residual.dtype}"
        )
    if residual.device != x.device:
        raise ValueError(f"residual must be on the device of x, {x.device}, got {residual.device}")


def as_number(name: str, value: Any) -> Any:
    """Return an int or another real number as a float; a float, or a compiler's symbolic size, as it is."""
    if isinstance(value, (float, torch.SymFloat, torch.SymInt)):
        return value
    return check_real(name, value)


def as_scalar(name: str, value: Scalar, x: Tensor) -> Tensor:
    """Return a number or a tensor of one element as a tensor `[]` in the accumulation type of x, on its device."""
    wide = accumulation_dtype(x)
    if not isinstance(value, Tensor):
        return torch.full((), as_number(name, value), dtype=wide, device=x.device)
    check_real_tensor(name, value)
    if value.numel() != 1:
        raise ValueError(f"{name} must have one element, got shape {tuple(value.shape)}")
    return value.reshape(()).to(device=x.device, dtype=wide)


def check_real_tensor(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a dense tensor of real numbers."""
    check_tensor(name, value)
    if value.is_complex() or value.is_quantized or value.dtype == torch.bool:
        raise ValueError(f"{name} must be real, got {describe(value)}")


def autocast(x: Tensor) -> Tensor:
    """Return x in the type in which autocast, if it is on, stores float32 features."""
    if isinstance(x, Tensor) and x.dtype == torch.float32:
        # x.device.type takes five times as long as x.is_cpu, which is measurable on small graphs.
        device = "cpu" if x.is_cpu else x.device.type
        if device != "meta" and is_autocast_enabled(device):
            return x.to(torch.get_autocast_dtype(device))
    return x


_STRIDED, _MAX_STEPS = torch.strided, 2**31 - 1
