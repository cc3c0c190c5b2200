"""The softmax adjacency of features: dense, streamed tile by tile, never built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .term import Term

# By accumulation type and backend: the log-sum-exp of the rows, and the matrix or None.
Kept = dict[tuple[torch.dtype, str], tuple[Tensor, Tensor | None]]


class Similarity:
    r"""A dense softmax adjacency of features, \( A = \mathrm{softmax}(\pm X_0 X_0^\top / \tau) \), streamed.

    With fixed \( X_0 \) the logits never change, so their row-wise log-sum-exp l is computed once:
    \( A_{ij} = e^{S_{ij} - l_i} \), and the transpose weighs by \( e^{S_{ij} - l_j} \). On the CPU a matrix of
    few nodes (8,192 in float32: 256 MB) is kept whole, which makes every further product cheap. An \( X_0 \) that
    requires a gradient gets one, of first order; nothing is kept of it, as it changes from step to step.

    Args:
        x0: floating `[num_nodes, width]`.
        sign: +1 (ContraNorm, arXiv 2303.06562) or -1 (Feature-SBP, arXiv 2502.11394 section 4.2).
        temperature: \( \tau > 0 \).
    """

    __slots__ = ("_kept", "_transposed", "scale", "sign", "temperature", "transposed", "x0")

    def __init__(self, x0: Tensor, sign: float = -1.0, temperature: float = 1.0) -> None:
        if x0.dim() != 2 or not x0.is_floating_point():
            raise ValueError(f"x0 must be floating of shape [num_nodes, width], got {x0.dtype} {tuple(x0.shape)}")
        if sign not in (-1, 1):
            raise ValueError(f"sign must be +1 or -1, got {sign}")
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0, got {temperature}")
        if not bool(torch.isfinite(x0).all()):
            raise ValueError("x0 must be finite, got NaN or infinity in it")
        self.sign, self.temperature = float(sign), float(temperature)
        # A tensor, so that torch.compile sees no Python number that might change.
        self.scale = torch.tensor(self.sign / self.temperature, dtype=torch.float64, device=x0.device)
        # A copy of an x0 that learns would belong to one autograd graph.
        self._set(x0 if x0.requires_grad else x0.contiguous(), False, {})

    def _set(self, x0: Tensor, transposed: bool, kept: Kept) -> None:
        self.x0, self.transposed, self._kept = x0, transposed, kept
        self._transposed: Similarity | None = None

    def _like(self, x0: Tensor, transposed: bool, kept: Kept) -> Similarity:
        """The same softmax of an x0 that needs no check, or transposed."""
        other = object.__new__(Similarity)
        other.sign, other.temperature, other.scale = self.sign, self.temperature, self.scale
        other._set(x0, transposed, kept)
        return other

    @property
    def num_nodes(self) -> int:
        return self.x0.size(0)

    num_rows = num_cols = num_nodes

    @property
    def device(self) -> torch.device:
        return self.x0.device

    @property
    def T(self) -> Similarity:
        """The transpose: the same logits, scaled by columns instead of rows."""
        if self._transposed is None:
            self._transposed = self._like(self.x0, not self.transposed, self._kept)
        return self._transposed

    def __repr__(self) -> str:
        return f"Similarity({self.num_nodes}x{self.num_nodes}, width={self.x0.size(1)}, sign={self.sign:+.0f})"

    def to(self, device: torch.device | str) -> Similarity:
        moved = self._like(self.x0.to(device), self.transposed, {})
        moved.scale = self.scale.to(device)
        return moved

    def to_dense(self) -> Tensor:
        """The definition: float64 `[num_nodes, num_nodes]`."""
        x0 = self.x0.double()
        dense = torch.softmax(self.sign / self.temperature * (x0 @ x0.T), dim=1)
        return dense.T if self.transposed else dense

    def term(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: Tensor | None = None) -> Term:
        """Stream the product over tiles: a `[num_nodes, d]` table, each row reading its own."""
        if weight is not None:
            lse = kernels.similarity_lse(weight, self.scale)
            return Term(table=kernels.similarity(weight, x, lse, self.scale, self.transposed))
        lse, matrix = self._prepared(acc_dtype, kernels, again=True)
        if matrix is not None:
            return Term(table=(matrix.T if self.transposed else matrix) @ x.to(acc_dtype))
        return Term(table=kernels.similarity(self._factor(acc_dtype), x, lse, self.scale, self.transposed))

    def summarised(self, acc_dtype: torch.dtype) -> None:
        """The kernels of several steps make no table of this kind."""
        return None

    def prepare(self, acc_dtype: torch.dtype, kernels: Any) -> Tensor:
        """The log-sum-exp of every row of logits, `[num_nodes]`; computed once if x0 is fixed."""
        return self._prepared(acc_dtype, kernels, again=False)[0]

    def _prepared(self, acc_dtype: torch.dtype, kernels: Any, again: bool) -> tuple[Tensor, Tensor | None]:
        """The log-sum-exp and, for a product that is not the first, the matrix where the backend keeps it."""
        key = (acc_dtype, kernels.__name__)
        kept = None if self.learns() else self._kept.get(key)
        if kept is None:
            kept = (kernels.similarity_lse(self._factor(acc_dtype).detach(), self.scale), None)
        elif again and kept[1] is None and hasattr(kernels, "similarity_matrix") and not torch.compiler.is_compiling():
            kept = (kept[0], kernels.similarity_matrix(self._factor(acc_dtype), kept[0], self.scale))
        else:
            return kept
        # What torch.export computes is a part of its graph, not a value.
        if not self.learns() and not torch.compiler.is_exporting():
            self._kept[key] = kept
        return kept

    def learns(self) -> bool:
        return self.x0.requires_grad

    def learnt_weight(self, acc_dtype: torch.dtype) -> Tensor | None:
        """x0 as the kernels multiply it, if it takes a gradient: what learns here, as edge weights do in a `CSR`."""
        if not self.learns():
            return None
        if self._kept:
            # Computed before x0 began to learn, so of an x0 that is gone by the time it is fixed again.
            self._kept.clear()
        return self._factor(acc_dtype)

    def with_weight(self, x0: Tensor) -> Similarity:
        """The same softmax of another x0."""
        return self if x0 is self.x0 else self._like(x0, self.transposed, {})

    def weight_grad(self, weight: Tensor, a: Tensor, b: Tensor, kernels: Any) -> Tensor:
        """Gradient of <a, A b> with respect to x0 (given as `weight`), `[num_nodes, width]`."""
        # <a, P^T b> = <b, P a>.
        a, b = (b, a) if self.transposed else (a, b)
        lse = kernels.similarity_lse(weight, self.scale)
        return kernels.similarity_grad(weight, a, b, lse, self.scale).to(weight.dtype)

    def _factor(self, acc_dtype: torch.dtype) -> Tensor:
        """x0 as kernels multiply it; products of two short numbers are exact in float32, so those stay short."""
        short = self.x0.element_size() == 2 and acc_dtype == torch.float32
        return (self.x0 if short else self.x0.to(acc_dtype)).contiguous()
