"""What a table or figure is made of: cells with their settings, in rows of models and columns of depths or datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..presets import MODEL_PRESETS
from .printed_values import PAPER, Value

# Models whose row is followed by the same without negative edges.
_SIGNED = ("label-sbp", "feature-sbp", "feature-sbp-v2")
_LEARNABLE = ("label-sbp", "feature-sbp")


@dataclass(frozen=True)
class Cell:
    """One number of a table: where it stands, the setting that makes it, and what the paper prints there."""

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
    """A table or figure: `measure` is what a cell's number is, `axis` what its columns are ("" for names)."""

    name: str
    title: str
    cells: tuple[Cell, ...] = ()
    reading: str = ""
    measure: str = "accuracy"
    axis: str = ""
    unit: str = "test accuracy, %"


@dataclass(frozen=True)
class Column:
    """A column of a table and the settings that all of its cells share."""

    name: str
    dataset: str
    layers: int = 2
    settings: dict[str, Any] = field(default_factory=dict)


def with_layers(made: Plan, layers: Sequence[int]) -> Plan:
    """Return the plan with other depths as columns; raise ValueError where its columns are no depths."""
    if made.axis != "layers":
        raise ValueError(f"{made.name} has no depths to choose: its columns are no layers")
    first = next(c.column for c in made.cells)
    cells = []
    for cell in (c for c in made.cells if c.column == first):
        depths = [0] * len(layers) if cell.model == "mlp" else layers
        for n, depth in zip(layers, depths, strict=True):
            at = [c.paper for c in made.cells if (c.panel, c.row, c.column) == (cell.panel, cell.row, str(n))]
            cells.append(replace(cell, column=str(n), layers=depth, paper=at[0] if at else None))
    return replace(made, cells=tuple(cells))


def with_learned(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Return the cells and, after them, those of SBP once more with coefficients that train."""
    more = [
        replace(c, row=f"{c.row}, learned", settings={**c.settings, "learn": True}, paper=None)
        for c in cells
        if c.model in _LEARNABLE and c.settings.get("beta") != 0
    ]
    if not more:
        raise ValueError("nothing here has coefficients that can train")
    return cells + tuple(more)


def grid(
    models: Iterable[str], columns: Sequence[Column], table: str = "", panel: str = "", **settings: Any
) -> list[Cell]:
    """Return the cells of models by columns, each signed model also without negative edges.

    Settings that a model does not have are left out. Values of the paper are those of `table`.
    """
    cells = []
    for model in models:
        entry = MODEL_PRESETS[model]
        for ablated in (False, True) if model in _SIGNED else (False,):
            row = f"{model}, beta=0" if ablated else model
            for column in columns:
                asked = {**column.settings, **settings, **({"beta": 0.0} if ablated else {})}
                own = {k: v for k, v in asked.items() if k in entry.settings or k == "phi"}
                if settings.get("backbone") in entry.backbones:
                    own["backbone"] = settings["backbone"]
                paper = PAPER[table].value(row, column.name) if table else None
                depth = 0 if model == "mlp" else column.layers
                cells.append(Cell(panel, row, column.name, column.dataset, model, depth, own, paper))
    return cells
