"""python -m benchmarks.bench_propagate: compare one signed propagation step with its peers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich.console import Console

from sbp_study.errors import UserError

from .cases.modes import BACKWARD, LEARNABLE, MODES, OURS
from .cases.presets import PRESETS, CaseSpec, custom
from .cases.workloads import SIZES
from .competitors import METHODS
from .reporting import result_files, run_info
from .reporting.progress import Progress
from .reporting.terminal import print_run
from .timing.run_case import DTYPES, Row, Session


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; `specs` of the result are the cases: a preset, or the product of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_propagate", description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    for name, help_ in (("quick", "3 minutes"), ("demo", "a minute; writes only to --results"), ("gpu", "for a GPU")):
        kind.add_argument(f"--{name}", dest="preset", action="store_const", const=name, help=help_)
    parser.add_argument("--sizes", help=f"of {','.join(SIZES)}, degree-D, or one with + for no negative edges")
    parser.add_argument("--widths", help="numbers of features")
    parser.add_argument("--dtype", help=f"of {','.join(DTYPES)}")
    parser.add_argument("--modes", help=f"of {','.join((*MODES, *LEARNABLE))}")
    parser.add_argument("--methods", help="default: the preset's; ours always runs")
    parser.add_argument("--repeats", type=int, help="rounds of the interleaved timing")
    parser.add_argument("--budget", type=float, help="seconds a method may take per case (at least 3 samples)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, help="folder of real graphs, read if their files exist")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results")
    args = parser.parse_args(argv)
    preset = args.preset or "full"
    # A part of a preset must not be recorded as a full run.
    part = any(getattr(args, name) is not None for name in ("sizes", "widths", "dtype", "modes", "methods", "root"))
    args.preset = "some" if part and preset == "full" else preset
    args.specs = tuple(_specs(parser, args, preset))
    for name in ("repeats", "budget"):
        if getattr(args, name) is None:
            setattr(args, name, getattr(PRESETS[preset], name))
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if args.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    return args


def _specs(parser: argparse.ArgumentParser, args: argparse.Namespace, preset: str) -> Sequence[CaseSpec]:
    named = _chosen(parser, "--methods", f"{OURS},{args.methods}", METHODS) if args.methods else ()
    found = PRESETS[preset].specs
    if all(getattr(args, name) is None for name in ("sizes", "widths", "dtype", "modes")):
        return [replace(spec, methods=tuple(named)) for spec in found] if named else found
    # Defaults of options that are not given: everything, or in a short preset those of its first case.
    usual = CaseSpec("cora,pubmed,arxiv", 64, ",".join(MODES), ("float32", "bfloat16"), methods=())
    usual = usual if preset == "full" else found[0]
    sizes = (args.sizes or usual.workload).split(",")
    for name in sizes:
        if name.removesuffix("+") not in SIZES and not name.removesuffix("+").startswith("degree-"):
            parser.error(f"--sizes must be of {', '.join(SIZES)} or degree-D, got {name!r}")
    dtypes = _chosen(parser, "--dtype", args.dtype or ",".join(usual.dtypes), DTYPES)
    modes = _chosen(parser, "--modes", args.modes or usual.mode, (*MODES, *LEARNABLE))
    try:
        widths = [int(width) for width in (args.widths or str(usual.width)).split(",")]
    except ValueError:
        parser.error(f"--widths must be numbers, got {args.widths!r}")
    return custom(sizes, widths, modes, dtypes, named or usual.methods)


def _chosen(parser: argparse.ArgumentParser, flag: str, text: str, known: Collection[str]) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            parser.error(f"{flag} must be of {', '.join(known)}, got {name!r}")
    return names


def measure(args: argparse.Namespace, path: Path | None, console: Console) -> list[Row]:
    """Measure all cases; rows are appended after each, so that an interrupted run keeps its rows."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = run_info.run_fields(args.device, args.seed, args.preset, date)
    session = Session(run, args.device, args.repeats, args.budget, args.seed, args.root)
    all_rows: list[Row] = []
    with Progress(console, [_work(spec) for spec in args.specs]) as progress:
        for spec in args.specs:
            progress.start(spec.label)
            rows = session.rows(spec, progress.tick)
            if path is not None:
                result_files.append(path, result_files.PROPAGATE_COLUMNS, rows)
            all_rows += rows
    return all_rows


def _work(spec: CaseSpec) -> float:
    """Estimate a case's share of the time from its messages, with a minimum for small graphs."""
    name = spec.workload.removesuffix("+")
    size = SIZES.get(name)
    edges = size.num_edges_pos + size.num_edges_neg if size else 50_000 * int(name.split("-")[1])
    methods = len(spec.methods or METHODS) * len(spec.dtypes)
    return methods * (edges * spec.width + 5e6) * (2.5 if spec.mode == BACKWARD else 1)


def warn_if_busy(console: Console) -> None:
    """Warn if other processes use the machine: calls with many short parallel regions slow down most."""
    if not hasattr(os, "getloadavg"):
        return
    load_now, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load_now > 0.5 * cores:
        console.print(
            f"the machine is busy (load {load_now:.1f} on {cores} cores): times below are unreliable", style="yellow"
        )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console()
    warn_if_busy(console)
    path = None
    if args.preset != "demo" or args.results is not None:
        path = (args.results or result_files.RESULTS) / run_info.device_slug(args.device) / "propagate.csv"
    try:
        rows = measure(args, path, console)
    except (FileNotFoundError, UserError) as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    print_run(console, rows)
    if path is not None:
        console.print(f"{len(rows)} rows appended to {path}", style="dim", highlight=False)
    wrong = [row for row in rows if str(row["note"]).startswith("WRONG")]
    for row in wrong:
        console.print(f"{row['note']}", style="red")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
