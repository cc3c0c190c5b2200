"""`python -m tests.fuzz`: random calls against a dense float64 oracle, on all cores."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from .targets import TARGETS

    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="how many calls to make")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same calls")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    parser.add_argument("--isa", choices=("avx512", "avx2", "baseline"), help="instruction set of the CPU kernels")
    parser.add_argument("--device", default="cpu", help="where features and graphs live: cpu or cuda")
    parser.add_argument("--only", choices=TARGETS, help="one kind of calls only")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder of failing cases")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run the failing cases of a folder, or one file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    # Read when the libraries load, here and in the workers; the kernels' own threads are set by the calls.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1" if name != "OMP_NUM_THREADS" else "2")
    # One line a call that vmap cannot batch.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    options = parse(arguments)
    if options.isa is not None:
        os.environ["SBP_CPU_ISA"] = options.isa

    from .failures import Failures, load
    from .runner import Pool
    from .worker import Job

    failures = Failures(options.out)
    cases = load(options.replay) if options.replay is not None else None
    jobs = max(1, min(options.jobs, len(cases) if cases is not None else -(-options.calls // 500)))
    pool = Pool(jobs, lambda path: Job(options.seed, options.device, options.only, path), failures)
    try:
        return _fuzz(options, pool) if cases is None else _replay(cases, pool)
    finally:
        pool.close()


def _fuzz(options: argparse.Namespace, pool: object) -> int:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from .runner import Pool, fuzz

    assert isinstance(pool, Pool)
    columns = ("calls", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    begun = time.monotonic()
    with Progress(*columns, TimeRemainingColumn(), transient=True) as progress:
        task = progress.add_task("calls", total=options.calls, rate="")

        def tell(calls: int, failed: int) -> None:
            rate = calls / (time.monotonic() - begun)
            progress.update(task, completed=calls, rate=f"{rate:.0f} calls/s, {failed} failures")

        made = fuzz(pool, options.calls, tell)
    took = time.monotonic() - begun
    failed = sum(pool.failures.count.values())
    print(f"{made} calls with seed {options.seed} in {took:.0f} s, {made / took:.0f} calls/s: {failed} failures")
    for line in pool.failures.report():
        print(line)
    if failed:
        print(f"failing cases are in {options.out}; run them again with --replay {options.out}")
    return int(failed > 0)


def _replay(cases: list[tuple[Path, dict]], pool: object) -> int:  # type: ignore[type-arg]
    from .runner import Pool, replay

    assert isinstance(pool, Pool)
    failed = 0
    for index, problems in replay(pool, [failure for _, failure in cases]):
        failed += bool(problems)
        print(f"{'fails ' if problems else 'passes'} {cases[index][0]}")
        for problem in problems:
            print(f"       {problem['kind']}: {problem['title']}: {problem['detail'][:400]}")
    print(f"{failed} of {len(cases)} cases fail")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
