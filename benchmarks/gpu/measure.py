"""Measures the GPU preset: one JSON line a row, as soon as it is there, and the same rows as a CSV.

Same workloads, methods, oracle and race as on the CPU; graphs are made on the GPU, times are device events. Needs
torch only: a peer that is not installed is listed with that reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

import sbp_kernels as sbp

from .. import implicit_cases, implicit_measure, records
from ..cells import PRESETS
from ..clock import clock
from ..measure import Session
from ..methods import signed_graph

# What a reader of the log needs of a row.
SHOWN = ("workload", "width", "dtype", "mode", "method", "backend", "median_ms", "ratio_to_ours", "gbs", "note")


def report(**row: object) -> None:
    """A line of the log; numbers to five digits."""
    cells = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items() if v != ""}
    print(json.dumps(cells), flush=True)


def measure_cells(session: Session, path: Path) -> None:
    """Every cell of the preset; one that fails says so and does not take the others with it."""
    name = ""
    for cell in PRESETS["gpu"].cells:
        try:
            if cell.workload != name:
                name = cell.workload
                build(session, name)
            rows = session.rows(cell)
        except (RuntimeError, NotImplementedError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:160]
            report(workload=cell.workload, width=cell.width, mode=cell.mode, note=f"failed: {reason}")
            continue
        records.append(path / "propagate.csv", records.PROPAGATE_COLUMNS, rows)
        for row in rows:
            report(**{k: row[k] for k in SHOWN})


def build(session: Session, name: str) -> None:
    """The time from edges to a graph that is ready for both directions."""
    start = time.monotonic()
    graph = session.graph(name)
    made = time.monotonic() - start
    seconds = clock(lambda: signed_graph(graph).prepare(), 1, session.device)
    report(workload=name, method="build", s=seconds, note=f"the edges took {made:.1f} s")


def measure_cases(session: Session, path: Path) -> None:
    """Several steps in one call, and a Label-SBP step."""
    device = session.device
    for make in (
        lambda: implicit_cases.steps(64, 16, device=device),
        lambda: implicit_cases.steps(64, 300, device=device),
        lambda: implicit_cases.label_step(device),
    ):
        case = make()
        found = implicit_measure.measure(case, session.repeats, session.budget, device)
        rows = implicit_measure.rows_of(case, found, session.run)
        records.append(path / "implicit.csv", records.IMPLICIT_COLUMNS, rows)
        for row in rows:
            cells = {"method": row["call"], "mode": case.name, "dtype": "float32", "workload": "", "width": case.width}
            report(**cells, median_ms=row.get("median_ms", ""), note=row["note"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--results", type=Path, default=records.RESULTS)
    parser.add_argument("--budget", type=float, default=PRESETS["gpu"].budget, help="seconds a method may take")
    args = parser.parse_args(argv)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = records.run_fields(args.device, 0, "gpu", date)
    session = Session(run, args.device, PRESETS["gpu"].repeats, args.budget)
    path = args.results / records.device_slug(args.device)
    report(config=sbp.show_config())
    measure_cells(session, path)
    report(workload="copy", method="device to device", gbs=session.copy_gbs)
    measure_cases(session, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
