"""Compare our values with the paper's: tables on the terminal, rows of a CSV file, and a JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from ..paper.cell_values import Outcome
from ..paper.table_plan import Cell, Plan
from ..training import files
from .result_files import write_rows as write_rows
from .terminal import new_table, open_console

# Columns of the paper per block: three columns of three numbers fit the width of a terminal.
_COLUMNS_PER_BLOCK = 3


def show(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Print the paper's value, ours and the difference for every cell, and notes on empty cells."""
    out = open_console()
    out.print(f"{plan.name}: {plan.title} ({plan.unit})", style="bold", highlight=False)
    if plan.reading:
        out.print(plan.reading, style="dim", highlight=False)
    notes = list(dict.fromkeys(o.note for o in outcomes if o.note))
    for panel in dict.fromkeys(o.cell.panel for o in outcomes):
        here = [o for o in outcomes if o.cell.panel == panel]
        columns = list(dict.fromkeys(o.cell.column for o in here))
        # Without any value of the paper, a column has one number.
        compared = any(o.cell.paper is not None for o in here)
        beside = _COLUMNS_PER_BLOCK if compared else 2 * _COLUMNS_PER_BLOCK
        if plan.unit == "seconds":
            beside = 2
        for start in range(0, len(columns), beside):
            out.print()
            if panel:
                out.print(panel, style="bold", highlight=False)
            out.print(_block(plan, here, columns[start : start + beside], notes, compared), highlight=False)
    for number, note in enumerate(notes, 1):
        out.print(f"[{number}] {note}", style="dim", highlight=False, markup=False)
    if outcomes:
        out.print(summary(outcomes), highlight=False)


def _block(plan: Plan, outcomes: Sequence[Outcome], columns: Sequence[str], notes: list[str], compared: bool) -> Table:
    at = {(o.cell.row, o.cell.column): o for o in outcomes}
    grid = new_table()
    grid.add_column("", no_wrap=True)
    for column in columns:
        heads = (f"{column}: paper", "ours", "diff") if compared else (column,)
        for head in heads:
            grid.add_column(head, justify="right", no_wrap=True)
    for row in dict.fromkeys(o.cell.row for o in outcomes):
        cells: list[str] = []
        for column in columns:
            found = at.get((row, column))
            texts = _texts(plan, found, notes) if found else ("", "", "")
            cells += texts if compared else texts[1:2]
        grid.add_row(row, *cells)
    return grid


def _texts(plan: Plan, found: Outcome, notes: list[str]) -> tuple[str, str, str]:
    paper = found.cell.paper
    digits = 4 if plan.unit == "seconds" else 2
    printed = "-" if paper is None else "OOM" if isinstance(paper, str) else f"{paper:.{digits}f}"
    if found.value is None:
        # rich would parse an unescaped bracket as a style.
        return printed, f"\\[{notes.index(found.note) + 1}]", ""
    ours = f"{found.value:.{digits}f}" + (f" ± {found.std:.{digits}f}" if found.std is not None else "")
    return printed, ours, "" if found.difference is None else f"{round(found.difference, digits) + 0.0:+.{digits}f}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return a sentence with the number of cells that ran and their distance from the paper."""
    ran = [o for o in outcomes if o.value is not None]
    text = f"{len(ran)} of {len(outcomes)} cells have a value here"
    gaps = [abs(o.difference) for o in ran if o.difference is not None]
    if gaps:
        text += f"; {len(gaps)} are also in the paper: mean distance {fmean(gaps):.2f}, largest {max(gaps):.2f}"
    return text + "."


def rows(plan: Plan, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return one row per cell."""
    return [_row(plan, o, o.cell) for o in outcomes]


def _row(plan: Plan, o: Outcome, cell: Cell) -> dict[str, Any]:
    config = o.config
    return {
        "table": plan.name,
        "panel": cell.panel,
        "row": cell.row,
        "column": cell.column,
        "dataset": cell.dataset,
        "model": cell.model,
        "backbone": config and config.backbone,
        "layers": config and config.layers,
        "lam": config and config.lam,
        "beta": config and config.beta,
        "unit": plan.unit,
        "paper": cell.paper,
        "ours_mean": _rounded(o.value),
        "ours_std": _rounded(o.std),
        "difference": _rounded(o.difference),
        "runs": o.runs,
        "seconds": _rounded(o.seconds),
        "note": o.note,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def document(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """Return a table or figure as a JSON document, with the settings of every cell."""
    cells = [
        {**row, "config": o.config and asdict(o.config), "points": o.points}
        for row, o in zip(rows(plan, outcomes), outcomes, strict=True)
    ]
    content: dict[str, Any] = {"name": plan.name, "title": plan.title, "unit": plan.unit}
    content |= {"reading": plan.reading, "summary": summary(outcomes) if outcomes else "", "cells": cells}
    return files.json_document("reproduce", **content)


def write(plan: Plan, outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Write CSV, JSON and figure files; return their paths."""
    from .paper_figure import draw

    stem = folder / plan.name
    files.write(stem.with_suffix(".json"), document(plan, outcomes) + "\n")
    if not outcomes:
        return [stem.with_suffix(".json")]
    write_rows(stem.with_suffix(".csv"), rows(plan, outcomes))
    draw(plan, outcomes, stem)
    return [stem.with_suffix(suffix) for suffix in (".csv", ".json", ".png", ".svg")]
