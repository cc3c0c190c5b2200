"""python -m benchmarks.bench_implicit: implicit negatives and several steps, each against what it replaces."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

import sbp_kernels as sbp
from sbp_kernels.backends import native

from . import records
from .harness import Contestant, clock, race
from .memory import peak_extra_bytes
from .methods import signed_graph
from .report import number
from .workloads import Size, generate, load

CALL = {"beta": 0.9, "lam": 0.1}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """Calls that do the same, or nearly; times are quoted as multiples of the first one's."""

    name: str
    num_nodes: int
    width: int
    calls: dict[str, Callable[[], object]]
    # Of results that must agree, the largest difference allowed.
    agree: float | None = None


def label_step() -> Case:
    """An exact Label-SBP step against the step without negatives."""
    pos = signed_graph(load("arxiv")).pos
    n, d = pos.num_nodes, 128
    y = torch.randint(40, (n,), generator=torch.Generator().manual_seed(0))
    x = torch.randn(n, d)
    plain = sbp.SignedGraph(pos)
    labels = sbp.SignedGraph(pos, sbp.ClassBlock.from_labels(y, torch.arange(n) % 2 == 0))
    return Case("arxiv, 40 classes", n, d, {
        "unsigned step": lambda: sbp.signed_propagate(x, plain, **CALL),
        "Label-SBP step": lambda: sbp.signed_propagate(x, labels, **CALL),
    })  # fmt: skip


def label_dense() -> Case:
    """The negative part alone against its matrix, at a size whose matrix takes 6.4 GB."""
    n, d = 40_000, 128
    y = torch.randint(40, (n,), generator=torch.Generator().manual_seed(0))
    block = sbp.ClassBlock.from_labels(y, torch.arange(n) % 2 == 0)
    x, graph = torch.randn(n, d), sbp.SignedGraph(neg=block)
    matrix = block.block.float()[block.group][:, block.group]
    return Case("labels alone", n, d, {
        "class sums": lambda: sbp.signed_propagate(x, graph, **CALL),
        "dense matrix, ready": lambda: dense_step(x, matrix),
    }, agree=1e-4)  # fmt: skip


def dense_step(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.addmm(x, matrix, x, beta=1 - CALL["lam"], alpha=-CALL["lam"] * CALL["beta"])


def feature_step(n: int, width: int, dense: bool) -> Case:
    """Feature-SBP's negative part, streamed, against the dense softmax (made anew, and ready)."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.nn.functional.normalize(torch.rand(n, width, generator=generator))
    x, graph = torch.randn(n, 64, generator=generator), sbp.SignedGraph(neg=sbp.Similarity(x0))
    graph.neg.prepare(torch.float32, native)
    calls: dict[str, Callable[[], object]] = {"Similarity": lambda: sbp.signed_propagate(x, graph, **CALL)}
    if dense:
        made = torch.softmax(-(x0 @ x0.T), 1)
        calls |= {
            "dense, made anew": lambda: dense_step(x, torch.softmax(-(x0 @ x0.T), 1)),
            "dense, ready": lambda: dense_step(x, made),
        }
    return Case(f"features, {width} wide", n, 64, calls, agree=1e-4)


def steps(d: int, num_steps: int, layer_norm: bool) -> Case:
    """Several steps in one call against as many calls."""
    graph = signed_graph(load("cora")).prepare()
    x = torch.randn(graph.num_nodes, d)

    def loop() -> Tensor:
        y = x
        for _ in range(num_steps):
            y = sbp.signed_propagate(y, graph, **CALL, layer_norm=layer_norm)
        return y

    return Case(f"cora, K = {num_steps}{', LayerNorm' if layer_norm else ''}", graph.num_nodes, d, {
        "one call": lambda: sbp.signed_propagate(x, graph, **CALL, num_steps=num_steps, layer_norm=layer_norm),
        "a call a step": loop,
    }, agree=1e-5)  # fmt: skip


def deep_training() -> Case:
    """Forward and backward through 300 layers with LayerNorm: what counts is the memory."""
    graph = signed_graph(load("cora")).prepare()
    x = torch.randn(graph.num_nodes, 64, requires_grad=True)

    def step() -> Tensor:
        y = sbp.signed_propagate(x, graph, **CALL, num_steps=300, layer_norm=True)
        return torch.autograd.grad(y.square().sum(), x)[0]

    return Case("cora, K = 300, LayerNorm, training", graph.num_nodes, 64, {"forward and backward": step})


def products() -> Case:
    """A Label-SBP step on as many nodes and edges as ogbn-products has."""
    size = Size(2_449_029, 123_718_280, 0, exponent=2.5)
    edges = generate("products", size).pos
    pos = sbp.CSR.from_edge_index(edges, num_nodes=size.num_nodes).normalize("sym")
    del edges
    y = torch.randint(47, (size.num_nodes,), generator=torch.Generator().manual_seed(0))
    graph = sbp.SignedGraph(pos, sbp.ClassBlock.from_labels(y, torch.arange(size.num_nodes) % 10 == 0))
    x = torch.randn(size.num_nodes, 100)
    return Case("products, 47 classes", size.num_nodes, 100, {
        "Label-SBP step": lambda: sbp.signed_propagate(x, graph, **CALL),
    })  # fmt: skip


CASES: dict[str, Callable[[], Case]] = {
    "label-step": label_step,
    "label-dense": label_dense,
    "feature-cora": lambda: feature_step(2_708, 1_433, dense=True),
    "feature-pubmed": lambda: feature_step(19_717, 500, dense=True),
    "feature-arxiv": lambda: feature_step(169_343, 128, dense=False),
    "steps-16": lambda: steps(16, 16, False),
    "steps-64": lambda: steps(64, 16, False),
    "steps-norm": lambda: steps(64, 300, True),
    "training-300": deep_training,
    "products": products,
}


def measure(case: Case, repeats: int, budget: float) -> list[Contestant]:
    """Check that the calls agree, look at their memory, then time them in turns.

    A call of more than `budget` seconds is timed once, while its memory is looked at.
    """
    if case.agree is not None:
        check(case)
    contestants = []
    for name, call in case.calls.items():
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
    first, *others = ((name, call()) for name, call in case.calls.items())
    for name, result in others:
        assert isinstance(result, Tensor) and isinstance(first[1], Tensor)
        difference = float((result - first[1]).abs().max())
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
            **c.timing(),
            "ratio_to_first": c.quantile(0.5) / base,
            "extra_memory_bytes": c.extra_memory_bytes,
            "output_bytes": 4 * case.num_nodes * case.width,
        }
        for c in contestants
    ]


def table(rows: Sequence[dict[str, object]]) -> Table:
    r = rows[0]
    title = f"{r['case']}: {r['num_nodes']} nodes, {r['width']} features"
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    shown.add_column("", no_wrap=True)
    for heading in ("median ms", "p20 – p80", "times the first", "memory MB"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
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
