"""Measure the GPU preset: print one line of JSON per row immediately, and append the rows to CSV files.

Workloads, methods, oracle and interleaved timing are the same as on the CPU; graphs are generated on the GPU, and times
are CUDA events. Only torch is required: the row of a peer that is not installed says so.
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

from ..cases.presets import PRESETS
from ..competitors import comparisons
from ..competitors.ours import signed_graph
from ..reporting import result_files, run_info
from ..timing import run_comparison
from ..timing.clock import clock
from ..timing.run_case import Session

# The columns of a row that the log shows.
SHOWN = ("workload", "width", "dtype", "mode", "method", "backend", "median_ms", "ratio_to_ours", "gbs", "note")


def report(**row: object) -> None:
    """Print a line of the log; numbers have five digits."""
    cells = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items() if v != ""}
    print(json.dumps(cells), flush=True)


def measure_specs(session: Session, path: Path) -> None:
    """Measure every case of the preset; a case that fails is logged and does not stop the others."""
    name = ""
    for spec in PRESETS["gpu"].specs:
        try:
            if spec.workload != name:
                name = spec.workload
                build(session, name)
            rows = session.rows(spec)
        except (RuntimeError, NotImplementedError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:160]
            report(workload=spec.workload, width=spec.width, mode=spec.mode, note=f"failed: {reason}")
            continue
        result_files.append(path / "propagate.csv", result_files.PROPAGATE_COLUMNS, rows)
        for row in rows:
            report(**{k: row[k] for k in SHOWN})


def build(session: Session, name: str) -> None:
    """Log the time from edges to a graph that is prepared for forward and backward."""
    start = time.monotonic()
    graph = session.graph(name)
    made = time.monotonic() - start
    seconds = clock(lambda: signed_graph(graph).prepare(), 1, session.device)
    report(workload=name, method="build", s=seconds, note=f"generating the edges took {made:.1f} s")


def measure_comparisons(session: Session, path: Path) -> None:
    """Compare several steps in one call, and a Label-SBP step."""
    device = session.device
    for make in (
        lambda: comparisons.steps(64, 16, device=device),
        lambda: comparisons.steps(64, 300, device=device),
        lambda: comparisons.label_step(device),
    ):
        comparison = make()
        found = run_comparison.measure(comparison, session.repeats, session.budget, device)
        rows = run_comparison.rows_of(comparison, found, session.run)
        result_files.append(path / "implicit.csv", result_files.IMPLICIT_COLUMNS, rows)
        for row in rows:
            cells = {
                "method": row["call"],
                "mode": comparison.name,
                "dtype": "float32",
                "workload": "",
                "width": comparison.width,
            }
            report(**cells, median_ms=row.get("median_ms", ""), note=row["note"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--results", type=Path, default=result_files.RESULTS)
    parser.add_argument("--budget", type=float, default=PRESETS["gpu"].budget, help="seconds a method may take")
    args = parser.parse_args(argv)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = run_info.run_fields(args.device, 0, "gpu", date)
    session = Session(run, args.device, PRESETS["gpu"].repeats, args.budget)
    path = args.results / run_info.device_slug(args.device)
    report(config=sbp.show_config())
    measure_specs(session, path)
    report(workload="copy", method="device to device", gbs=session.copy_gbs)
    measure_comparisons(session, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
