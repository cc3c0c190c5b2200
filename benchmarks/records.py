"""Rows of results: their columns, where they lie, and the latest run."""

from __future__ import annotations

import argparse
import csv
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"

# Values that readers of the rows look for.
OURS = "sbp_kernels"
FORWARD, BACKWARD = "forward", "forward+backward"
# A mode beyond these names what takes a gradient besides x.
MODES = (FORWARD, BACKWARD)
LEARNS = {"learnt coefficients": "coefficients", "learnt weights": "weights"}
BUILD = "build"
NOT_RUN = "not yet run"

# Every row of a run carries the run's `date`, its start.
_RUN = ("threads", "seed", "preset", "device", "driver", "torch", "commit", "date")

# `cache` is warm (calls in a row) or cold (caches overwritten before each); the bounds of `ratio_to_ours` are those
# of a 95 % bootstrap interval; `gbs` counts the bytes of `roofline`, over the time; the bandwidths are probes of
# the same race (gather) and run (copy). Rows older than a column have nothing in it.
PROPAGATE_COLUMNS = (
    "workload", "num_nodes", "num_edges_pos", "num_edges_neg", "max_degree",
    "width", "dtype", "mode", "cache", "isa", "method", "backend",
    "p20_ms", "median_ms", "p80_ms", "samples", "ratio_to_ours", "ratio_low", "ratio_high",
    "extra_memory_bytes", "output_bytes", "gather_bytes", "stream_bytes", "gbs", "copy_gbs", "gather_gbs",
    "note", *_RUN,
)  # fmt: skip

# `break_even_calls`: how many forward calls pay for our build, against the peer of that step.
BUILD_COLUMNS = (
    "workload", "num_nodes", "num_edges_pos", "num_edges_neg",
    "step", "p20_ms", "median_ms", "p80_ms", "samples", "forward_passes", "break_even_calls", *_RUN,
)  # fmt: skip

IMPLICIT_COLUMNS = (
    "case", "num_nodes", "width", "call", "p20_ms", "median_ms", "p80_ms", "samples", "ratio_to_first",
    "extra_memory_bytes", "output_bytes", "note", *_RUN,
)  # fmt: skip

REORDER_COLUMNS = (
    "workload", "num_nodes", "num_edges", "width", "order", "build_ms", "p20_ms", "median_ms", "p80_ms", "samples",
    "ratio_to_given", "break_even_calls", *_RUN,
)  # fmt: skip


def device_name(device: torch.device) -> str:
    """The model of the processor, as it calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name()


def _cpu_name() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    for key in ("model name", "Model", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", info, re.MULTILINE)
        if found and found[1].strip():
            return found[1].strip()
    return platform.processor() or platform.machine() or "unknown"


def driver(device: torch.device) -> str:
    """The version of the GPU's driver; a processor has none."""
    if device.type != "cuda":
        return "none"
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "unknown"
    found = re.search(r"Kernel Module.*?(\d+\.[\d.]+)", text)
    return found[1] if found else "unknown"


def device_slug(device: torch.device) -> str:
    """The folder of a device's results, such as `cpu-amd-epyc` or `nvidia-h200`."""
    name = re.sub(r"\((R|TM)\)|@.*|\bCPU\b|\bProcessor\b", " ", device_name(device), flags=re.IGNORECASE)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"cpu-{slug}" if device.type == "cpu" else slug


def commit() -> str:
    """The short commit of this checkout, with `-dirty` if the measured code differs from it."""

    def git(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *args], cwd=RESULTS.parents[1], capture_output=True, text=True, check=False)

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--", "sbp_kernels", "csrc", "setup.py")
    except OSError:
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def run_fields(device: torch.device, seed: int, preset: str, date: str) -> dict[str, object]:
    """What all rows of a run share."""
    return {
        "threads": torch.get_num_threads(),
        "seed": seed,
        "preset": preset,
        "device": device_name(device),
        "driver": driver(device),
        "torch": torch.__version__,
        "commit": commit(),
        "date": date,
    }


def append(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> None:
    """Add rows, starting the file with its header where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        with path.open(newline="") as file:
            header = tuple(next(csv.reader(file)))
        if header != columns:
            raise ValueError(f"{path} has other columns than this version writes: move it away")
    with path.open("a", newline="") as file:
        # lineterminator: the module's own default is \r\n.
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if fresh:
            writer.writeheader()
        for row in rows:
            writer.writerow({k: _cell(v) for k, v in row.items()})


def _cell(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which run to read."""
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    parser.add_argument(
        "--slug", default=device_slug(torch.device("cpu")), help="folder of the device, default: %(default)s"
    )
    parser.add_argument("--preset", default="full", help="kind of run to read, default: %(default)s")


def find(results: Path, slug: str, name: str) -> Path:
    """A device's file of results."""
    path = results / slug / name
    if path.exists():
        return path
    others = sorted(p.parent.name for p in results.glob(f"*/{name}"))
    raise FileNotFoundError(f"no {path}; devices with a {name} in {results}: {', '.join(others) or 'none'}")


def latest(path: Path, preset: str = "full") -> list[dict[str, str]]:
    """The rows of the latest run of a preset; a case that was run again since has the median over the runs.

    A process is lucky or not with the memory it is given, which for the smallest problems matters more
    than the error of a race within it.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    dates = [row["date"] for row in rows if row["preset"] == preset]
    if not dates:
        raise ValueError(f"{path} holds no run of preset {preset!r}")
    last = max(dates)
    since = [row for row in rows if row["date"] > last]
    return [_with_repeats(row, since) for row in rows if row["date"] == last]


_MEASURED = {
    "p20_ms", "median_ms", "p80_ms", "ratio_to_ours", "ratio_low", "ratio_high", "ratio_to_first", "forward_passes",
    "ratio_to_given", "build_ms",
    "break_even_calls", "gbs", "copy_gbs", "gather_gbs",
}  # fmt: skip
_VARYING = _MEASURED | {"samples", "extra_memory_bytes", "preset", "commit", "date", "note"}


def _with_repeats(row: dict[str, str], since: list[dict[str, str]]) -> dict[str, str]:
    same = [other for other in since if all(other[k] == row[k] for k in row if k not in _VARYING)]
    if not same:
        return row
    values = {k: [float(r[k]) for r in (row, *same) if r[k] not in ("", "never")] for k in _MEASURED & row.keys()}
    return row | {k: repr(statistics.median(v)) for k, v in values.items() if v}
