"""The graph of a case: built by the package, and modelled beside it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sbp_kernels import CSR, SignedGraph

from ..inputs.graphs import Spec
from ..inputs.tensors import DTYPES, Array
from .dense import Dense
from .halves import IMPLICIT, EdgeModel


def draw_edges(spec: Spec, rows: int, cols: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row, col) of every edge, that is (target, source), in the order in which the caller has them."""
    rng = np.random.default_rng(spec["seed"])
    count, pattern = spec["edges"], spec["pattern"]
    row, col = rng.integers(0, max(rows, 1), count), rng.integers(0, max(cols, 1), count)
    if pattern == "duplicates":
        row, col = row % max(rows // 3, 1), col % 2 % max(cols, 1)
    elif pattern == "hub":
        row = np.where(rng.random(count) < 0.7, 0, row)
    elif pattern == "loops":
        row = np.where((rng.random(count) < 0.5) & (col < rows), col, row)
    elif pattern == "chain":
        row, col = np.arange(count) % max(rows, 1), (np.arange(count) + 1) % max(cols, 1)
    elif pattern == "loop-free":
        keep = count if rows > 1 else 0
        row, col = row[:keep], (row + 1 + col % max(rows - 1, 1))[:keep] % max(rows, 1)
    elif pattern == "symmetric" and rows == cols:
        half = count // 2
        row, col = np.concatenate([row[:half], col[:half]]), np.concatenate([col[:half], row[:half]])
    return row.astype(np.int64), col.astype(np.int64)


def draw_weight(spec: Spec, count: int) -> Tensor | None:
    rng = np.random.default_rng(spec["seed"] + 1)
    size = rng.random(count) + 0.25
    sign = np.where(rng.random(count) < 0.4, -1.0, 1.0)
    values: dict[str, Array] = {
        "positive": size,
        "signed": size * sign,
        "some zeros": size * sign * (rng.random(count) < 0.7),
        "unit": np.ones(count),
        "unit signs": sign,
        "tiny": size * 1e-41,
        "denormal": size * 1e-290,
        "large": size * 1e41,
    }
    if spec["weight"] is None:
        return None
    return torch.from_numpy(values[spec["weight"]]).to(DTYPES[spec["weight_type"]])


class World:
    """A graph and its model; `pos` and `neg` are models of the halves, None for an absent one."""

    def __init__(self, spec: Spec, device: str = "cpu") -> None:
        self.spec, self.rows, self.cols, self.device = spec, spec["rows"], spec["cols"], device
        self.pos: Any = None
        self.neg: Any = None
        if spec["builder"] == "signed":
            self.graph = self._signed(spec["signed"])
        elif spec["builder"] == "pair":
            self.graph = self._pair(spec["pos"], spec["neg"])
        else:
            halves = [None if spec[name] is None else self._half(name, spec[name]) for name in ("pos", "neg")]
            self.graph = SignedGraph(*halves)
        if device != "cpu":
            self.graph = self.graph.to(device)
        for move in spec["moves"]:
            self._move(move)

    @property
    def models(self) -> tuple[Any, Any]:
        return self.pos, self.neg

    def dense(self, transposed: bool) -> tuple[Dense | None, Dense | None]:
        halves = (None if model is None else model.dense for model in self.models)
        return tuple(half.T if half is not None and transposed else half for half in halves)  # type: ignore[return-value]

    def _half(self, name: str, spec: Spec) -> Any:
        if spec["kind"] != "edges":
            half, model = IMPLICIT[spec["kind"]](spec, self.rows)
        else:
            half, model = self._edges(spec)
        setattr(self, name, model)
        return half

    def _edges(self, spec: Spec) -> tuple[CSR, EdgeModel]:
        row, col = draw_edges(spec, self.rows, self.cols)
        weight = draw_weight(spec, len(row))
        if weight is not None and spec["grad"]:
            weight.requires_grad_()
        if spec["make"] == "csr":
            half, model = self._compressed(spec, row, col, weight)
        else:
            half = CSR.from_edge_index(_edge_index(row, col, spec), weight, size=(self.cols, self.rows))
            model = self._model(row, col, weight, np.lexsort((col, row)))
        if spec["loops"] and self.rows == self.cols:
            half = half.add_self_loops(spec["fill"])
            model = _with_loops(model, spec["fill"])
        if spec["norm"] and not spec["scales"]:
            half = half.normalize(spec["norm"])
            _normalize(model, spec["norm"], spec["weight_type"])
        return half, model

    def _model(self, row: Any, col: Any, weight: Tensor | None, order: Any) -> EdgeModel:
        model = EdgeModel(self.rows, self.cols, row[order], col[order], None)
        if weight is not None:
            model.weight = weight.detach().double()[torch.from_numpy(order)]
            model.order = order
            model.param = weight if weight.requires_grad else None
        return model

    def _compressed(self, spec: Spec, row: Any, col: Any, weight: Tensor | None) -> tuple[CSR, EdgeModel]:
        """Straight from compressed rows, whose columns need not ascend; the weights are in their order."""
        by_row = np.argsort(row, kind="stable")
        row, col = row[by_row], col[by_row]
        rowptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=self.rows))]).astype(np.int64)
        model = self._model(row, col, weight, np.arange(len(row)))
        scales: list[Tensor | None] = [None, None]
        if spec["scales"]:
            rng = np.random.default_rng(spec["seed"] + 2)
            kind = DTYPES[spec["weight_type"]]
            scales = [torch.from_numpy(rng.standard_normal(n)).to(kind) for n in (self.rows, self.cols)]
            model.row_scale, model.col_scale = (s.double() for s in scales if s is not None)
        columns = torch.from_numpy(col).to(torch.int32 if spec["columns"] == "int32" else torch.int64)
        return CSR(torch.from_numpy(rowptr), columns, weight, *scales, num_cols=self.cols), model

    def _pair(self, pos: Spec, neg: Spec) -> SignedGraph:
        edges = [draw_edges(half, self.rows, self.cols) for half in (pos, neg)]
        weights = [draw_weight(half, len(e[0])) for half, e in zip((pos, neg), edges, strict=True)]
        for half, weight in zip((pos, neg), weights, strict=True):
            if weight is not None and half["grad"]:
                weight.requires_grad_()
        index = [_edge_index(*e, half) for e, half in zip(edges, (pos, neg), strict=True)]
        graph = SignedGraph.from_edge_index(
            *index, size=(self.cols, self.rows), pos_edge_weight=weights[0], neg_edge_weight=weights[1]
        )
        self.pos, self.neg = (self._model(*e, w, np.lexsort((e[1], e[0]))) for e, w in zip(edges, weights, strict=True))
        if pos["loops"] and self.rows == self.cols:
            graph = graph.add_self_loops(pos["fill"])
            self.pos = _with_loops(self.pos, pos["fill"])
        mode = self.spec["joint"] or pos["norm"]
        if mode:
            graph = graph.normalize(mode, joint=bool(self.spec["joint"]))
            self.pos.partner, self.neg.partner = (self.neg, self.pos) if self.spec["joint"] else (None, None)
            for model, half in zip(self.models, (pos, neg), strict=True):
                _normalize(model, mode, half["weight_type"])
        return graph

    def _signed(self, spec: Spec) -> SignedGraph:
        row, col = draw_edges(spec, self.rows, self.cols)
        weight = draw_weight(spec, len(row))
        assert weight is not None
        weight.requires_grad_(spec["grad"])
        graph = SignedGraph.from_edge_weight(_edge_index(row, col, spec), weight, size=(self.cols, self.rows))
        order = np.lexsort((col, row))
        negative = (weight.detach() < 0).numpy()[order]
        self.pos, self.neg = (self._model(row, col, weight, order[mask]) for mask in (~negative, negative))
        self.neg.sign, self.neg.weight = -1.0, -self.neg.weight
        if spec["norm"]:
            graph = graph.normalize(spec["norm"])
            for model in self.models:
                _normalize(model, spec["norm"], spec["weight_type"])
        return graph

    def _move(self, move: str) -> None:
        """A change that leaves the matrices as they are."""
        takes_grad = any(model is not None and model.param is not None for model in self.models)
        if move in ("pickle", "copy"):
            if not takes_grad:
                self.graph = pickle.loads(pickle.dumps(self.graph)) if move == "pickle" else copy.deepcopy(self.graph)
        elif move == "to":
            self.graph = self.graph.to(self.device)
        elif move == "prepare":
            self.graph = self.graph.prepare()
        elif move == "transpose twice":
            # It sorts the columns, and with them the weights, of compressed rows that came unsorted.
            if all((self.spec.get(name) or {}).get("make") != "csr" for name in ("pos", "neg")):
                self.graph = self.graph.T.T
        else:
            self.graph = self.graph.with_weights(None, None)


