"""CSV files of result rows: columns, appending, and reading the latest run."""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from .run_info import device_slug

RESULTS = Path(__file__).parents[1] / "results"

# `date` is the start of the run.
_RUN = ("threads", "seed", "preset", "device", "driver", "torch", "commit", "date")

# `cache` is warm (consecutive calls) or cold (caches overwritten before each call). `ratio_low` and `ratio_high` bound
# the 95 % bootstrap interval of `ratio_to_ours`. `gbs` is the bytes of `cases.traffic` over the time. The probes of the
# roofline, `gather_gbs` and `stream_gbs`, are in the same interleaved timing, `copy_gbs` in the same run. Rows older
# than a column leave it empty.
PROPAGATE_COLUMNS = (
    "workload", "num_nodes", "num_edges_pos", "num_edges_neg", "max_degree",
    "width", "dtype", "mode", "cache", "isa", "method", "backend",
    "p20_ms", "median_ms", "p80_ms", "samples", "ratio_to_ours", "ratio_low", "ratio_high",
    "extra_memory_bytes", "output_bytes", "gather_bytes", "stream_bytes", "gbs", "copy_gbs", "gather_gbs",
    "stream_gbs", "note", *_RUN,
)  # fmt: skip

# `break_even_calls`: the number of forward calls after which our build has paid off against the peer of that step.
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


def append(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows; an empty or missing file starts with the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size == 0
    if not fresh:
        with path.open(newline="") as file:
            header = tuple(next(csv.reader(file)))
        if header != columns:
            raise ValueError(f"{path} has other columns than this version writes: move the file")
    with path.open("a", newline="") as file:
        # The default line terminator of the csv module is \r\n.
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if fresh:
            writer.writeheader()
        for row in rows:
            writer.writerow({k: _cell(v) for k, v in row.items()})


def _cell(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value


def add_source_arguments(parser: argparse.ArgumentParser, *, every: bool = False) -> None:
    """Add the arguments that select the run to read; with `every`, the default is the runs of all devices."""
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    slug = None if every else device_slug(torch.device("cpu"))
    parser.add_argument("--slug", default=slug, help=f"folder of the device, default: {slug or 'every processor'}")
    parser.add_argument("--preset", default="full", help="kind of run to read, default: %(default)s")


def find(results: Path, slug: str, name: str) -> Path:
    """Return the path of a device's file of results."""
    path = results / slug / name
    if path.exists():
        return path
    others = sorted(p.parent.name for p in results.glob(f"*/{name}"))
    raise FileNotFoundError(f"no {path}; devices with a {name} in {results}: {', '.join(others) or 'none'}")


def latest(path: Path, preset: str = "full") -> list[dict[str, str]]:
    """Return the rows of the latest run of a preset; a case that was measured again later has the median over the runs.

    Memory placement differs between processes. On the smallest graphs this matters more than the error of an
    interleaved timing within one process.
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
    "break_even_calls", "gbs", "copy_gbs", "gather_gbs", "stream_gbs",
}  # fmt: skip
_VARYING = _MEASURED | {"samples", "extra_memory_bytes", "preset", "commit", "date", "note"}


def _with_repeats(row: dict[str, str], since: list[dict[str, str]]) -> dict[str, str]:
    same = [other for other in since if all(other[k] == row[k] for k in row if k not in _VARYING)]
    if not same:
        return row
    values = {k: [float(r[k]) for r in (row, *same) if r[k] not in ("", "never")] for k in _MEASURED & row.keys()}
    return row | {k: repr(statistics.median(v)) for k, v in values.items() if v}
