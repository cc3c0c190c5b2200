"""Print result rows as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table

from ..cases.modes import OURS
from .queries import share_of_roofline

Row = Mapping[str, object]


def print_run(console: Console, rows: Sequence[Row]) -> None:
    """Print one table per workload with one section per case, then the reasons why methods were not timed."""
    for name, of_workload in groupby(rows, key=lambda row: row["workload"]):
        console.print(workload_table(str(name), list(of_workload)))
    for note in dict.fromkeys(f"{row['method']} ({row['dtype']}): {row['note']}" for row in rows if row["note"]):
        console.print(note, style="dim", highlight=False, markup=False)
    if rows:
        r = rows[0]
        console.print(
            f"{r['device']}, {r['threads']} threads, torch {r['torch']}, commit {r['commit']}, {r['date']}",
            style="dim",
            highlight=False,
        )


def result_table(title: str, headings: Sequence[str]) -> Table:
    """Return an empty table whose first column names the rows; the others hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def workload_table(name: str, rows: Sequence[Row]) -> Table:
    """Return the table of a workload: medians, 20th and 80th percentiles, and the share of the roofline."""
    r = rows[0]
    size = f"{r['num_nodes']} nodes, {r['num_edges_pos']} + {r['num_edges_neg']} edges"
    title = f"{name}: {size}, largest degree {r['max_degree']}"
    table = result_table(title, ("median ms", "p20 – p80", "ours faster by", "mem/out", "roofline"))
    for case, of_case in groupby(rows, key=lambda row: (row["width"], row["dtype"], row["mode"], row["cache"])):
        width, dtype, mode, cache = (str(part) for part in case)
        cold = ", cold" if cache == "cold" else ""
        table.add_row(f"[italic]d={width} {dtype} {mode.replace('forward+backward', 'fwd+bwd')}{cold}")
        for row in of_case:
            table.add_row(*_cells(row), style="bold" if row["method"] == OURS else None)
        table.add_section()
    return table


def _cells(row: Row) -> tuple[str, ...]:
    name = f"  {row['method']}"
    if row["median_ms"] == "":
        return name, "–", "see below", "–", "–", "–"
    # Name the backend if ours did not run on the native one.
    if row["method"] == OURS and row["backend"] != "native":
        name += f" ({row['backend']})"
    # Name threads and instruction set if they differ from those of the run.
    if row["method"] == OURS and row["ratio_low"] != "":
        name += f" ({row['threads']} threads, {row['isa']})"
    p20, median, p80 = (number(float(str(row[k]))) for k in ("p20_ms", "median_ms", "p80_ms"))
    ratio = "" if row["ratio_to_ours"] in ("", 1.0) else f"{float(str(row['ratio_to_ours'])):.2f}×"
    memory = "–"
    if row["extra_memory_bytes"] != "":
        memory = f"{float(str(row['extra_memory_bytes'])) / float(str(row['output_bytes'])):.2f}×"
    share = share_of_roofline({key: str(value) for key, value in row.items()})
    return name, median, f"{p20} – {p80}", ratio, memory, "–" if share is None else f"{100 * share:.0f} %"


def number(value: float) -> str:
    """Format with three significant digits, never with an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
