"""python -m benchmarks.check_targets: the latest full run against what the project promises."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from . import records
from .records import BUILD, OURS

Row = dict[str, str]


@dataclass(frozen=True)
class Runs:
    """The latest rows of each benchmark."""

    propagate: list[Row]
    build: list[Row]


@dataclass(frozen=True)
class Measured:
    """The figure a target is about, and where it was found."""

    value: float
    where: str = ""


@dataclass(frozen=True)
class Target:
    text: str
    bound: float
    measure: Callable[[Runs], Measured | None]
    at_least: bool = True

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def _where(row: Row) -> str:
    return f"{row['workload']} d={row['width']} {row['dtype']} {row['mode']}"


def _timed(rows: Sequence[Row], method: str, **fields: str) -> list[Row]:
    """Timed rows of a method (all its variants) that have these fields."""
    return [
        row
        for row in rows
        if row["median_ms"] and row["method"].startswith(method) and all(row[k] == v for k, v in fields.items())
    ]


def ahead_of(method: str, mode: str) -> Callable[[Runs], Measured | None]:
    """How much faster ours is on arxiv, d = 128, float32, than the best variant of a method."""

    def measure(runs: Runs) -> Measured | None:
        rows = _timed(runs.propagate, method, workload="arxiv", width="128", dtype="float32", mode=mode)
        if not rows:
            return None
        best = min(rows, key=lambda row: float(row["ratio_to_ours"]))
        return Measured(float(best["ratio_to_ours"]), "" if best["method"] == method else best["method"])

    return measure


def worst_against_merged(runs: Runs) -> Measured | None:
    rows = _timed(runs.propagate, "merged_addmm")
    if not rows:
        return None
    worst = min(rows, key=lambda row: float(row["ratio_to_ours"]))
    return Measured(float(worst["ratio_to_ours"]), f"{_where(worst)}, {worst['method']}")


def worst_bfloat16(runs: Runs) -> Measured | None:
    """The smallest ratio of our float32 time to our bfloat16 time."""
    found = []
    for row in _timed(runs.propagate, OURS, dtype="bfloat16"):
        same = {k: row[k] for k in ("workload", "width", "mode")}
        for wide in _timed(runs.propagate, OURS, dtype="float32", **same):
            found.append(Measured(float(wide["median_ms"]) / float(row["median_ms"]), _where(row)))
    return min(found, key=lambda m: m.value, default=None)


def worst_memory(runs: Runs) -> Measured | None:
    rows = _timed(runs.propagate, OURS, mode="forward")
    found = [Measured(float(r["extra_memory_bytes"]) / float(r["output_bytes"]), _where(r)) for r in rows]
    return max(found, key=lambda m: m.value, default=None)


def build_passes(runs: Runs) -> Measured | None:
    rows = [row for row in runs.build if row["step"] == BUILD and row["workload"] == "arxiv"]
    return Measured(float(rows[0]["forward_passes"])) if rows else None


TARGETS = (
    Target("forward ≥ 25× pyg_scatter", 25, ahead_of("pyg_scatter", "forward")),
    Target("forward ≥ 5× torch_sparse_pair", 5, ahead_of("torch_sparse_pair", "forward")),
    Target("forward ≥ 2.5× merged_addmm", 2.5, ahead_of("merged_addmm", "forward")),
    Target("forward+backward ≥ 12× pyg_scatter", 12, ahead_of("pyg_scatter", "forward+backward")),
    Target("bfloat16 no slower than float32", 1, worst_bfloat16),
    Target("never slower than merged_addmm", 1, worst_against_merged),
    Target("forward memory ≤ 1.05× output", 1.05, worst_memory, at_least=False),
    Target("graph build ≤ 5 forward passes", 5, build_passes, at_least=False),
)


def print_targets(console: Console, runs: Runs) -> bool:
    """Print target, measured, holds; return whether all hold."""
    table = Table(title="arxiv, d=128, float32 unless said otherwise", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("target", "measured", "holds", "where"):
        table.add_column(heading, justify="right" if heading == "measured" else "left", no_wrap=heading != "where")
    verdicts = []
    for target in TARGETS:
        found = target.measure(runs)
        holds = found is not None and target.holds(found.value)
        verdicts.append(holds)
        if found is None:
            table.add_row(target.text, "not measured", "[red]no", "")
        else:
            table.add_row(target.text, f"{found.value:.2f}×", "yes" if holds else "[red]no", found.where)
    console.print(table)
    return all(verdicts)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_targets", description=__doc__)
    records.add_source_arguments(parser)
    args = parser.parse_args(argv)
    console = Console()
    try:
        propagate = records.latest(records.find(args.results, args.slug, "propagate.csv"), args.preset)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    try:
        build = records.latest(records.find(args.results, args.slug, "build.csv"))
    except (FileNotFoundError, ValueError):
        build = []
    holds = print_targets(console, Runs(propagate, build))
    for run in (propagate, build):
        if run:
            r = run[0]
            console.print(f"{r['device']}, {r['threads']} threads, commit {r['commit']}, {r['date']}", style="dim")
    other = {row["backend"] for row in propagate if row["method"] == OURS} - {"native"}
    if other:
        console.print(f"ours ran on {', '.join(sorted(other))}, not on native", style="red")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
