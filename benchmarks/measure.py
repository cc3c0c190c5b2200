"""From a cell to its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import records
from .cells import Cell
from .harness import Case, Contestant, admit, num_threads, race, ratio_interval
from .methods import METHODS
from .oracle import Coefficients, Oracle, WrongResult
from .records import FORWARD, OURS
from .roofline import Probe, best_gather, copy_gbs, gather_bytes, gather_probes, passes, stream_bytes
from .worker import Worker, cpu_isa
from .workloads import Workload, load

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Row = dict[str, object]
Tick = Callable[[float, str], None]


@dataclass
class Session:
    """What the cells of one run share: how patiently, where, and the graph of the last cell."""

    run: Row
    device: torch.device
    repeats: int
    budget: float
    seed: int = 0
    root: Path | None = None
    # Of the whole run; reading it is a part of the first cell.
    copy_gbs: float = 0.0
    _graph: Workload | None = None
    _oracles: dict[tuple[str, int], Oracle] | None = None

    def graph(self, name: str) -> Workload:
        if self._graph is None or self._graph.name != name:
            # The old one goes first: two do not fit beside each other at the largest sizes.
            self._graph = self._oracles = None
            self._graph = load(name, self.seed, self.device, self.root)
        return self._graph

    def oracle(self, cell: Cell, dtype: str) -> Oracle:
        """The right answer, kept while the graph and the width stay."""
        graph, kept = self.graph(cell.workload), self._oracles or {}
        self._oracles = {key: oracle for key, oracle in kept.items() if key[1] == cell.width}
        key = (dtype, cell.width)
        if key not in self._oracles:
            self._oracles[key] = Oracle(graph, cell.width, DTYPES[dtype], Coefficients(), self.seed)
        return self._oracles[key]

    def rows(self, cell: Cell, tick: Tick = lambda share, doing: None) -> list[Row]:
        """Race all methods of the cell and describe each, timed or not."""
        if not self.copy_gbs:
            tick(0.0, "copying")
            self.copy_gbs = copy_gbs(self.device)
        case = Case(self.graph(cell.workload), cell.width, cell.mode, cache=cell.cache)
        oracles = {dtype: self.oracle(cell, dtype) for dtype in cell.dtypes}
        contestants = admit_all(case, oracles, cell.methods or tuple(METHODS), tick)
        probes: list[Probe] = []
        if cell.mode == FORWARD and cell.cache == "warm":
            probes = [
                p for d, oracle in oracles.items() for p in gather_probes(case.graph, oracle, cell.width, DTYPES[d])
            ]
        workers = list(self._workers(cell))
        try:
            for axis in cell.axes:
                contestants += self._threaded(axis, case, oracles)
            contestants += [worker.start() for worker in workers]
            tick(0.0, "timing")
            share = lambda part: tick(0.6 * part, "")  # noqa: E731
            entrants = [*contestants, *probes]
            race(entrants, self.device, self.repeats, self.budget, share, cold=cell.cache == "cold")
        finally:
            for worker in workers:
                worker.stop()
        gather = {d: best_gather([p for p in probes if p.dtype == DTYPES[d]]) for d in cell.dtypes}
        return case_rows(case, contestants, self.run | {"copy_gbs": self.copy_gbs}, gather)

    def _workers(self, cell: Cell) -> Iterator[Worker]:
        names = [axis.removeprefix("isa=") for axis in cell.axes if axis.startswith("isa=")]
        if self.device.type != "cpu" or self.root is not None or not cpu_isa():
            return
        for isa in names:
            for dtype in cell.dtypes:
                yield Worker(isa, cell.workload, cell.width, cell.mode, DTYPES[dtype], self.seed)

    def _threaded(self, axis: str, case: Case, oracles: dict[str, Oracle]) -> Iterator[Contestant]:
        name, _, count = axis.partition("=")
        if name != "threads" or self.device.type != "cpu" or int(count) == torch.get_num_threads():
            return
        for dtype, oracle in oracles.items():
            with num_threads(int(count)):
                yield replace(admit(OURS, case, oracle, DTYPES[dtype]), threads=int(count))


def admit_all(case: Case, oracles: dict[str, Oracle], methods: Sequence[str], tick: Tick) -> list[Contestant]:
    """Every method at every dtype, checked; those that are wrong or cannot run say so and are not timed."""
    contestants = []
    pairs = [(dtype, method) for dtype in oracles for method in methods]
    for dtype, method in pairs:
        tick(0.0, f"checking {method} {dtype}")
        try:
            contestants.append(admit(method, case, oracles[dtype], DTYPES[dtype]))
        except WrongResult as error:
            contestants.append(Contestant(method, DTYPES[dtype], note=f"WRONG, not timed: {error}"))
        tick(0.4 / len(pairs), "")
    return contestants


def case_rows(case: Case, contestants: Sequence[Contestant], run: Row, gather: dict[str, float | None]) -> list[Row]:
    """One row a contestant, by the columns of `records.PROPAGATE_COLUMNS`; `gather` is the probe's GB/s by type."""
    graph = case.graph
    common: Row = {
        "workload": graph.name,
        "num_nodes": graph.num_nodes,
        "num_edges_pos": graph.pos.shape[1],
        "num_edges_neg": graph.neg.shape[1],
        "max_degree": int(graph.degrees().max()),
        "width": case.width,
        "mode": case.mode,
        "cache": case.cache,
    }
    ours = {c.dtype: c for c in contestants if c.method == OURS and c.samples and not c.threads and not c.isa}
    isa = cpu_isa() if graph.pos.device.type == "cpu" else ""
    rows = []
    for c in contestants:
        dtype = str(c.dtype).removeprefix("torch.")
        size, shape = c.dtype.itemsize, (graph.num_edges, case.width)
        row = dict.fromkeys(records.PROPAGATE_COLUMNS, "") | run | common
        row |= {
            "dtype": dtype,
            "isa": (c.isa or isa) if c.backend == "native" else "",
            "method": c.method,
            "backend": c.backend,
            "samples": len(c.samples),
            "output_bytes": graph.num_nodes * case.width * size,
            "gather_bytes": gather_bytes(*shape, size),
            "stream_bytes": stream_bytes(graph.num_nodes, *shape, size),
            "gather_gbs": gather.get(dtype) or "",
            "note": c.note,
        }
        if c.threads:
            # The probes ran on the threads of the others.
            row |= {"threads": c.threads, "copy_gbs": "", "gather_gbs": ""}
        rows.append(row | (_timed(c, row, ours.get(c.dtype)) if c.samples else {}))
    return rows


def _timed(c: Contestant, row: Row, ours: Contestant | None) -> Row:
    moved = int(str(row["gather_bytes"])) + int(str(row["stream_bytes"]))
    # numpy's memory is not torch's, and is not counted.
    found: Row = {**c.timing(), "extra_memory_bytes": c.extra_memory_bytes if c.backend != "scipy" else ""}
    found["gbs"] = passes(str(row["mode"])) * moved / c.quantile(0.5) / 1e9
    if ours is not None:
        found["ratio_to_ours"] = c.quantile(0.5) / ours.quantile(0.5)
        if c is not ours:
            found["ratio_low"], found["ratio_high"] = ratio_interval(c.samples, ours.samples)
    return found
