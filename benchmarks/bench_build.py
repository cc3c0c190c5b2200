"""python -m benchmarks.bench_build: measure the time to build a graph, in forward passes at d = 128."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import sbp_kernels as sbp
from sbp_kernels.backends import BACKENDS

from .cases.modes import BUILD
from .cases.oracle import Coefficients
from .cases.workloads import SIZES, Workload, load
from .competitors import METHODS, Problem
from .competitors.ours import best_backend, signed_graph
from .reporting import result_files, run_info
from .reporting.terminal import number, result_table
from .timing.candidate import Candidate
from .timing.clock import clock
from .timing.interleaved import time_interleaved

WIDTH = 128
FORWARD = f"forward d={WIDTH}"
# Peers, and whether they have a build step before their first call.
PEERS = {"pyg_scatter": False, "merged_addmm_int32": True}


def steps(graph: Workload, c: Coefficients) -> dict[str, Callable[[], object]]:
    """Return the steps to time; "build" is the time before a user's first forward pass can start."""
    prepared = signed_graph(graph)
    x = torch.randn(graph.num_nodes, WIDTH, device=graph.pos.device)
    backend, _ = best_backend(x, prepared)
    found: dict[str, Callable[[], object]] = {
        FORWARD: lambda: sbp.signed_propagate(x, prepared, alpha=c.alpha, beta=c.beta, lam=c.lam, backend=backend),
        "from_edge_index": lambda: sbp.SignedGraph.from_edge_index(graph.pos, graph.neg, num_nodes=graph.num_nodes),
        BUILD: lambda: _with_caches(signed_graph(graph), backend, c),
        "build and transpose": lambda: _with_caches(_with_caches(signed_graph(graph), backend, c).T, backend, c),
    }
    problem = Problem(graph, x, c)
    for name, builds in PEERS.items():
        run = METHODS[name](problem).run
        found[f"{name} forward"] = lambda run=run: run(x)
        if builds:
            found[f"{name} build and transpose"] = lambda name=name: METHODS[name](problem)
    return found


def _with_caches(graph: sbp.SignedGraph, backend: str, c: Coefficients) -> sbp.SignedGraph:
    """Return the graph after filling the caches that the first step would fill."""
    graph.degree_bins(BACKENDS[backend])
    graph.merged.find(torch.float32, BACKENDS[backend], (1.0 - c.lam, c.lam * c.alpha, -c.lam * c.beta))
    return graph


def measure(graph: Workload, repeats: int, budget: float, device: torch.device) -> list[Candidate]:
    """Time the steps interleaved, so that their ratios do not depend on other load."""
    candidates = []
    for name, call in steps(graph, Coefficients()).items():
        candidate = Candidate(name, torch.float32, call)
        call()
        candidate.seconds_per_call = clock(call, 1, device)
        candidates.append(candidate)
    time_interleaved(candidates, device, repeats, budget)
    return candidates


def build_rows(graph: Workload, candidates: Sequence[Candidate], run: dict[str, object]) -> list[dict[str, object]]:
    """Return one row per step with the columns `result_files.BUILD_COLUMNS`."""
    took = {c.method: c.quantile(0.5) for c in candidates}
    return [
        run
        | {
            "workload": graph.name,
            "num_nodes": graph.num_nodes,
            "num_edges_pos": graph.pos.shape[1],
            "num_edges_neg": graph.neg.shape[1],
            "step": c.method,
            **c.timing(),
            "forward_passes": took[c.method] / took[FORWARD],
            "break_even_calls": break_even(took, c.method),
        }
        for c in candidates
    ]


def break_even(took: dict[str, float], step: str) -> float | str:
    """Return the forward calls after which ours, build included, is faster than a peer; "never" if it stays slower."""
    peer = step.removesuffix(" forward")
    if peer not in PEERS:
        return ""
    ahead = took[step] - took[FORWARD]
    late = took["build and transpose"] - took.get(f"{peer} build and transpose", 0.0)
    return max(0.0, late / ahead) if ahead > 0 else "never" if late > 0 else 0.0


def build_table(rows: Sequence[dict[str, object]]) -> Table:
    """Return the table for the terminal."""
    headings = ("median ms", "p20 – p80", "forward passes", "break-even calls")
    table = result_table(f"{rows[0]['workload']}: building the graph", headings)
    for row in rows:
        p20, median, p80, passes = (
            number(float(str(row[k]))) for k in ("p20_ms", "median_ms", "p80_ms", "forward_passes")
        )
        even = row["break_even_calls"]
        shown = number(even) if isinstance(even, float) else str(even)
        table.add_row(str(row["step"]), median, f"{p20} – {p80}", passes, shown)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_build", description=__doc__)
    parser.add_argument("--size", default="arxiv", choices=SIZES)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds a step may take")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=result_files.RESULTS)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = run_info.run_fields(args.device, args.seed, "full", date)
    graph = load(args.size, args.seed).to(args.device)
    rows = build_rows(graph, measure(graph, args.repeats, args.budget, args.device), run)
    console = Console()
    console.print(build_table(rows))
    path = args.results / run_info.device_slug(args.device) / "build.csv"
    result_files.append(path, result_files.BUILD_COLUMNS, rows)
    console.print(f"{len(rows)} rows appended to {path}", style="dim", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
