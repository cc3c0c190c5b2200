"""python -m benchmarks.check_targets: compare the latest full run with the performance targets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from .cases.modes import OURS
from .reporting import result_files
from .reporting.targets import Runs, read, verdicts


def print_targets(console: Console, runs: Runs) -> bool:
    """Print every target with its measured value and verdict; return whether all hold."""
    title = "float32, geometric means over the graphs, unless stated otherwise"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("target", "measured", "holds", "where"):
        table.add_column(heading, justify="right" if heading == "measured" else "left", no_wrap=heading != "where")
    judged = verdicts(runs)
    for target, found, holds in judged:
        verdict = "yes" if holds else "[red]no"
        if found is None:
            table.add_row(target.text, "not measured", verdict, "")
        else:
            table.add_row(target.text, f"{found.value:.2f}×", verdict, found.where)
    console.print(table)
    return all(holds for *_, holds in judged)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_targets", description=__doc__)
    result_files.add_source_arguments(parser)
    args = parser.parse_args(argv)
    console = Console()
    try:
        runs = read(args.results, args.slug, args.preset)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    holds = print_targets(console, runs)
    for run in (runs.propagate, runs.build):
        if run:
            r = run[0]
            console.print(f"{r['device']}, {r['threads']} threads, commit {r['commit']}, {r['date']}", style="dim")
    other = {row["backend"] for row in runs.propagate if row["method"] == OURS} - {"native"}
    if other:
        console.print(f"ours ran on the {', '.join(sorted(other))} backend", style="yellow")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
