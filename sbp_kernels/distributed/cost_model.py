"""python -m sbp_kernels.distributed.cost_model: how long a step takes on many devices, from measured constants.

The time of the row pass is measured on this device. Start the command with torchrun on several devices, and it also
measures how fast rows travel between them; otherwise give `--link-rate` and `--latency` from such a run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist

from ..adjacency.csr import CSR
from ..graph import SignedGraph
from ..propagate import signed_propagate
from .collectives import Group, Traffic


class Workload(NamedTuple):
    """A graph of the table, and its features."""

    name: str
    num_nodes: int
    num_edges: int


class Constants(NamedTuple):
    """Rates in bytes per second, the latency of a message in seconds."""

    gather_rate: float
    link_rate: float
    latency: float


class StepCost(NamedTuple):
    """One step on one rank: seconds, and what it sends."""

    compute: float
    transfer: float
    total: float
    halo_rows: float
    halo_bytes: float
    messages: int


WORKLOADS = (
    Workload("papers100M", 111_059_956, 1_615_685_872),
    Workload("signed, 10 G edges", 500_000_000, 10_000_000_000),
)
# Nodes, edges and features of the graph whose row pass is measured; bytes and repetitions of the messages.
_NODES, _EDGES, _FEATURES = 200_000, 2_000_000, 128
_MESSAGE, _REPEATS = 1 << 24, 5


def expected_halo_rows(graph: Workload, ranks: int, edge_cut: float | None = None) -> float:
    r"""Return how many rows of other ranks a rank needs, if the cut edges have random sources.

    \( m (1 - e^{-c E / (P m)}) \) with the edge cut c and \( m = N (P - 1) / P \) nodes elsewhere. Without `edge_cut`
    nodes have random owners: \( c = (P - 1) / P \).
    """
    elsewhere = graph.num_nodes * (ranks - 1) / ranks
    cut = (ranks - 1) / ranks if edge_cut is None else edge_cut
    if elsewhere == 0.0:
        return 0.0
    return -elsewhere * math.expm1(-cut * graph.num_edges / ranks / elsewhere)


def step_cost(
    graph: Workload, ranks: int, features: int, itemsize: int, rates: Constants, edge_cut: float | None = None
) -> StepCost:
    """Return the cost of one step with rows divided among ranks: interior edges overlap with the halo."""
    cut = (ranks - 1) / ranks if edge_cut is None else edge_cut
    row = features * itemsize
    halo = expected_halo_rows(graph, ranks, edge_cut)
    nodes, edges = graph.num_nodes / ranks, graph.num_edges / ranks
    # Each edge reads a column index and a row of x; each row reads a residual and writes a result, in both passes.
    interior = (edges * (1.0 - cut) * (row + 4) + 2 * nodes * row) / rates.gather_rate
    boundary = (edges * cut * (row + 4) + 2 * nodes * row) / rates.gather_rate if halo else 0.0
    messages = ranks - 1
    transfer = halo * row / rates.link_rate + messages * rates.latency
    return StepCost(interior + boundary, transfer, max(interior, transfer) + boundary, halo, halo * row, messages)


def measure_gather_rate(device: torch.device) -> float:
    """Return the bytes per second that the row pass reads and writes on this device, out of cache."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(_NODES, (2, _EDGES), generator=generator)
    graph = SignedGraph(CSR.from_edge_index(edges, num_nodes=_NODES)).to(device)
    x = torch.randn(_NODES, _FEATURES, generator=generator).to(device)
    seconds = _fastest(lambda: signed_propagate(x, graph, lam=0.5), device)
    row = _FEATURES * x.element_size()
    return (_EDGES * (row + 4) + 2 * _NODES * row) / seconds


def measure_link(group: Group, device: torch.device) -> tuple[float, float]:
    """Return (bytes per second that a rank sends, seconds per message) of an all_to_all among all ranks."""
    times = []
    for size in (group.size, _MESSAGE // group.size * group.size):
        sent = torch.zeros(size, dtype=torch.uint8, device=device)
        received = torch.empty_like(sent)
        times.append(_fastest(partial(group.run, dist.all_to_all_single, received, sent), device))
    others = group.size - 1
    return _MESSAGE * others / group.size / max(times[1] - times[0], 1e-9), times[0] / others


def table(rates: Constants, features: int, itemsize: int, counts: Sequence[int], edge_cut: float | None) -> str:
    """Return a Markdown table: one row per graph, number of ranks and partition."""
    lines = [
        "| graph | ranks | edge cut | compute | transfer | step | halo rows per rank | sent per rank | messages |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for graph in WORKLOADS:
        for ranks in counts:
            for cut in [None] if edge_cut is None else [None, edge_cut]:
                cost = step_cost(graph, ranks, features, itemsize, rates, cut)
                name = "random owners" if cut is None else f"{cut:.0%}"
                times = " | ".join(f"{1e3 * t:.1f} ms" for t in cost[:3])
                lines.append(
                    f"| {graph.name} | {ranks} | {name} | {times} | {cost.halo_rows:,.0f} "
                    f"| {cost.halo_bytes / 1e9:.2f} GB | {cost.messages} |"
                )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not given, and print the table."""
    given = _parser().parse_args(arguments)
    device = torch.device(given.device)
    ranks = Group(None, Traffic()) if _joined(device) else None
    link, source = (given.link_rate, given.latency), "given"
    if ranks is not None and ranks.size > 1:
        link, source = measure_link(ranks, device), f"measured, {dist.get_backend()}, {ranks.size} ranks"
    if None in link:
        raise SystemExit("give --link-rate and --latency, or start several processes with torchrun to measure them")
    gather = measure_gather_rate(device) if given.gather_rate is None else given.gather_rate
    if ranks is not None and ranks.rank > 0:
        return
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    own = f"measured on {device}{threads}" if given.gather_rate is None else "given"
    print(f"Row pass: {gather / 1e9:.2f} GB/s per rank ({own}).")
    print(f"Link: {link[0] / 1e9:.2f} GB/s per rank, {1e6 * link[1]:.0f} us per message ({source}).")
    print(f"Features: {given.features} of {given.itemsize} bytes. One forward step; the backward pass costs as much.\n")
    print(table(Constants(gather, *link), given.features, given.itemsize, given.ranks, given.edge_cut))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sbp_kernels.distributed.cost_model", description=__doc__)
    parser.add_argument("--device", default="cpu", help="where the row pass is measured: cpu or cuda")
    parser.add_argument("--gather-rate", type=float, help="bytes/s of the row pass, instead of a measurement")
    parser.add_argument("--link-rate", type=float, help="bytes/s that a rank sends")
    parser.add_argument("--latency", type=float, help="seconds per message")
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--itemsize", type=int, default=4, choices=(2, 4, 8), help="bytes of a feature")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--edge-cut", type=float, help="also show a partition that cuts this share of the edges")
    return parser


def _joined(device: torch.device) -> bool:
    """Return whether torchrun has started this process; join its group then."""
    if not dist.is_torchelastic_launched():
        return False
    dist.init_process_group("gloo" if device.type == "cpu" else "nccl")
    return True


def _fastest(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of some calls, after one that warms up."""
    times = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    main()
