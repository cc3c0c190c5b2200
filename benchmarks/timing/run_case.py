"""Measure one case of a preset and return its result rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..cases.modes import FORWARD, OURS
from ..cases.oracle import Coefficients, Oracle, WrongResult
from ..cases.presets import CaseSpec
from ..cases.traffic import gather_bytes, passes, stream_bytes
from ..cases.workloads import Workload, load
from ..competitors import METHODS
from ..reporting.result_files import PROPAGATE_COLUMNS
from .bandwidth import GATHER, STREAM, Probe, best_gbs, copy_gbs, roofline_probes
from .candidate import Candidate, Case, num_threads
from .check import check_candidate
from .interleaved import ratio_interval, time_interleaved
from .isa_worker import Worker, cpu_isa

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Row = dict[str, object]
Tick = Callable[[float, str], None]


@dataclass
class Session:
    """State shared by the cases of one run: device, rounds, budget, and the graph of the last case."""

    run: Row
    device: torch.device
    repeats: int
    budget: float
    seed: int = 0
    root: Path | None = None
    # Measured once per run, in the first case.
    copy_gbs: float = 0.0
    _graph: Workload | None = None
    _oracles: dict[tuple[str, int], Oracle] | None = None

    def graph(self, name: str) -> Workload:
        """Return the workload; the last one is cached."""
        if self._graph is None or self._graph.name != name:
            # Free the old graph first: at the largest sizes two do not fit into memory.
            self._graph = self._oracles = None
            self._graph = load(name, self.seed, self.device, self.root)
        return self._graph

    def oracle(self, spec: CaseSpec, dtype: str) -> Oracle:
        """Return the expected result; it is cached while the graph and the width stay the same."""
        graph, cached = self.graph(spec.workload), self._oracles or {}
        self._oracles = {key: oracle for key, oracle in cached.items() if key[1] == spec.width}
        key = (dtype, spec.width)
        if key not in self._oracles:
            self._oracles[key] = Oracle(graph, spec.width, DTYPES[dtype], Coefficients(), self.seed)
        return self._oracles[key]

    def rows(self, spec: CaseSpec, tick: Tick = lambda share, doing: None) -> list[Row]:
        """Time all methods of the case interleaved, and return one row for each, timed or not."""
        if not self.copy_gbs:
            tick(0.0, "copying")
            self.copy_gbs = copy_gbs(self.device)
        case = Case(self.graph(spec.workload), spec.width, spec.mode, cache=spec.cache)
        oracles = {dtype: self.oracle(spec, dtype) for dtype in spec.dtypes}
        candidates = check_candidates(case, oracles, spec.methods or tuple(METHODS), tick)
        probes: list[Probe] = []
        if spec.mode == FORWARD and spec.cache == "warm":
            tick(0.0, "choosing probes")
            probes = [
                p for d, oracle in oracles.items() for p in roofline_probes(case.graph, oracle, spec.width, DTYPES[d])
            ]
        workers = list(self._workers(spec))
        try:
            for axis in spec.axes:
                candidates += self._threaded(axis, case, oracles)
            candidates += [worker.start() for worker in workers]
            tick(0.0, "timing")
            share = lambda part: tick(0.6 * part, "")  # noqa: E731
            timed = [*candidates, *probes]
            time_interleaved(timed, self.device, self.repeats, self.budget, share, cold=spec.cache == "cold")
        finally:
            for worker in workers:
                worker.stop()
        return case_rows(case, candidates, self.run | {"copy_gbs": self.copy_gbs}, probes)

    def _workers(self, spec: CaseSpec) -> Iterator[Worker]:
        """Yield one process for each instruction set and dtype of the case."""
        names = [axis.removeprefix("isa=") for axis in spec.axes if axis.startswith("isa=")]
        if self.device.type != "cpu" or self.root is not None or not cpu_isa():
            return
        for isa in names:
            for dtype in spec.dtypes:
                yield Worker(isa, spec.workload, spec.width, spec.mode, DTYPES[dtype], self.seed)

    def _threaded(self, axis: str, case: Case, oracles: dict[str, Oracle]) -> Iterator[Candidate]:
        """Yield our method with the number of threads of the axis, for each dtype."""
        name, _, count = axis.partition("=")
        if name != "threads" or self.device.type != "cpu" or int(count) == torch.get_num_threads():
            return
        for dtype, oracle in oracles.items():
            with num_threads(int(count)):
                yield replace(check_candidate(OURS, case, oracle, DTYPES[dtype]), threads=int(count))


def check_candidates(case: Case, oracles: dict[str, Oracle], methods: Sequence[str], tick: Tick) -> list[Candidate]:
    """Check every method at every dtype; the note of a wrong or unsupported method says why it is not timed."""
    candidates = []
    pairs = [(dtype, method) for dtype in oracles for method in methods]
    for dtype, method in pairs:
        tick(0.0, f"checking {method} {dtype}")
        try:
            candidates.append(check_candidate(method, case, oracles[dtype], DTYPES[dtype]))
        except WrongResult as error:
            candidates.append(Candidate(method, DTYPES[dtype], note=f"WRONG, not timed: {error}"))
        tick(0.4 / len(pairs), "")
    return candidates


def case_rows(case: Case, candidates: Sequence[Candidate], run: Row, probes: Sequence[Probe]) -> list[Row]:
    """Return one row per candidate with the columns `PROPAGATE_COLUMNS`."""
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
    ours = {c.dtype: c for c in candidates if c.method == OURS and c.samples and not c.threads and not c.isa}
    isa = cpu_isa() if graph.pos.device.type == "cpu" else ""
    rows = []
    for c in candidates:
        dtype = str(c.dtype).removeprefix("torch.")
        size, shape = c.dtype.itemsize, (graph.num_edges, case.width)
        row = dict.fromkeys(PROPAGATE_COLUMNS, "") | run | common
        row |= {
            "dtype": dtype,
            "isa": (c.isa or isa) if c.backend == "native" else "",
            "method": c.method,
            "backend": c.backend,
            "samples": len(c.samples),
            "output_bytes": graph.num_nodes * case.width * size,
            "gather_bytes": gather_bytes(*shape, size),
            "stream_bytes": stream_bytes(graph.num_nodes, *shape, size),
            "gather_gbs": best_gbs(probes, GATHER, c.dtype) or "",
            "stream_gbs": best_gbs(probes, STREAM, c.dtype) or "",
            "note": c.note,
        }
        if c.threads:
            # The probes used the number of threads of the other candidates.
            row |= {"threads": c.threads, "copy_gbs": "", "gather_gbs": "", "stream_gbs": ""}
        rows.append(row | (_timed(c, row, ours.get(c.dtype)) if c.samples else {}))
    return rows


def _timed(c: Candidate, row: Row, ours: Candidate | None) -> Row:
    moved = int(str(row["gather_bytes"])) + int(str(row["stream_bytes"]))
    # scipy allocates through numpy, which torch's memory profiler does not see.
    found: Row = {**c.timing(), "extra_memory_bytes": c.extra_memory_bytes if c.backend != "scipy" else ""}
    found["gbs"] = passes(str(row["mode"])) * moved / c.quantile(0.5) / 1e9
    if ours is not None:
        found["ratio_to_ours"] = c.quantile(0.5) / ours.quantile(0.5)
        if c is not ours:
            found["ratio_low"], found["ratio_high"] = ratio_interval(c.samples, ours.samples)
    return found
