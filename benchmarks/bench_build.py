"""python -m benchmarks.bench_build: time to build the graph, in forward passes at d = 128."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

import sbp_kernels as sbp

from . import records
from .harness import Contestant, clock, race
from .methods import best_backend, signed_graph
from .oracle import Coefficients
from .records import BUILD
from .report import number
from .workloads import SIZES, Workload, load

WIDTH = 128
FORWARD = f"forward d={WIDTH}"


def steps(graph: Workload, c: Coefficients) -> dict[str, Callable[[], object]]:
    """What is timed; "build" is what a user waits for before the first forward pass."""
    ready = signed_graph(graph)
    x = torch.randn(graph.num_nodes, WIDTH, device=graph.pos.device)
    backend, _ = best_backend(x, ready)
    return {
        FORWARD: lambda: sbp.signed_propagate(x, ready, alpha=c.alpha, beta=c.beta, lam=c.lam, backend=backend),
        "from_edge_index": lambda: sbp.SignedGraph.from_edge_index(graph.pos, graph.neg, num_nodes=graph.num_nodes),
        BUILD: lambda: signed_graph(graph),
        "build and transpose": lambda: signed_graph(graph).prepare(),
    }


def measure(graph: Workload, repeats: int, budget: float, device: torch.device) -> list[Contestant]:
    """The steps in one race, so that their ratios do not depend on other load."""
    contestants = []
    for name, call in steps(graph, Coefficients()).items():
        entrant = Contestant(name, torch.float32, call)
        call()
        entrant.seconds_per_call = clock(call, 1, device)
        contestants.append(entrant)
    race(contestants, device, repeats, budget)
    return contestants


def build_rows(graph: Workload, contestants: Sequence[Contestant], run: dict[str, object]) -> list[dict[str, object]]:
    """One row a step, by the columns of `records.BUILD_COLUMNS`."""
    forward = next(c for c in contestants if c.method == FORWARD).quantile(0.5)
    return [
        run
        | {
            "workload": graph.name,
            "num_nodes": graph.num_nodes,
            "num_edges_pos": graph.pos.shape[1],
            "num_edges_neg": graph.neg.shape[1],
            "step": c.method,
            **c.timing(),
            "forward_passes": c.quantile(0.5) / forward,
        }
        for c in contestants
    ]


def build_table(rows: Sequence[dict[str, object]]) -> Table:
    table = Table(
        title=f"{rows[0]['workload']}: building the graph",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("", no_wrap=True)
    for heading in ("median ms", "p20 – p80", "forward passes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        p20, median, p80, passes = (
            number(float(str(row[k]))) for k in ("p20_ms", "median_ms", "p80_ms", "forward_passes")
        )
        table.add_row(str(row["step"]), median, f"{p20} – {p80}", passes)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_build", description=__doc__)
    parser.add_argument("--size", default="arxiv", choices=SIZES)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=float, default=15.0, help="seconds a step may take")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=records.RESULTS)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = records.run_fields(args.device, args.seed, "full", date)
    graph = load(args.size, args.seed).to(args.device)
    rows = build_rows(graph, measure(graph, args.repeats, args.budget, args.device), run)
    console = Console()
    console.print(build_table(rows))
    path = args.results / records.device_slug(args.device) / "build.csv"
    records.append(path, records.BUILD_COLUMNS, rows)
    console.print(f"{len(rows)} rows appended to {path}", style="dim", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
