"""python -m benchmarks.bench_reorder: measure whether another order of the nodes makes the row pass faster.

sbp_kernels does not reorder: a permutation takes two lines of user code (`x[perm]` and a relabelled `edge_index`), and
whether it pays off depends on the original order of the data.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor

import sbp_kernels as sbp

from .cases.workloads import Workload, load
from .competitors.ours import best_backend, signed_graph
from .reporting import result_files, run_info
from .reporting.terminal import number
from .timing.candidate import Candidate
from .timing.clock import clock
from .timing.interleaved import time_interleaved

CPU = torch.device("cpu")
GIVEN = "as given"
ORDERS = (GIVEN, "degree", "rcm")


def permutation(graph: Workload, order: str) -> Tensor:
    """Return the old index of each new node, [n]: hubs first, or reverse Cuthill-McKee, which reduces the bandwidth."""
    if order == GIVEN:
        return torch.arange(graph.num_nodes)
    if order == "degree":
        return torch.argsort(graph.degrees(), descending=True, stable=True)
    if order != "rcm":
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    source, target = torch.cat([graph.pos, graph.neg], 1).numpy()
    ones = torch.ones(graph.num_edges, dtype=torch.int8).numpy()
    matrix = csr_matrix((ones, (target, source)), (graph.num_nodes, graph.num_nodes))
    found = reverse_cuthill_mckee(matrix, symmetric_mode=True)
    return torch.from_numpy(found.astype("int64"))


def reordered(graph: Workload, perm: Tensor) -> Workload:
    """Return the same graph with node `perm[i]` renumbered to i."""
    name = torch.empty_like(perm)
    name[perm] = torch.arange(perm.numel())
    return replace(graph, pos=name[graph.pos], neg=name[graph.neg])


def measure(graph: Workload, width: int, repeats: int, budget: float) -> tuple[list[Candidate], dict[str, float]]:
    """Time the row pass in each order interleaved; also return the seconds to compute and apply each order."""
    x = torch.randn(graph.num_nodes, width)
    candidates, built, given = [], {}, None
    for order in ORDERS:
        start = time.perf_counter()
        perm = permutation(graph, order)
        other = graph if order == GIVEN else reordered(graph, perm)
        built[order] = time.perf_counter() - start
        prepared, mine = signed_graph(other), x[perm]
        backend, _ = best_backend(mine, prepared)
        call = lambda x=mine, g=prepared, b=backend: sbp.signed_propagate(x, g, beta=0.5, lam=0.5, backend=b)  # noqa: E731
        y = call()
        given = y if given is None else given
        torch.testing.assert_close(y, given[perm], rtol=1e-4, atol=1e-5)
        candidates.append(Candidate(order, torch.float32, call, seconds_per_call=clock(call, 1, CPU)))
    time_interleaved(candidates, CPU, repeats, budget)
    return candidates, built


def rows_of(
    graph: Workload, width: int, found: Sequence[Candidate], built: dict[str, float], run: dict[str, object]
) -> list[dict[str, object]]:
    """Return one row per order with the columns `result_files.REORDER_COLUMNS`."""
    given = found[0].quantile(0.5)
    rows = []
    for c in found:
        saved = given - c.quantile(0.5)
        even: float | str = "never" if saved <= 0 else built[c.method] / saved
        rows.append(
            run
            | {"workload": graph.name, "num_nodes": graph.num_nodes, "num_edges": graph.num_edges, "width": width}
            | {"order": c.method, "build_ms": 1e3 * built[c.method], **c.timing()}
            | {"ratio_to_given": c.quantile(0.5) / given, "break_even_calls": "" if c is found[0] else even}
        )
    return rows


def table(rows: Sequence[dict[str, object]]) -> Table:
    """Return the table of a graph for the terminal."""
    title = f"{rows[0]['workload']}, d={rows[0]['width']}: the order of the nodes"
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("order", "reordering, ms", "median ms", "time / given order", "break-even calls"):
        shown.add_column(heading, justify="left" if heading == "order" else "right")
    for row in rows:
        build, median, ratio = (number(float(str(row[k]))) for k in ("build_ms", "median_ms", "ratio_to_given"))
        even = row["break_even_calls"]
        shown.add_row(str(row["order"]), build, median, ratio, number(even) if isinstance(even, float) else str(even))
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_reorder", description=__doc__)
    parser.add_argument("--sizes", default="pubmed,road,arxiv", help="as of bench_propagate")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=float, default=3.0, help="seconds an order may take")
    parser.add_argument("--root", type=Path, help="folder of real graphs, whose given order is the realistic one")
    parser.add_argument("--results", type=Path, default=result_files.RESULTS)
    args = parser.parse_args(argv)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    preset = "full" if args.sizes == parser.get_default("sizes") and args.root is None else "some"
    run = run_info.run_fields(CPU, 0, preset, date)
    console, path = Console(), args.results / run_info.device_slug(CPU) / "reorder.csv"
    for name in args.sizes.split(","):
        graph = load(name, root=args.root)
        rows = rows_of(graph, args.width, *measure(graph, args.width, args.repeats, args.budget), run)
        console.print(table(rows))
        result_files.append(path, result_files.REORDER_COLUMNS, rows)
    console.print(f"rows appended to {path}", style="dim", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
