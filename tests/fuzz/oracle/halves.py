"""Models of the three kinds of adjacency: how the package builds each, and its dense float64 matrix by definition.

The matrices come from the edge lists, labels or features that the test drew itself, never from the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sbp_kernels import ClassBlock, Similarity

from ..inputs.tensors import DTYPES, Array, tensor
from .algebra import Exact, Majorant
from .dense import Dense, Signs

Algebra = Exact | Majorant


def dense_of(model: Any) -> tuple[Array, Array]:
    exact = Exact()
    matrix = model.matrix(exact).detach().numpy()
    return matrix, model.matrix(Majorant(exact.trace)).detach().numpy()


@dataclass
class EdgeModel:
    """A sparse half: edges in the package's order, their weights, and the scales that normalize them."""

    rows: int
    cols: int
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    weight: Tensor | None  # float64, one a stored edge
    row_scale: Tensor | None = None
    col_scale: Tensor | None = None
    norm: str | None = None
    # Degrees of the other half too, where both are normalized jointly.
    partner: EdgeModel | None = None
    # The caller's own tensor, if it requires grad, and the position in it of each stored edge (-1: fill value).
    param: Tensor | None = None
    order: NDArray[np.int64] | None = None
    sign: float = 1.0
    fill: float = 1.0
    extra_terms: int = 0
    weight_error: float = 0.0

    def values(self, alg: Algebra, param: Tensor | None = None) -> Tensor:
        """Weights before normalization, `[stored edges]`; `param` replaces the caller's tensor."""
        if param is not None and self.order is not None:
            order = torch.from_numpy(np.maximum(self.order, 0))
            present = torch.from_numpy(self.order >= 0)
            signed = alg.negative(param) if self.sign < 0 else param
            fill = alg.fixed(torch.full((len(self.row),), self.fill, dtype=torch.float64))
            return torch.where(present, signed[order], fill) if param.numel() else fill
        if param is not None:
            return param
        if self.weight is None:
            return alg.fixed(torch.ones(len(self.row), dtype=torch.float64))
        return alg.fixed(self.weight)

    def _degree(self, alg: Algebra, value: Tensor, side: int) -> Tensor:
        index = torch.from_numpy((self.row, self.col)[side])
        return torch.zeros((self.rows, self.cols)[side], dtype=torch.float64).index_add(0, index, alg.size(value))

    def _inverse(self, alg: Algebra, degree: Tensor, exponent: float) -> Tensor:
        positive = degree.detach() > 0
        return torch.where(positive, alg.power(torch.where(positive, degree, 1.0), exponent), 0.0)

    def edge_values(self, alg: Algebra, param: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        value = self.values(alg, param)
        row, col = torch.from_numpy(self.row), torch.from_numpy(self.col)
        if self.row_scale is not None:
            value = value * alg.fixed(self.row_scale)[row]
        if self.col_scale is not None:
            value = value * alg.fixed(self.col_scale)[col]
        if self.norm is None:
            return value
        degrees = [self._degree(alg, value, side) for side in (0, 1)]
        if self.partner is not None:
            theirs = self.partner.values(alg, other)
            degrees = [d + self.partner._degree(alg, theirs, side) for side, d in enumerate(degrees)]
        if self.norm == "row":
            return value * self._inverse(alg, degrees[0], -1.0)[row]
        left = self._inverse(alg, degrees[0], -0.5)
        right = left if self.rows == self.cols else self._inverse(alg, degrees[1], -0.5)
        return value * left[row] * right[col]

    def matrix(self, alg: Algebra, param: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        index = torch.from_numpy(self.row * self.cols + self.col)
        flat = torch.zeros(self.rows * self.cols, dtype=torch.float64)
        return flat.index_add(0, index, self.edge_values(alg, param, other)).view(self.rows, self.cols)

    @cached_property
    def dense(self) -> Dense:
        matrix, size = dense_of(self)
        scaled = (self.row_scale is not None) + (self.col_scale is not None) + 2 * (self.norm is not None)
        own = 5 + 2 * (self.weight is not None) + 2 * scaled + self.extra_terms
        row, col = (
            np.bincount(index, minlength=n)[:, None].astype(np.float64) + own
            for index, n in ((self.row, self.rows), (self.col, self.cols))
        )
        return Dense(matrix, size, row, col, self.weight_error, 0.0, True, self.signs)

    def signs(self) -> Signs:
        value = self.edge_values(Exact()).detach().numpy()
        flat = self.row * self.cols + self.col
        count = lambda mask: np.bincount(flat[mask], minlength=self.rows * self.cols).reshape(self.rows, self.cols)  # noqa: E731
        return count(value > 0).astype(float), count(value < 0).astype(float), count(value == 0).astype(float)

    def forget(self) -> None:
        self.__dict__.pop("dense", None)


@dataclass
class BlockModel:
    """A block of classes: groups of the nodes and the value of each pair of groups."""

    group: NDArray[np.int64]
    block: Array
    size: Array
    param: None = None

    def matrix(self, alg: Algebra, param: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        block = torch.from_numpy(self.block if isinstance(alg, Exact) else self.size)
        group = torch.from_numpy(self.group)
        return alg.fixed(block)[group][:, group]

    @cached_property
    def dense(self) -> Dense:
        matrix, size = dense_of(self)
        n = len(self.group)
        terms = np.full((n, 1), n + 3.0 * min(len(self.block), n) + 12)
        full = np.ones((n, n))
        return Dense(matrix, size, terms, terms, 0.0, 0.0, False, lambda: (full, 0 * full, 0 * full))


@dataclass
class SimilarityModel:
    """A softmax of features."""

    x0: Tensor  # float64
    scale: float
    param: Tensor | None = None

    def matrix(self, alg: Algebra, param: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        x0 = alg.fixed(self.x0) if param is None else param
        logits = (abs(self.scale) if isinstance(alg, Majorant) else self.scale) * (x0 @ x0.T)
        return alg.softmax(logits)

    @cached_property
    def dense(self) -> Dense:
        matrix = self.matrix(Exact()).detach().numpy()
        n, width = self.x0.shape
        x0 = self.x0.detach().abs()
        logit = float((x0 @ x0.T).max()) * abs(self.scale) if x0.numel() else 0.0
        # An error in a logit is a relative error of its weight; the log-sum-exp adds as much again.
        units = 2.2 * (width + 6) * logit + n + 40
        terms = np.full((n, 1), n + 12.0)
        full = np.ones((n, n))
        return Dense(matrix, matrix, terms, terms, 0.0, units, False, lambda: (full, 0 * full, 0 * full))


def labels(spec: dict[str, Any], n: int) -> tuple[ClassBlock, BlockModel]:
    """Label-SBP's block, from the softmax of its definition."""
    rng = np.random.default_rng(spec["seed"])
    y = rng.integers(0, max(spec["classes"], 1), n) * spec["stride"]
    known = rng.random(n) < spec["known"]
    if spec["over"] == "labelled" and n and not known.any():
        known[0] = True
    half = ClassBlock.from_labels(torch.from_numpy(y), torch.from_numpy(known), spec["over"])
    both = known[:, None] & known[None, :]
    logit = np.where(both, np.where(y[:, None] == y[None, :], -1.0, 1.0), 0.0)
    part = np.exp(logit)
    if spec["over"] == "labelled":
        part = part * known[None, :]
    matrix = part / part.sum(1, keepdims=True) if n else part
    # Factors of many classes hold e^-1 as e + (e^-1 - e).
    many = known.any() and y[known].max(initial=0) + 1 >= 256
    size = np.where(both & (logit < 0), matrix * (2 * np.e**2 - 1), matrix) if many else matrix
    return half, BlockModel(np.arange(n), matrix, size)


def block(spec: dict[str, Any], n: int) -> tuple[ClassBlock, BlockModel]:
    rng = np.random.default_rng(spec["seed"])
    groups = max(spec["groups"], 1)
    group = rng.integers(0, groups, n)
    value = torch.from_numpy(rng.standard_normal((groups, groups))).to(DTYPES[spec["dtype"]])
    dense = value.double().numpy()
    return ClassBlock(torch.from_numpy(group), value), BlockModel(group, dense, abs(dense))


def mean(spec: dict[str, Any], n: int) -> tuple[ClassBlock, BlockModel]:
    value = np.full((1, 1), 1.0 / max(n, 1))
    return ClassBlock.mean(n), BlockModel(np.zeros(n, np.int64), value, value)


def similarity(spec: dict[str, Any], n: int) -> tuple[Similarity, SimilarityModel]:
    x0, value = tensor(spec["seed"], (n, spec["width"]), spec["dtype"], "normal")
    x0 = x0.requires_grad_(spec["grad"])
    half = Similarity(x0, spec["sign"], spec["temperature"])
    model = SimilarityModel(torch.from_numpy(value), spec["sign"] / spec["temperature"])
    model.param = x0 if spec["grad"] else None
    return half, model


IMPLICIT: dict[str, Callable[[dict[str, Any], int], tuple[Any, Any]]] = {
    "labels": labels,
    "block": block,
    "mean": mean,
    "similarity": similarity,
}
