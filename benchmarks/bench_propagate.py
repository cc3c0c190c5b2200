"""python -m benchmarks.bench_propagate: one signed propagation step, ours against its peers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich.console import Console

from . import records
from .harness import Case, Contestant, admit, race
from .methods import METHODS
from .oracle import Coefficients, Oracle, WrongResult
from .progress import Progress
from .records import MODES, OURS
from .report import print_run
from .workloads import SIZES, Workload, load

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Preset:
    """What is measured unless the command line says otherwise, and how patiently."""

    sizes: str = "cora,pubmed,arxiv"
    widths: str = "32,64,128,256"
    dtype: str = "float32,bfloat16"
    modes: str = ",".join(MODES)
    repeats: int = 20
    budget: float = 15.0


PRESETS = {
    "full": Preset(),
    "quick": Preset(sizes="cora,pubmed", widths="64,128", repeats=10, budget=2.0),
    "demo": Preset(widths="64", dtype="float32", modes="forward", repeats=9, budget=1.0),
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with the preset's values where it is silent."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_propagate", description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    for name, help_ in (("quick", "a few minutes"), ("demo", "a minute; writes only to --results")):
        kind.add_argument(f"--{name}", dest="preset", action="store_const", const=name, help=help_)
    parser.add_argument("--sizes", help=f"of {','.join(SIZES)}")
    parser.add_argument("--widths", help="numbers of features")
    parser.add_argument("--dtype", help=f"of {','.join(DTYPES)}")
    parser.add_argument("--modes", help=f"of {','.join(MODES)}")
    parser.add_argument("--methods", default=",".join(METHODS), help="default: all; ours always runs")
    parser.add_argument("--repeats", type=int, help="rounds of the race")
    parser.add_argument("--budget", type=float, help="seconds a method may take per case (at least 3 samples)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="default: benchmarks/results")
    args = parser.parse_args(argv)
    preset = args.preset or "full"
    # A part of a preset must not pass for a run of it.
    part = any(getattr(args, name) is not None for name in ("sizes", "widths", "dtype", "modes"))
    part = part or args.methods != ",".join(METHODS)
    args.preset = "some" if part and preset == "full" else preset
    for name, value in vars(PRESETS[preset]).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.sizes = _chosen(parser, "--sizes", args.sizes, SIZES)
    args.dtype = _chosen(parser, "--dtype", args.dtype, DTYPES)
    args.modes = _chosen(parser, "--modes", args.modes, MODES)
    args.methods = _chosen(parser, "--methods", f"{OURS},{args.methods}", METHODS)
    try:
        args.widths = [int(width) for width in args.widths.split(",")]
    except ValueError:
        parser.error(f"--widths must be numbers, got {args.widths!r}")
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if args.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    return args


def _chosen(parser: argparse.ArgumentParser, flag: str, text: str, known: Collection[str]) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            parser.error(f"{flag} must be of {', '.join(known)}, got {name!r}")
    return names


def run_case(
    case: Case, oracles: dict[str, Oracle], methods: Sequence[str], repeats: int, budget: float,
    device: torch.device, tick: Callable[[float, str], None],
) -> list[Contestant]:  # fmt: skip
    """Every method at every dtype in one race, so that dtypes can be compared as well."""
    contestants = []
    pairs = [(dtype, method) for dtype in oracles for method in methods]
    for dtype, method in pairs:
        tick(0.0, f"checking {method} {dtype}")
        try:
            contestants.append(admit(method, case, oracles[dtype], DTYPES[dtype]))
        except WrongResult as error:
            contestants.append(Contestant(method, DTYPES[dtype], note=f"WRONG, not timed: {error}"))
        tick(0.4 / len(pairs), "")
    tick(0.0, "timing")
    race(contestants, device, repeats, budget, lambda share: tick(0.6 * share, ""))
    return contestants


def case_rows(case: Case, contestants: Sequence[Contestant], run: dict[str, object]) -> list[dict[str, object]]:
    """One row a contestant, by the columns of `records.PROPAGATE_COLUMNS`."""
    graph, rows = case.graph, []
    ours = {c.dtype: c.quantile(0.5) for c in contestants if c.method == OURS and c.samples}
    for c in contestants:
        row: dict[str, object] = dict.fromkeys(records.PROPAGATE_COLUMNS, "") | run
        row |= {
            "workload": graph.name,
            "num_nodes": graph.num_nodes,
            "num_edges_pos": graph.pos.shape[1],
            "num_edges_neg": graph.neg.shape[1],
            "max_degree": int(graph.degrees().max()),
            "width": case.width,
            "dtype": str(c.dtype).removeprefix("torch."),
            "mode": case.mode,
            "method": c.method,
            "backend": c.backend,
            "samples": len(c.samples),
            "output_bytes": graph.num_nodes * case.width * c.dtype.itemsize,
            "gather_bytes": graph.num_edges * case.width * c.dtype.itemsize,
            "note": c.note,
        }
        if c.samples:
            row |= {k: 1e3 * c.quantile(q) for k, q in (("p20_ms", 0.2), ("median_ms", 0.5), ("p80_ms", 0.8))}
            row["extra_memory_bytes"] = c.extra_memory_bytes
            if c.dtype in ours:
                row["ratio_to_ours"] = c.quantile(0.5) / ours[c.dtype]
        rows.append(row)
    return rows


def measure(args: argparse.Namespace, path: Path | None, console: Console) -> list[dict[str, object]]:
    """Run all cases; rows are appended case by case, so that a stopped run keeps what it has."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = records.run_fields(args.device, args.seed, args.preset, date)
    cases = [(size, mode, width) for size in args.sizes for mode in args.modes for width in args.widths]
    all_rows: list[dict[str, object]] = []
    graph: Workload | None = None
    with Progress(console, [_work(*case) for case in cases]) as progress:
        for size, mode, width in cases:
            progress.start(f"{size} d={width} {mode}")
            if graph is None or graph.name != size:
                graph = load(size, args.seed).to(args.device)
                oracles = {d: Oracle(graph, max(args.widths), DTYPES[d], Coefficients(), args.seed) for d in args.dtype}
            case = Case(graph, width, mode)
            contestants = run_case(case, oracles, args.methods, args.repeats, args.budget, args.device, progress.tick)
            rows = case_rows(case, contestants, run)
            if path is not None:
                records.append(path, records.PROPAGATE_COLUMNS, rows)
            all_rows += rows
    return all_rows


def _work(size: str, mode: str, width: int) -> float:
    """A guess at a case's share of the time: messages, and a floor for many small calls."""
    edges = SIZES[size].num_edges_pos + SIZES[size].num_edges_neg
    return (edges * width + 5e6) * (1 if mode == "forward" else 2.5)


def warn_if_busy(console: Console) -> None:
    """Say so if others use the machine: a call of many short parallel regions suffers most."""
    if not hasattr(os, "getloadavg"):
        return
    load_now, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load_now > 0.5 * cores:
        console.print(
            f"the machine is busy (load {load_now:.1f} on {cores} cores): trust no time below", style="yellow"
        )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console()
    warn_if_busy(console)
    path = None
    if args.preset != "demo" or args.results is not None:
        path = (args.results or records.RESULTS) / records.device_slug(args.device) / "propagate.csv"
    rows = measure(args, path, console)
    print_run(console, rows)
    if path is not None:
        console.print(f"{len(rows)} rows appended to {path}", style="dim", highlight=False)
    wrong = [row for row in rows if str(row["note"]).startswith("WRONG")]
    for row in wrong:
        console.print(f"{row['note']}", style="red")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
