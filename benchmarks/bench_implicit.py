"""python -m benchmarks.bench_implicit: compare implicit negatives and several steps with what they replace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from .competitors.comparisons import COMPARISONS, Comparison
from .reporting import result_files, run_info
from .reporting.terminal import number, result_table
from .timing.run_comparison import measure, rows_of

CPU = torch.device("cpu")


def table(rows: Sequence[dict[str, object]]) -> Table:
    """Return the table of one comparison for the terminal."""
    r = rows[0]
    title = f"{r['case']}: {r['num_nodes']} nodes, {r['width']} features"
    shown = result_table(title, ("median ms", "p20 – p80", "time / first call", "memory MB"))
    for row in rows:
        if row["note"]:
            shown.add_row(str(row["call"]), "–", str(row["note"]))
            continue
        p20, median, p80, ratio = (
            number(float(str(row[k]))) for k in ("p20_ms", "median_ms", "p80_ms", "ratio_to_first")
        )
        memory = f"{float(str(row['extra_memory_bytes'])) / 1e6:.1f}"
        shown.add_row(str(row["call"]), median, f"{p20} – {p80}", ratio, memory)
    return shown


def add_arguments(parser: argparse.ArgumentParser, cases: Iterable[str], budget: float) -> None:
    """Add the flags shared by all commands that measure comparisons."""
    names = ",".join(cases)
    parser.add_argument("--cases", default=names, help=f"of {names}")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=float, default=budget, help="seconds a call may take (at least 3 samples)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--results", type=Path, default=result_files.RESULTS)


def run_cases(
    parser: argparse.ArgumentParser, args: argparse.Namespace, cases: Mapping[str, Callable[[], Comparison]], file: str
) -> int:
    """Measure the selected comparisons, print each, and append its rows to `file` of this device."""
    names = args.cases.split(",")
    for name in names:
        if name not in cases:
            parser.error(f"--cases must be of {', '.join(cases)}, got {name!r}")
    if args.threads:
        torch.set_num_threads(args.threads)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = run_info.run_fields(CPU, 0, "full" if len(names) == len(cases) else "some", date)
    console, path = Console(), args.results / run_info.device_slug(CPU) / file
    for name in names:
        with console.status(name):
            case = cases[name]()
            rows = rows_of(case, measure(case, args.repeats, args.budget, CPU), run)
        console.print(table(rows))
        result_files.append(path, result_files.IMPLICIT_COLUMNS, rows)
    console.print(f"rows appended to {path}", style="dim", highlight=False)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_implicit", description=__doc__)
    add_arguments(parser, COMPARISONS, budget=10.0)
    return run_cases(parser, parser.parse_args(argv), COMPARISONS, "implicit.csv")


if __name__ == "__main__":
    sys.exit(main())
