"""python -m benchmarks.check_targets: the latest full run against what the project promises."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from . import records
from .questions import Ratio, Row, against, chosen, geometric_mean
from .records import BACKWARD, BUILD, FORWARD, OURS
from .roofline import share_of_roofline

# Features in float32 of more bytes than this lie outside the last cache of any machine measured so far.
BEYOND_CACHE = 64e6
# PyG's path through torch.sparse, as PyG goes it and as a user of torch alone would.
SPARSE_PAIR = ("pyg_edge_index", "torch_sparse_pair")


@dataclass(frozen=True)
class Runs:
    """The latest rows of each benchmark."""

    propagate: list[Row]
    build: list[Row]


@dataclass(frozen=True)
class Measured:
    """The figure a target is about, and where it was found or what else to know."""

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


def _mean(ratios: Sequence[Ratio]) -> Measured | None:
    """The geometric mean over the workloads, and the worst case beside it."""
    if not ratios:
        return None
    worst = min(ratios, key=lambda r: r.value)
    count = len({r.row["workload"] for r in ratios})
    return Measured(
        geometric_mean(ratios), f"{len(ratios)} cases, {count} graphs; worst {worst.value:.2f}×: {worst.where}"
    )


def mean_ahead(peers: str | Sequence[str], mode: str) -> Callable[[Runs], Measured | None]:
    return lambda runs: _mean(against(runs.propagate, peers, dtype="float32", mode=mode))


def worst_ahead(peers: str | Sequence[str]) -> Callable[[Runs], Measured | None]:
    def measure(runs: Runs) -> Measured | None:
        ratios = against(runs.propagate, peers, dtype="float32", mode=FORWARD)
        worst = min(ratios, key=lambda r: r.value, default=None)
        return worst and Measured(worst.value, worst.where)

    return measure


def short_over_wide(rows: Sequence[Row]) -> list[Ratio]:
    """Our float32 time over our bfloat16 time, a case at a time."""
    found = []
    for row in chosen(rows, method=OURS, dtype="bfloat16"):
        same = {k: row[k] for k in ("workload", "width", "mode")}
        for wide in chosen(rows, method=OURS, dtype="float32", **same):
            found.append(Ratio(float(wide["median_ms"]) / float(row["median_ms"]), row))
    return found


def large_bfloat16(runs: Runs) -> Measured | None:
    return _mean([r for r in short_over_wide(runs.propagate) if 2 * float(r.row["output_bytes"]) > BEYOND_CACHE])


def worst_bfloat16(runs: Runs) -> Measured | None:
    worst = min(short_over_wide(runs.propagate), key=lambda r: r.value, default=None)
    return worst and Measured(worst.value, worst.where)


def _others(runs: Runs, key: str, value: str, usual: str) -> list[Row]:
    """Ours with this value of the key in a race whose ours has the usual one; its ratio is to that."""
    if not chosen(runs.propagate, method=OURS, **{key: usual}):
        return []
    return [r for r in runs.propagate if r["method"] == OURS and r["ratio_low"] and r[key] == value]


def second_thread(runs: Runs) -> Measured | None:
    """Time on one thread over time on two."""
    return _mean([Ratio(float(r["ratio_to_ours"]), r) for r in _others(runs, "threads", "1", "2")])


def avx2(runs: Runs) -> Measured | None:
    """The speed of the AVX2 path as a share of that of AVX-512."""
    return _mean([Ratio(1 / float(r["ratio_to_ours"]), r) for r in _others(runs, "isa", "AVX2", "AVX-512")])


def gather_share(runs: Runs) -> Measured | None:
    """How near the row pass at arxiv's size comes to the time that the bandwidths of the same run allow."""
    found = None
    for row in chosen(runs.propagate, method=OURS, workload="arxiv", width="128", dtype="float32", mode=FORWARD):
        share = share_of_roofline(row)
        if share is not None:
            where = f"d=128 float32: {row['gbs']} GB/s; gather {row['gather_gbs']}, copy {row['copy_gbs']} GB/s"
            found = Measured(share, where)
    return found


def worst_memory(runs: Runs) -> Measured | None:
    ours = chosen(runs.propagate, method=OURS, mode=FORWARD)
    found = [Ratio(float(r["extra_memory_bytes"]) / float(r["output_bytes"]), r) for r in ours]
    worst = max(found, key=lambda r: r.value, default=None)
    return worst and Measured(worst.value, worst.where)


def build_passes(runs: Runs) -> Measured | None:
    rows = [row for row in runs.build if row["step"] == BUILD and row["workload"] == "arxiv"]
    return Measured(float(rows[0]["forward_passes"])) if rows else None


TARGETS = (
    Target("forward ≥ 30× PyG scatter", 30, mean_ahead("pyg_scatter", FORWARD)),
    Target("forward ≥ 5× PyG's torch.sparse pair", 5, mean_ahead(SPARSE_PAIR, FORWARD)),
    Target("forward ≥ 2.5× merged addmm", 2.5, mean_ahead("merged_addmm", FORWARD)),
    Target("... and ≥ 1.2× in the worst case", 1.2, worst_ahead("merged_addmm")),
    Target("forward+backward ≥ 20× PyG scatter", 20, mean_ahead("pyg_scatter", BACKWARD)),
    Target("forward+backward ≥ 2.5× merged pair", 2.5, mean_ahead("merged_addmm", BACKWARD)),
    Target("bfloat16 ≥ 1.3× float32 out of cache", 1.3, large_bfloat16),
    Target("... and never slower", 1, worst_bfloat16),
    Target("≥ 80 % of the gather bandwidth, arxiv", 0.8, gather_share),
    Target("2 threads ≥ 1.7× one", 1.7, second_thread),
    Target("AVX2 ≥ 60 % of AVX-512", 0.6, avx2),
    Target("forward memory ≤ 1.05× output", 1.05, worst_memory, at_least=False),
    Target("graph build ≤ 5 forward passes", 5, build_passes, at_least=False),
)


def verdicts(runs: Runs) -> list[tuple[Target, Measured | None, bool]]:
    """Every target, what was measured, and whether it holds; what was not measured does not."""
    found = [(target, target.measure(runs)) for target in TARGETS]
    return [(target, got, got is not None and target.holds(got.value)) for target, got in found]


def print_targets(console: Console, runs: Runs) -> bool:
    """Print target, measured, verdict; return whether all hold."""
    title = "float32, geometric means over the graphs, unless said otherwise"
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


def read(results: Path, slug: str, preset: str) -> Runs:
    """The latest runs of a device."""
    propagate = records.latest(records.find(results, slug, "propagate.csv"), preset)
    try:
        build = records.latest(records.find(results, slug, "build.csv"))
    except (FileNotFoundError, ValueError):
        build = []
    return Runs(propagate, build)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_targets", description=__doc__)
    records.add_source_arguments(parser)
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
        console.print(f"ours ran by the {', '.join(sorted(other))} backend", style="yellow")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
