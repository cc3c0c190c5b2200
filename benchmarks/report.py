"""Rows of results as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from .methods import OURS

Row = Mapping[str, object]


def print_run(console: Console, rows: Sequence[Row]) -> None:
    """One table a workload, one section a case."""
    for name, of_workload in groupby(rows, key=lambda row: row["workload"]):
        console.print(workload_table(str(name), list(of_workload)))
    if rows:
        r = rows[0]
        console.print(
            f"{r['device']}, {r['threads']} threads, torch {r['torch']}, commit {r['commit']}, {r['date']}",
            style="dim",
        )


def workload_table(name: str, rows: Sequence[Row]) -> Table:
    """A workload's cases; medians with their 20th and 80th percentile."""
    r = rows[0]
    table = Table(
        title=f"{name}: {r['num_nodes']} nodes, {r['num_edges_pos']} + {r['num_edges_neg']} edges, "
        f"largest degree {r['max_degree']}",
        title_justify="left",
    )
    for heading in ("case", "method", "median ms", "p20 – p80", "ours faster by", "memory / output"):
        table.add_column(heading, justify="left" if heading in ("case", "method") else "right")
    for case, of_case in groupby(rows, key=lambda row: (row["width"], row["dtype"], row["mode"])):
        for i, row in enumerate(of_case):
            label = "d={} {} {}".format(*case) if i == 0 else ""
            table.add_row(label, *_cells(row), style="bold" if row["method"] == OURS else None)
        table.add_section()
    return table


def _cells(row: Row) -> tuple[str, ...]:
    name = str(row["method"])
    if row["median_ms"] == "":
        return name, "–", str(row["note"]), "–", "–"
    # Ours may run by another backend than the native one, and must then say so.
    if name == OURS:
        name += f" ({row['backend']})"
    p20, median, p80 = (float(str(row[k])) for k in ("p20_ms", "median_ms", "p80_ms"))
    ratio = "" if row["method"] == OURS else f"{float(str(row['ratio_to_ours'])):.2f}×"
    memory = float(str(row["extra_memory_bytes"])) / float(str(row["output_bytes"]))
    return name, f"{median:.4g}", f"{p20:.4g} – {p80:.4g}", ratio, f"{memory:.2f}×"
