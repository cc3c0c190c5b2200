"""python -m benchmarks.bench_implicit: implicit negatives and several steps, each against what it replaces."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from . import records
from .harness import Contestant, clock, race
from .implicit_cases import CASES, Case
from .memory import peak_extra_bytes
from .report import number

CPU = torch.device("cpu")


def measure(case: Case, repeats: int, budget: float) -> list[Contestant]:
    """Check that the calls agree, look at their memory, then time them in turns.

    A call of more than `budget` seconds is timed once, while its memory is looked at.
    """
    if case.agree is not None:
        check(case)
    contestants = []
    for name, call in case.calls.items():
        if isinstance(call, str):
            contestants.append(Contestant(name, torch.float32, note=call))
            continue
        entrant = Contestant(name, torch.float32, call)
        start = time.perf_counter()
        entrant.extra_memory_bytes = peak_extra_bytes(call, CPU)
        entrant.seconds_per_call = time.perf_counter() - start
        if entrant.seconds_per_call > budget:
            entrant.samples, entrant.call = [entrant.seconds_per_call], None
        else:
            entrant.seconds_per_call = clock(call, 1, CPU)
        contestants.append(entrant)
    race(contestants, CPU, repeats, budget)
    return contestants


def check(case: Case) -> None:
    """Raise RuntimeError unless all calls give what the first one gives."""
    first, *others = ((name, call()) for name, call in case.calls.items() if not isinstance(call, str))
    for name, result in others:
        assert isinstance(result, Tensor) and isinstance(first[1], Tensor)
        difference = float((result - first[1]).abs().max() / first[1].abs().max())
        if not difference <= case.agree:
            raise RuntimeError(f"{case.name}: {name} differs from {first[0]} by {difference:.2g}")


def rows_of(case: Case, contestants: Sequence[Contestant], run: dict[str, object]) -> list[dict[str, object]]:
    """One row a call, by the columns of `records.IMPLICIT_COLUMNS`."""
    base = contestants[0].quantile(0.5)
    return [
        run
        | {
            "case": case.name,
            "num_nodes": case.num_nodes,
            "width": case.width,
            "call": c.method,
            "output_bytes": 4 * case.num_nodes * case.width,
            "note": c.note,
            **(_timed(c, base) if c.samples else {}),
        }
        for c in contestants
    ]


def _timed(c: Contestant, base: float) -> dict[str, object]:
    return {
        **c.timing(),
        "ratio_to_first": c.quantile(0.5) / base,
        "extra_memory_bytes": c.extra_memory_bytes,
    }


def table(rows: Sequence[dict[str, object]]) -> Table:
    r = rows[0]
    title = f"{r['case']}: {r['num_nodes']} nodes, {r['width']} features"
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    shown.add_column("", no_wrap=True)
    for heading in ("median ms", "p20 – p80", "times the first", "memory MB"):
        shown.add_column(heading, justify="right", no_wrap=True)
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_implicit", description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {','.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a call may take (at least 3 samples)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--results", type=Path, default=records.RESULTS)
    args = parser.parse_args(argv)
    names = args.cases.split(",")
    for name in names:
        if name not in CASES:
            parser.error(f"--cases must be of {', '.join(CASES)}, got {name!r}")
    if args.threads:
        torch.set_num_threads(args.threads)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = records.run_fields(CPU, 0, "full" if len(names) == len(CASES) else "some", date)
    console, path = Console(), args.results / records.device_slug(CPU) / "implicit.csv"
    for name in names:
        with console.status(name):
            case = CASES[name]()
            rows = rows_of(case, measure(case, args.repeats, args.budget), run)
        console.print(table(rows))
        records.append(path, records.IMPLICIT_COLUMNS, rows)
    console.print(f"rows appended to {path}", style="dim", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
