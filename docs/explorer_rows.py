"""The rows of the explorer: those of benchmarks/results, as a script, which also loads from the file system."""

from __future__ import annotations

import csv
import json
from pathlib import Path

# Columns of propagate.csv that the explorer shows.
TEXTS = ("device", "workload", "width", "dtype", "mode", "cache", "isa", "threads", "method", "commit", "torch")
NUMBERS = ("median_ms", "p20_ms", "p80_ms", "ratio_to_ours", "ratio_low", "ratio_high", "extra_memory_bytes")
DEGREES = ("num_nodes", "num_edges_pos", "num_edges_neg")


def rows(results: Path) -> list[dict[str, str | float]]:
    """Return the newest timed row of each case and method of every device."""
    newest: dict[tuple[str, ...], dict[str, str]] = {}
    for path in sorted(results.glob("*/propagate.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["preset"] == "full" and row["median_ms"]:
                    key = tuple(row[name] for name in TEXTS[:9])
                    if key not in newest or row["date"] >= newest[key]["date"]:
                        newest[key] = row
    return [_values(row) for row in newest.values()]


def _values(row: dict[str, str]) -> dict[str, str | float]:
    out: dict[str, str | float] = {name: row[name] for name in TEXTS if name != "isa"}
    if row["isa"]:
        out["method"] = f"{row['method']}, {row['isa']}"
    out |= {name: float(row[name]) for name in NUMBERS if row[name]}
    nodes, *edges = (float(row[name]) for name in DEGREES)
    return out | {"degree": round(sum(edges) / nodes, 2)}


def script(results: Path) -> str:
    """Return the rows as the JavaScript constant ROWS."""
    return f"const ROWS = {json.dumps(rows(results), separators=(',', ':'))};\n"
