"""`make gpu-check`: test and measure the CUDA kernels; needs a GPU, nvcc and a CUDA build of torch, but no network.

Each stage is a process with a time limit and a log; the most important stages come first, and all take at most 9
minutes. The output folder holds results.json, results.csv, summary.txt (at most 60 lines), and a folder named after the
device, whose rows belong in benchmarks/results.

    python benchmarks/gpu/check.py [--out out/gpu-check] [--only build,tests,...]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
TOTAL_S = 9 * 60 - 10
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
SANITIZED = [sys.executable, "benchmarks/gpu/small_case.py"]


def stages(folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Return the time limit in seconds and the command of each stage."""
    found: dict[str, tuple[int, list[str]]] = {
        "build": (200, [sys.executable, "setup.py", "build_ext", "--inplace"]),
        "tests": (120, [*PYTEST, "-m", "gpu", "-k", "not triton", "--maxfail=10", "tests/cuda/test_on_gpu.py"]),
        "measure": (150, [sys.executable, "-m", "benchmarks.gpu.measure", "--results", str(folder)]),
        # Most of this time is Triton's compiler.
        "triton": (150, [*PYTEST, "-k", "triton or test_kernels", "tests/triton", "tests/cuda/test_on_gpu.py"]),
    }
    sanitizer = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck", "initcheck") if sanitizer else ():
        found[tool] = (60, [sanitizer, "--tool", tool, "--error-exitcode", "1", *SANITIZED])
    return found


def environment() -> dict[str, str]:
    """Return the environment of the stages."""
    major, minor = torch.cuda.get_device_capability()
    paths = [str(ROOT), str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
    defaults = {"TORCH_CUDA_ARCH_LIST": f"{major}.{minor}"}
    forced = {
        "SBP_BUILD_NATIVE": "1",
        "SBP_BUILD_CUDA": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
    }
    return defaults | dict(os.environ) | forced


def run(name: str, seconds: float, command: list[str], folder: Path) -> dict[str, object]:
    """Run a stage and return its exit code, time and last line."""
    log, start = folder / f"{name}.log", time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | str = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = "time limit"
    lines = log.read_text(errors="replace").splitlines()
    # The last line is the number of tests, the sanitizer's summary, or the error.
    return {
        "stage": name,
        "exit": code,
        "seconds": round(time.monotonic() - start, 1),
        "last": lines[-1][:150] if lines else "",
    }


def rows_of(folder: Path) -> list[dict[str, object]]:
    """Read the rows from the log of the stage "measure"."""
    log = folder / "measure.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def speedups(rows: list[dict]) -> list[str]:
    """Return one line with the speedup over each peer per workload, width, type and mode."""
    by_case: dict[tuple, dict[str, float]] = {}
    for row in rows:
        if "median_ms" in row:
            case = (row.get("workload", ""), row["width"], row["dtype"], row["mode"])
            by_case.setdefault(case, {})[row["method"]] = 1e3 * row["median_ms"]
    lines = []
    for case, us in by_case.items():
        ours = us.get("sbp_kernels")
        own = [f"ours {ours:.1f} us"] if ours else []
        times = [f"{m} {t / ours:.2f}x" if ours else f"{m} {t:.1f} us" for m, t in us.items() if m != "sbp_kernels"]
        lines.append(f"{case[0]:9} d={case[1]:<4} {case[2]:9} {case[3]:17} {', '.join(own + times)}")
    return lines


def write(folder: Path, done: list[dict], device: str) -> None:
    """Write results.json, results.csv and summary.txt."""
    rows = rows_of(folder)
    (folder / "results.json").write_text(
        json.dumps({"device": device, "torch": torch.__version__, "stages": done, "rows": rows}, indent=1)
    )
    names = sorted({key for row in rows for key in row})
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    head = [f"{device}, torch {torch.__version__}, CUDA {torch.version.cuda}"]
    head += [f"{s['stage']:10} exit {s['exit']!s:10} {s['seconds']:>6} s  {s['last']}" for s in done]
    head += [f"copy bandwidth {row['gbs']:.0f} GB/s" for row in rows if row.get("workload") == "copy"]
    (folder / "summary.txt").write_text("\n".join([*head, *speedups(rows)][:60]) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "out/gpu-check")
    parser.add_argument("--only", default="", help="stages, separated by commas")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            f"gpu-check needs a GPU and a CUDA build of torch; torch {torch.__version__} sees no GPU",
            file=sys.stderr,
        )
        return 2
    folder, stop, done = args.out.resolve(), time.monotonic() + TOTAL_S, []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measure.log").unlink(missing_ok=True)
    for name, (seconds, command) in stages(folder).items():
        if args.only and name not in args.only.split(","):
            continue
        left = min(seconds, stop - time.monotonic())
        done.append(
            run(name, left, command, folder)
            if left > 5
            else {"stage": name, "exit": "no time left", "seconds": 0, "last": ""}
        )
        # Write after every stage, so that a later failure cannot lose results.
        write(folder, done, torch.cuda.get_device_name())
        if name == "build" and done[-1]["exit"] != 0:
            break
    print((folder / "summary.txt").read_text(), end="")
    return 0 if all(s["exit"] == 0 for s in done) else 1


if __name__ == "__main__":
    sys.exit(main())
