"""The plan of a table or figure: cells with their settings, rows for models, columns for depths or datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..presets import MODEL_PRESETS
from .printed_values import PAPER, Value

# Models that get a second row, without negative edges.
_SIGNED = ("label-sbp", "feature-sbp", "feature-sbp-v2")
_LEARNABLE = ("label-sbp", "feature-sbp")


@dataclass(frozen=True)
class Cell:
    """One number of a table: its position, the settings that produce it, and the value in the paper."""

    panel: str
    row: str
    column: str
    dataset: str
    model: str
    layers: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    paper: Value | None = None


@dataclass(frozen=True)
class Plan:
    """A table or figure. `measure` is the quantity in its cells, `axis` that of its columns, or "" for names."""

    name: str
    title: str
    cells: tuple[Cell, ...] = ()
    reading: str = ""
    measure: str = "accuracy"
    axis: str = ""
    unit: str = "test accuracy, %"


@dataclass(frozen=True)
class Column:
    """A column of a table with the settings that all its cells share."""

    name: str
    dataset: str
    layers: int = 2
    settings: dict[str, Any] = field(default_factory=dict)


def with_layers(plan: Plan, layers: Sequence[int]) -> Plan:
    """Return the plan with other depths as columns; raise ValueError if its columns are not depths."""
    if plan.axis != "layers":
        raise ValueError(f"layers cannot be chosen for {plan.name}: its columns are not depths")
    first = next(c.column for c in plan.cells)
    cells = []
    for cell in (c for c in plan.cells if c.column == first):
        depths = [0] * len(layers) if cell.model == "mlp" else layers
        for n, depth in zip(layers, depths, strict=True):
            at = [c.paper for c in plan.cells if (c.panel, c.row, c.column) == (cell.panel, cell.row, str(n))]
            cells.append(replace(cell, column=str(n), layers=depth, paper=at[0] if at else None))
    return replace(plan, cells=tuple(cells))


def with_learned(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Return the cells, followed by the cells of SBP with learned coefficients."""
    more = [
        replace(c, row=f"{c.row}, learned", settings={**c.settings, "learn": True}, paper=None)
        for c in cells
        if c.model in _LEARNABLE and c.settings.get("beta") != 0
    ]
    if not more:
        raise ValueError("no model of this table has coefficients that can be learned")
    return cells + tuple(more)


def grid(
    models: Iterable[str], columns: Sequence[Column], table: str = "", panel: str = "", **settings: Any
) -> list[Cell]:
    """Return a cell for each model and column; signed models get a second row without negative edges.

    Settings that a model does not have are dropped. The paper's values are those of `table`.
    """
    cells = []
    for model in models:
        entry = MODEL_PRESETS[model]
        for ablated in (False, True) if model in _SIGNED else (False,):
            row = f"{model}, beta=0" if ablated else model
            for column in columns:
                requested = {**column.settings, **settings, **({"beta": 0.0} if ablated else {})}
                own = {k: v for k, v in requested.items() if k in entry.settings or k == "phi"}
                if settings.get("backbone") in entry.backbones:
                    own["backbone"] = settings["backbone"]
                paper = PAPER[table].value(row, column.name) if table else None
                depth = 0 if model == "mlp" else column.layers
                cells.append(Cell(panel, row, column.name, column.dataset, model, depth, own, paper))
    return cells
