"""The merged CSR of a graph: both signs' edges in one list, with the coefficients' ratio folded into the edge values.

A backend that has `merge_signs` reads a merged CSR faster than two halves. `MergedCache` decides when one is built.
"""

from __future__ import annotations

from ctypes import c_float
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling, is_exporting

from .adjacency.csr import CSR
from .backends.interface import Backend, Coefficients
from .tensor_cache import VersionedCache

# Rebuild only after this many calls with another ratio p : q: a rebuild takes as long as two or three calls with few
# features.
_MISSES_BEFORE_REBUILD = 32


class MergedOperand(NamedTuple):
    """A merged CSR, and the coefficients (r, p, q) to call it with: a tensor or, under torch.compile, numbers."""

    csr: Any
    coefs: Tensor | Coefficients


class _Folded(NamedTuple):
    """A merged CSR whose values contain `factors`, as `operand` for calls with `coefs`; None if halves must be read."""

    coefs: Coefficients
    operand: MergedOperand | None
    factors: tuple[float, float]
    # Calls with other factors since it was built.
    misses: int = 0


class MergedCache:
    """Cache of the merged CSRs of two sparse halves: two per accumulation type, one of them with a coefficient ratio.

    Both are rebuilt when the version of an edge weight changes. A half whose weights require a gradient, or have no
    version, cannot be merged.
    """

    __slots__ = ("_folded", "_neg", "_plain", "_pos", "_weightless")

    def __init__(self, pos: CSR, neg: CSR) -> None:
        self._pos, self._neg = pos, neg
        self._weightless = pos.weightless and neg.weightless
        # By accumulation type: (merged CSR or None,), and `_Folded`.
        self._plain, self._folded = VersionedCache(), VersionedCache()

    @staticmethod
    def of(pos: Any, neg: Any) -> MergedCache | None:
        """Return a cache for two halves, or None unless both are sparse."""
        return MergedCache(pos, neg) if isinstance(pos, CSR) and isinstance(neg, CSR) else None

    def find(
        self, acc_dtype: torch.dtype, kernels: Backend, coefs: Coefficients, coef: Tensor | None = None
    ) -> MergedOperand | None:
        """Return what to call for these coefficients (`coef` if given), or None if the two halves must be read."""
        if not hasattr(kernels, "merge_signs"):
            return None
        if is_dynamo_compiling():
            # Dynamo cannot guard in-place weight updates, so weighted graphs use two separate CSRs. It may also vary
            # the coefficients, so none are folded in.
            plain = self._plain.latest(acc_dtype) if self._weightless else None
            return None if plain is None else _operand(plain[0], coefs if coef is None else coef)
        if coef is not None:
            return _operand(self.plain(acc_dtype, kernels), coef)
        if self._weightless:
            folded = self._folded.latest(acc_dtype)
            if folded is not None and folded.coefs == coefs:
                return folded.operand
        version = self._version()
        if version is None or is_exporting():
            return None
        folded = self._fold(self._folded.get(acc_dtype, version), acc_dtype, kernels, coefs)
        self._folded.store(acc_dtype, version, folded)
        if folded.operand is None or folded.coefs == coefs:
            return folded.operand
        # A ratio that is rare: the coefficients are applied in the call.
        return _operand(self.plain(acc_dtype, kernels), self._on_device(coefs))

    def plain(self, acc_dtype: torch.dtype, kernels: Backend) -> Any:
        """Return the merged CSR without coefficients, or None if the backend or the halves cannot be merged."""
        version = self._version()
        if version is None or not hasattr(kernels, "merge_signs"):
            return None
        cached = self._plain.get(acc_dtype, version)
        if cached is None:
            if is_exporting():
                return None
            cached = (self._merge(acc_dtype, kernels, (1.0, 1.0)),)
            self._plain.store(acc_dtype, version, cached)
        return cached[0]

    def _fold(self, folded: _Folded | None, acc_dtype: torch.dtype, kernels: Backend, coefs: Coefficients) -> _Folded:
        """Return the entry from now on: for `coefs`, or for the coefficients before if the new ratio is rare so far."""
        if folded is not None and (folded.coefs == coefs or folded.operand is None):
            return folded
        factors, common = _relative(coefs[1], coefs[2], acc_dtype)
        if folded is not None and folded.factors != factors and folded.misses < _MISSES_BEFORE_REBUILD:
            return folded._replace(misses=folded.misses + 1)
        if folded is not None and folded.factors == factors:
            csr, misses = folded.operand.csr, folded.misses  # type: ignore[union-attr]
        else:
            csr, misses = self._merge(acc_dtype, kernels, factors), 0
        operand = None if csr is None else MergedOperand(csr, self._on_device((coefs[0], *common)))
        return _Folded(coefs, operand, factors, misses)

    def _merge(self, acc_dtype: torch.dtype, kernels: Any, factors: tuple[float, float]) -> Any:
        pos, neg = (half.prepare(acc_dtype, kernels) for half in (self._pos, self._neg))
        return kernels.merge_signs(pos, neg, factors, acc_dtype)

    def _on_device(self, coefs: Coefficients) -> Tensor:
        return torch.tensor(coefs, dtype=torch.float64, device=self._pos.device)

    def _version(self) -> tuple[Any, Any] | None:
        """Return the versions of both halves' weights; None if one requires a gradient or has no version."""
        if self._weightless:
            return (), ()
        versions = self._pos.weight_version(), self._neg.weight_version()
        if None in versions or self._pos.requires_derivative() or self._neg.requires_derivative():
            return None
        return versions


def _operand(csr: Any, coefs: Tensor | Coefficients) -> MergedOperand | None:
    return None if csr is None else MergedOperand(csr, coefs)


def _relative(p: float, q: float, acc_dtype: torch.dtype) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return p and q relative to the coefficient with the larger magnitude, and that coefficient twice.

    They are rounded as the kernels round them, so that a step has the same bits wherever the factors are applied, and
    steps of several sizes share a merged CSR. If one coefficient is 0, the other one's edges keep their values.
    """
    if p == 0.0 or q == 0.0:
        return (1.0, 1.0), (p, q)
    common = p if abs(p) >= abs(q) else q
    factors = p / common, q / common
    if acc_dtype != torch.float64:
        factors = c_float(factors[0]).value, c_float(factors[1]).value
    return factors, (common, common)
