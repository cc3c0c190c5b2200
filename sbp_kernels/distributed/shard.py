"""The part of a signed graph that one rank works on, and its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import transforms
from ..adjacency.checks import describe
from ..arguments import ShardedGraph, autocast, check_call
from ..autograd import pair, spmm
from ..backends import select
from ..backends.interface import Backend, Coefficients, accumulation_dtype
from ..dispatch import OpContext, Weights
from ..graph import SignedGraph
from ..multi_step import Affine, multi_step, scale_and_shift
from ..propagate import check_residual_given, split_layer_norm, step_coefficients
from .collectives import Group, Traffic, replicated
from .dense_terms import is_sharded
from .features import SplitFeatures, standardize
from .halo import Halo
from .rows import LearnableWeight, RowShard


class _Call(NamedTuple):
    """One call, checked on this rank."""

    kernels: Backend
    coefs: Coefficients
    coef: Tensor | None
    own_residual: bool
    eps: float | None
    affine: Affine | None


class Shard(ShardedGraph):
    """This rank's part of a graph. `distributed.shard` and `distributed.from_edge_file` return one.

    Every rank calls the same operations in the same order. Before a call that communicates, the ranks compare its
    arguments by one all_gather, unless `check_calls` is False: then ranks that differ wait for each other until the
    timeout of the process group. Parameters (coefficients, edge weights, a LayerNorm's) are the same on all ranks, and
    so are their gradients: the sum over the ranks, as if one process had added up all losses.

    Raises (every operation):
        ValueError: a call breaks a rule, or the ranks make different calls.
        NotImplementedError: forward mode or a `torch.func` transform is active.
        RuntimeError: a rank has ended, or does not answer; the message names it.
    """

    def __init__(
        self,
        part: RowShard,
        rows: Group | None,
        features: Group | None,
        num_nodes: tuple[Any, Any],
        traffic: Traffic,
        check_calls: bool,
    ) -> None:
        self._part, self.row_group, self.feature_group = part, rows, features
        self._groups = [group for group in (rows, features) if group is not None]
        # The partitions of rows and columns; None if every rank has all of them.
        self.row_partition, self.col_partition = num_nodes
        self._square = self.row_partition is self.col_partition and part.interior.num_rows == part.interior.num_cols
        self.traffic, self._check_calls = traffic, check_calls
        # What `check_call` compares x with.
        self._num_rows, self._num_cols = part.interior.num_rows, part.interior.num_cols
        self._device = part.interior.device

    num_rows = property(lambda self: self._num_rows, doc="Number of rows of this rank.")
    num_cols = property(lambda self: self._num_cols, doc="Number of columns of this rank: the rows of x.")
    halo_rows = property(
        lambda self: 0 if self._part.halo is None else self._part.halo.rows_received,
        doc="Rows of other ranks that this rank needs in every step.",
    )

    def propagate(
        self, x: Tensor, *, num_steps: int = 1, residual: Tensor | None = None, layer_norm: Any = False, **options: Any
    ) -> Tensor:
        """Return this rank's block of `signed_propagate(x, graph, ...)`."""
        x, residual = autocast(x), None if residual is None else autocast(residual)
        tensors = [x, residual]
        try:
            self._check(x, residual, num_steps)
            call = self._lower(x, residual, layer_norm, **options)
            tensors += [call.coef, *(call.affine or (None, None))]
            text = f"{num_steps} steps, {call.coefs}, eps={call.eps}, own residual {call.own_residual}"
        except (ValueError, NotImplementedError) as error:
            self._require_same(None, f"refused: {error}", tensors, always=layer_norm is not False)
            raise
        self._require_same(
            x, f"signed_propagate: {text}", tensors, always=call.eps is not None and self.feature_group is not None
        )
        split = None
        if self.feature_group is not None and call.eps is not None:
            call, split = self._split_norm(call, layer_norm, x)
        return self._steps(call, split, x, residual, num_steps)

    def pair(self, x: Tensor, *, backend: str | None = None) -> tuple[Tensor, Tensor]:
        """Return this rank's blocks of `signed_pair(x, graph)`."""
        x = autocast(x)
        try:
            self._check(x, None, 1)
        except (ValueError, NotImplementedError) as error:
            self._require_same(None, f"refused: {error}", [x])
            raise
        kernels = select(x, backend)
        self._require_same(x, "signed_pair", [x])
        near, far = self._weights(x)
        if self._part.halo is None:
            return pair(OpContext(kernels, self._part.interior), x, near)
        packed, transfer = self._part.halo.start(x, kernels)
        own = pair(OpContext(kernels, self._part.interior), x, near)
        halo = self._part.halo.receive(packed, transfer, x.dtype)
        other = pair(OpContext(kernels, self._part.boundary), halo, far)  # type: ignore[arg-type]
        return own[0] + other[0], own[1] + other[1]

    def _check(self, x: Tensor, residual: Tensor | None, num_steps: int) -> None:
        if transforms.active():
            raise NotImplementedError("forward mode and torch.func transforms are not implemented on a sharded graph")
        check_call(x, self, residual, num_steps if self._square else min(num_steps, 1))  # type: ignore[arg-type]
        if num_steps != 1 and not self._square:
            raise ValueError(f"num_steps must be 1 on a bipartite graph, got {describe(num_steps)}")

    def _lower(
        self,
        x: Tensor,
        residual: Tensor | None,
        layer_norm: Any,
        *,
        alpha: Any = 1.0,
        beta: Any = 1.0,
        lam: Any = 1.0,
        backend: str | None = None,
    ) -> _Call:
        coefs, coef = step_coefficients(alpha, beta, lam, x)
        if not self._square:
            check_residual_given(self, residual, lam)  # type: ignore[arg-type]
        eps, affine = None, None
        if layer_norm is not False:
            whole = self.feature_group is not None and isinstance(layer_norm, torch.nn.LayerNorm)
            eps, affine = split_layer_norm(layer_norm, x.new_empty(0, *layer_norm.normalized_shape) if whole else x)
        if coef is not None:
            coef = self._replicated(coef)
        own = None
        if affine is not None:
            bias = None if affine.bias is None else self._replicated(affine.bias)
            own = Affine(self._replicated(affine.weight), bias)
        return _Call(select(x, backend), coefs, coef, residual is None and self._square, eps, own)

    def _steps(
        self, call: _Call, split: SplitFeatures | None, x: Tensor, residual: Tensor | None, num_steps: int
    ) -> Tensor:
        near, far = self._weights(x)
        fixed = near[0] is near[1] is None
        if self._part.halo is None and split is None and fixed:
            op = OpContext(call.kernels, self._part.interior, call.coefs, call.own_residual, call.eps)
            return multi_step(op, x, residual, call.coef, num_steps, call.affine)
        if num_steps == 0:
            return x.clone()
        fused = call if split is None else call._replace(eps=None)
        for _ in range(num_steps):
            x = self._step(fused, x, residual, near, far)
            x = x if split is None else standardize(x, call.eps, split)  # type: ignore[arg-type]
            x = x if call.affine is None else scale_and_shift(x, call.affine)
        return x

    def _step(self, call: _Call, x: Tensor, residual: Tensor | None, near: Weights, far: Weights) -> Tensor:
        """Return x after one step: interior edges while the halo travels, then the boundary, added to the result."""
        halo: Halo | None = self._part.halo
        own = OpContext(call.kernels, self._part.interior, call.coefs, call.own_residual)
        if halo is None:
            return spmm(own._replace(eps=call.eps), x, residual, call.coef, weights=near)
        packed, transfer = halo.start(x, call.kernels)
        partial = spmm(own, x, residual, call.coef, weights=near)
        received = halo.receive(packed, transfer, x.dtype)
        coef = None if call.coef is None else torch.cat([call.coef.new_ones(1), call.coef[1:]])
        boundary: SignedGraph = self._part.boundary  # type: ignore[assignment]
        op = OpContext(call.kernels, boundary, (1.0, *call.coefs[1:]), False, call.eps)
        return spmm(op, received, partial, coef, weights=far)

    def _weights(self, x: Tensor) -> tuple[Weights, Weights]:
        """Return the learnable weights of the interior and of the boundary, of both halves."""
        dtype = accumulation_dtype(x)
        (near_pos, far_pos), (near_neg, far_neg) = (self._weight(weight, dtype) for weight in self._part.weights)
        return (near_pos, near_neg), (far_pos, far_neg)

    def _weight(self, weight: LearnableWeight | None, dtype: torch.dtype) -> Weights:
        whole = None if weight is None else weight.half.learnable_weight(dtype)
        if weight is None or whole is None:
            return None, None
        whole = self._replicated(whole)
        near, far = weight.interior, weight.boundary
        return whole if near is None else whole[near], None if far is None else whole[far]

    def _replicated(self, tensor: Tensor) -> Tensor:
        for group in self._groups:
            tensor = replicated(group, tensor)
        return tensor

    def _split_norm(self, call: _Call, norm: Any, x: Tensor) -> tuple[_Call, SplitFeatures]:
        """Return the call with this rank's part of the LayerNorm, and which features those are."""
        group: Group = self.feature_group  # type: ignore[assignment]
        widths = group.gather_ints(x.size(1), x.device)
        first, total = sum(widths[: group.rank]), sum(widths)
        if isinstance(norm, torch.nn.LayerNorm) and norm.normalized_shape != (total,):
            raise ValueError(
                f"layer_norm must normalize features={total} of all ranks, got normalized_shape={norm.normalized_shape}"
            )
        if call.affine is not None:
            mine = slice(first, first + x.size(1))
            bias = None if call.affine.bias is None else call.affine.bias[mine]
            call = call._replace(affine=Affine(call.affine.weight[mine], bias))
        return call, SplitFeatures(group, first, total)

    def _communicates(self) -> bool:
        """Return whether every call communicates, in the forward or in the backward pass."""
        graph, learnable = self._part.interior, self._part.weights
        return (
            self._part.halo is not None
            or any(is_sharded(half) for half in (graph.pos, graph.neg))
            or any(weight is not None and weight.half.requires_derivative() for weight in learnable)
        )

    def _require_same(self, x: Tensor | None, text: str, tensors: list[Tensor | None], always: bool = False) -> None:
        """Compare the calls of all ranks, if they communicate; raise ValueError on every rank if they differ."""
        grads = "".join(str(int(isinstance(t, Tensor) and t.requires_grad)) for t in tensors)
        communicates = self._communicates() or always or "1" in grads[2:]
        if not (self._check_calls and communicates):
            return
        text = f"{text}, gradients {grads if torch.is_grad_enabled() else 0}"
        for group in self._groups:
            shape = "" if x is None else f", {x.dtype}, {x.size(1) if group is self.row_group else x.size(0)}"
            group.require_same("the call", text + shape, self._device)
