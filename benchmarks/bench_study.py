"""python -m benchmarks.bench_study: reproduce tables of the paper as rows with commit and date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

from sbp_study import Options
from sbp_study.paper.reproduce import reproduce
from sbp_study.paper.tables import PLANS
from sbp_study.reporting.paper_comparison import rows, show, write, write_rows
from sbp_study.training.run_cache import RunCache

from .reporting import result_files, run_info

# Tables that take minutes; the networks of the others train for hours (python -m sbp_study reproduce NAME).
TABLES = ("table2", "table6", "table8", "table10", "table12", "table13", "fig3")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_study", description=__doc__)
    parser.add_argument("tables", nargs="*", default=TABLES, metavar="NAME", help=f"default: {' '.join(TABLES)}")
    parser.add_argument("--root", default="data", help="folder with the datasets, default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("out/study"), help="finished runs, default: %(default)s")
    parser.add_argument("--results", type=Path, default=result_files.RESULTS, help="default: benchmarks/results")
    parser.add_argument("--fresh", action="store_true", help="repeat the runs in --out")
    args = parser.parse_args(argv)
    unknown = [name for name in args.tables if name not in PLANS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(PLANS)}")
    run = {
        "threads": torch.get_num_threads(),
        "device": run_info.device_name(torch.device("cpu")),
        "torch": torch.__version__,
        "commit": result_files.commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    for name in args.tables:
        plan, outcomes = reproduce(name, Options(args.root, RunCache(args.out, args.fresh), progress=True))
        show(plan, outcomes)
        write(plan, outcomes, args.out)
        # Rows without runs are omitted: a dataset is missing on this machine only.
        found = [row for row, o in zip(rows(plan, outcomes), outcomes, strict=True) if o.runs]
        if found:
            path = args.results / "study" / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_rows(path, [row | run for row in found])
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
