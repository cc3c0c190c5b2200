"""The softmax adjacency of features: dense, streamed tile by tile, never built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backends.interface import KernelOperand
from ..tensor_cache import VersionedCache, tensor_version
from ..transforms import full_precision, needs_derivative, outside
from .checks import check_device, check_finite, check_real, check_storage, check_tensor, describe

# Nodes up to which derivatives of x0 that no kernel streams may hold matrices of all pairs: 2 GB each in float64.
MAX_DENSE = 1 << 14


class Similarity:
    r"""A dense softmax adjacency of features, \( A = \mathrm{softmax}(\pm X_0 X_0^\top / \tau) \), streamed.

    With fixed \( X_0 \) the logits never change, so their row-wise log-sum-exp l is computed once:
    \( A_{ij} = e^{S_{ij} - l_i} \), and the transpose weighs by \( e^{S_{ij} - l_j} \). On the CPU a matrix of
    few nodes (8,192 in float32: 256 MB) is cached whole, which makes every further product cheap. An \( X_0 \) that
    requires a gradient gets one; nothing of it is cached, as it changes from step to step. Its first reverse-mode
    gradient is streamed; derivatives of higher order and in forward mode hold matrices of all pairs of nodes, and
    raise NotImplementedError for more than 16,384 nodes. x0 is shared with the caller, and changes of it that PyTorch
    counts (not through `.data`, NumPy or another process) are followed.

    Args:
        x0: floating `[num_nodes, width]`.
        sign: +1 (ContraNorm, arXiv 2303.06562) or -1 (Feature-SBP, arXiv 2502.11394 section 4.2).
        temperature: \( \tau > 0 \).
    """

    __slots__ = (
        "__weakref__",
        "_is_transposed",
        "_num_nodes",
        "_scale",
        "_sign",
        "_softmaxes",
        "_temperature",
        "_transposed",
        "_x0",
    )

    def __init__(self, x0: Tensor, sign: float = -1.0, temperature: float = 1.0) -> None:
        check_tensor("x0", x0)
        if x0.dim() != 2 or not x0.is_floating_point():
            raise ValueError(f"x0 must be floating of shape [num_nodes, width], got {describe(x0)}")
        if isinstance(sign, (Tensor, bool)) or sign not in (-1, 1):
            raise ValueError(f"sign must be +1 or -1, got {describe(sign)}")
        temperature = check_real("temperature", temperature)
        # 1 / temperature is taken in float64.
        if not temperature > 1e-300:
            raise ValueError(f"temperature must be > 0, got {temperature}")
        check_finite("x0", x0)
        self._sign, self._temperature = float(sign), temperature
        # A tensor, so that torch.compile sees no Python number that might change.
        with outside():
            self._scale = torch.tensor(self._sign / temperature, dtype=torch.float64, device=x0.device)
        # A copy of an x0 that needs a derivative would belong to one autograd graph.
        self._set(x0 if needs_derivative(x0) else x0.contiguous(), False, VersionedCache())

    def _set(self, x0: Tensor, transposed: bool, softmaxes: VersionedCache) -> None:
        self._x0, self._is_transposed = x0, transposed
        # By accumulation type and backend: the rows' log-sum-exp, and the matrix or None. The transpose shares it.
        self._softmaxes = softmaxes
        self._num_nodes = x0.size(0)
        self._transposed: Similarity | None = None

    def _like(self, x0: Tensor, transposed: bool, softmaxes: VersionedCache) -> Similarity:
        """Build one that needs no check."""
        other = object.__new__(Similarity)
        other._sign, other._temperature, other._scale = self._sign, self._temperature, self._scale
        other._set(x0, transposed, softmaxes)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles share no cache, and what is loaded is checked again.
        check_storage("x0", self._x0)
        return _load, (self._x0, self._sign, self._temperature, self._is_transposed)

    x0 = property(lambda self: self._x0, doc="The features `[num_nodes, width]`.")
    sign = property(lambda self: self._sign, doc="+1.0 or -1.0.")
    temperature = property(lambda self: self._temperature, doc="What the logits are divided by.")
    scale = property(lambda self: self._scale.clone(), doc="sign / temperature, a float64 tensor of one element.")
    transposed = property(lambda self: self._is_transposed, doc="Whether this is the transpose of the softmax.")
    num_rows = num_cols = num_nodes = property(lambda self: self._num_nodes, doc="Number of nodes.")
    device = property(lambda self: self._x0.device, doc="Where x0 is.")

    @property
    def T(self) -> Similarity:
        """The transpose: the same logits, scaled by columns instead of rows."""
        if self._transposed is None:
            self._transposed = self._like(self._x0, not self._is_transposed, self._softmaxes)
        return self._transposed

    def transpose_with(self, weight: Tensor | None) -> tuple[Similarity, Tensor | None]:
        """Return the transpose, and the given x0 (if any), which belongs to it as well."""
        return self.T, weight

    def __repr__(self) -> str:
        return f"Similarity({self.num_nodes}x{self.num_nodes}, width={self._x0.size(1)}, sign={self._sign:+.0f})"

    def to(self, device: torch.device | str) -> Similarity:
        """Return the same matrix on another device."""
        device = check_device(device)
        moved = self._like(self._x0.to(device), self._is_transposed, VersionedCache())
        moved._scale = self._scale.to(device)
        return moved

    def to_dense(self) -> Tensor:
        """Return the definition: float64 `[num_nodes, num_nodes]`."""
        dense = softmax_matrix(self._x0.double(), self._scale)
        return dense.T if self._is_transposed else dense

    def operand(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: Tensor | None = None) -> KernelOperand:
        """Stream the product over tiles: a `[num_nodes, d]` table, each row reading its own."""
        with full_precision(x):
            return KernelOperand(table=self._product(x, acc_dtype, kernels, weight))

    def _product(self, x: Tensor, acc_dtype: torch.dtype, kernels: Any, weight: Tensor | None) -> Tensor:
        if weight is not None:
            lse = kernels.similarity_lse(weight, self._scale)
            return kernels.similarity(weight, x, lse, self._scale, self._is_transposed)
        lse, matrix = self._prepared(acc_dtype, kernels, again=True)
        if matrix is not None:
            return (matrix.T if self._is_transposed else matrix) @ x.to(acc_dtype)
        return kernels.similarity(self._factor(acc_dtype), x, lse, self._scale, self._is_transposed)

    def multi_step_operand(self, acc_dtype: torch.dtype) -> None:
        """Return None: no kernel takes several steps of a streamed product."""
        return None

    def prepare(self, acc_dtype: torch.dtype, kernels: Any) -> Tensor:
        """Return the log-sum-exp of every row of logits, `[num_nodes]`; computed once if x0 is fixed."""
        with full_precision(self._x0):
            return self._prepared(acc_dtype, kernels, again=False)[0]

    def _prepared(self, acc_dtype: torch.dtype, kernels: Any, again: bool) -> tuple[Tensor, Tensor | None]:
        """Return the log-sum-exp and, from the second product on, the matrix if the backend caches it."""
        version = None if self.requires_derivative() else self._version()
        key = (acc_dtype, kernels.__name__)
        cached = None if version is None else self._softmaxes.get(key, version)
        if cached is None:
            cached = (kernels.similarity_lse(self._factor(acc_dtype).detach(), self._scale), None)
        elif (
            again and cached[1] is None and hasattr(kernels, "similarity_matrix") and not torch.compiler.is_compiling()
        ):
            cached = (cached[0], kernels.similarity_matrix(self._factor(acc_dtype), cached[0], self._scale))
        else:
            return cached
        self._softmaxes.store(key, version, cached)
        return cached

    def _version(self) -> tuple[Any, ...] | None:
        """Return the version of x0 (see `tensor_version`); a constant while tracing."""
        return (0, 0) if torch.compiler.is_dynamo_compiling() else tensor_version(self._x0)

    def requires_derivative(self) -> bool:
        """Return whether x0 needs a derivative."""
        return needs_derivative(self._x0)

    def learnable_weight(self, acc_dtype: torch.dtype) -> Tensor | None:
        """Return x0 as the kernels multiply it, if it needs a derivative: the counterpart of a CSR's edge weights."""
        return self._factor(acc_dtype) if self.requires_derivative() else None

    def with_weight(self, x0: Tensor) -> Similarity:
        """Return the same softmax of another x0, floating and finite `[num_nodes, width]`."""
        fresh = Similarity(x0, self._sign, self._temperature)
        if x0.size(0) != self._num_nodes or x0.device != self.device:
            raise ValueError(f"x0 must have num_nodes={self._num_nodes} rows on {self.device}, got {describe(x0)}")
        return fresh.T if self._is_transposed else fresh

    def _with_weight(self, x0: Tensor | None) -> Similarity:
        """Return the matrix with other weights that are known to be valid."""
        return self if x0 is self._x0 or x0 is None else self._like(x0, self._is_transposed, VersionedCache())

    def weight_grad(self, weight: Tensor, a: Tensor, b: Tensor, kernels: Any) -> Tensor:
        """Return the gradient of <a, A b> with respect to x0 (given as `weight`), `[num_nodes, width]`."""
        # <a, P^T b> = <b, P a>.
        a, b = (b, a) if self._is_transposed else (a, b)
        with full_precision(a):
            lse = kernels.similarity_lse(weight, self._scale)
            return kernels.similarity_grad(weight, a, b, lse, self._scale).to(weight.dtype)

    def _factor(self, acc_dtype: torch.dtype) -> Tensor:
        """Return x0 in the type that kernels multiply; 16-bit numbers stay, as float32 holds their products exactly."""
        check_storage("x0", self._x0)
        if self._x0.size(0) != self._num_nodes:
            raise ValueError(f"x0 must keep its num_nodes={self._num_nodes} rows, got {tuple(self._x0.shape)}")
        keeps_type = self._x0.element_size() == 2 and acc_dtype == torch.float32
        return (self._x0 if keeps_type else self._x0.to(acc_dtype)).contiguous()


def softmax_matrix(x0: Tensor, scale: Tensor) -> Tensor:
    r"""Return \( P = \mathrm{softmax}(scale \cdot X_0 X_0^\top) \) by rows, `[n, n]`, in torch operations."""
    return torch.softmax(scale.to(x0.dtype) * (x0 @ x0.T), dim=1)


def _load(x0: Tensor, sign: float, temperature: float, transposed: bool) -> Similarity:
    """Return the Similarity that `__reduce__` took apart, checked as by its constructor."""
    half = Similarity(x0, sign, temperature)
    return half._like(half._x0, bool(transposed), VersionedCache())


torch.serialization.add_safe_globals([_load])
