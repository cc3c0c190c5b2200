"""Rewrite the table of NOTES.md: predicted bytes and time of the row pass, and the times in a results.csv.

python -m benchmarks.gpu.notes [out/gpu-check/results.csv]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from ..cases.modes import FORWARD, OURS
from ..cases.traffic import gather_bytes, stream_bytes
from ..cases.workloads import SIZES

NOTES = Path(__file__).with_name("NOTES.md")
START, END = "<!-- predicted:start -->\n", "<!-- predicted:end -->"
# An H200: features that fit into the L2 cache are gathered from there (an assumption), others from memory (a measured
# copy).
CACHE_BYTES, CACHE_BYTES_PER_US, MEMORY_BYTES_PER_US = 50e6, 5.5e6, 4.3e6
SHAPES = ("cora", "arxiv", "road", "reddit", "products")
WIDTHS = (64, 128)
TYPES = {"float32": 4, "bfloat16": 2}


def moved(name: str, d: int, size: int) -> tuple[int, int]:
    """Return the bytes gathered and streamed by one row pass."""
    s = SIZES[name]
    edges = s.num_edges_pos + s.num_edges_neg
    return gather_bytes(edges, d, size), stream_bytes(s.num_nodes, edges, d, size)


def predicted_us(name: str, d: int, size: int) -> float:
    """Return the predicted time of one row pass in microseconds."""
    gather = CACHE_BYTES_PER_US if SIZES[name].num_nodes * d * size <= CACHE_BYTES else MEMORY_BYTES_PER_US
    gathered, streamed = moved(name, d, size)
    return gathered / gather + streamed / MEMORY_BYTES_PER_US


def measured(path: Path | None) -> dict[tuple[str, int, str], float]:
    """Return the measured times in microseconds by (workload, width, type)."""
    if path is None:
        return {}
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["method"] == OURS and r["mode"] == FORWARD and r["median_ms"]]
    return {(r["workload"], int(r["width"]), r["dtype"]): 1e3 * float(r["median_ms"]) for r in rows}


def table(found: dict[tuple[str, int, str], float]) -> str:
    """Return the table of NOTES.md."""
    lines = [
        "| shape | d | type | x, MB | gathered, MB | streamed, MB | gather from | predicted, us | measured, us |",
        "|---|--:|---|--:|--:|--:|---|--:|---|",
    ]
    for name in SHAPES:
        n = SIZES[name].num_nodes
        for dtype, size in TYPES.items():
            for d in WIDTHS:
                us, (gathered, streamed) = found.get((name, d, dtype)), moved(name, d, size)
                cells = [
                    name,
                    str(d),
                    dtype,
                    f"{n * d * size / 1e6:.1f}",
                    f"{gathered / 1e6:.0f}",
                    f"{streamed / 1e6:.1f}",
                    "cache" if n * d * size <= CACHE_BYTES else "memory",
                    f"{predicted_us(name, d, size):.1f}",
                    "not yet run on a GPU" if us is None else f"{us:.1f}",
                ]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    text = NOTES.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    found = measured(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    NOTES.write_text(before + START + table(found) + END + after)


if __name__ == "__main__":
    main()
