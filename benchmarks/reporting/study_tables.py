"""Render the tables of the study, docs/pages/study.md, from the rows of `bench_study`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

Row = dict[str, str]

BLOCK = "study"


def markdown(folder: Path) -> str:
    """Return Table 2, depth on Cora and depth on CSBM; cells are paper / ours if the paper's value is known."""
    parts = []
    for name, title in (
        ("table2", "Table 2: SGC backbone, 2 layers, test accuracy in %, paper / ours"),
        ("fig3", "Cora by layers, one setting of SBP for all depths beyond thirty (lambda = 3 / layers, beta = 0.1)"),
        ("table10", "Table 10: CSBM by layers, 100 draws, paper / ours"),
    ):
        path = folder / f"{name}.csv"
        if path.exists():
            with path.open(newline="") as file:
                parts.append(f"{title}:\n\n{_grid(list(csv.DictReader(file)))}")
    if not parts:
        raise FileNotFoundError(f"no rows of the study in {folder}: python -m benchmarks.bench_study writes them")
    return "\n\n".join(parts)


def _grid(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(row["column"] for row in rows))
    at = {(row["row"], row["column"]): row for row in rows}
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    for name in dict.fromkeys(row["row"] for row in rows):
        cells = [_cell(at.get((name, column))) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    r = rows[0]
    return "\n".join(lines) + f"\n\nCommit {r['commit']}, {r['date'][:10]}, torch {r['torch']}."


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    ours = f"{float(row['ours_mean']):.1f}" if row["ours_mean"] else "overflow"
    return f"{float(row['paper']):.1f} / **{ours}**" if row["paper"] else ours