def _edge_index(row: Any, col: Any, spec: Spec) -> Tensor:
    index = torch.from_numpy(np.stack([col, row]))
    return index.to(torch.int32) if spec["index"] == "int32" else index


def _with_loops(model: EdgeModel, fill: float) -> EdgeModel:
    """Loops of weight `fill` at the nodes that have none, in (row, col) order."""
    missing = np.setdiff1d(np.arange(model.rows), model.row[model.row == model.col])
    row, col = np.concatenate([model.row, missing]), np.concatenate([model.col, missing])
    order = np.lexsort((col, row))
    weight, position = model.weight, model.order
    if weight is None and fill != 1.0:
        weight = torch.ones(len(model.row), dtype=torch.float64)
    if weight is not None:
        weight = torch.cat([weight, torch.full((len(missing),), fill, dtype=torch.float64)])[torch.from_numpy(order)]
    if position is not None:
        position = np.concatenate([position, np.full(len(missing), -1)])[order]
    looped = EdgeModel(model.rows, model.cols, row[order], col[order], weight)
    looped.param, looped.order, looped.fill = model.param, position, fill
    return looped


def _normalize(model: EdgeModel, mode: str, weight_type: str = "float64") -> None:
    """Normalize; weights that require grad, or whose scales depend on such weights, are rounded to their type."""
    model.norm = mode
    if any(m is not None and m.param is not None for m in (model, model.partner)):
        model.extra_terms += 6
        coarse = weight_type if model.weight is not None else "float32"
        model.weight_error = float(torch.finfo(DTYPES[coarse]).eps)
