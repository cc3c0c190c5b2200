"""Rewrites the table of NOTES.md: predicted bytes and time of the row pass, and what a results.csv measured.

python -m benchmarks.gpu.notes [out/gpu-check/results.csv]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from .shapes import SHAPES, gathered_bytes, streamed_bytes

NOTES = Path(__file__).with_name("NOTES.md")
START, END = "<!-- predicted:start -->\n", "<!-- predicted:end -->"
# An H200: features that fit in its second-level cache are gathered from there (an assumption), the
# others from memory (a measured copy).
CACHE_BYTES, CACHE_BYTES_PER_US, MEMORY_BYTES_PER_US = 50e6, 5.5e6, 4.3e6
WIDTHS = (64, 128)
SIZES = {"float32": 4, "bfloat16": 2}


def predicted_us(name: str, d: int, size: int) -> float:
    n = SHAPES[name][0]
    gather = CACHE_BYTES_PER_US if n * d * size <= CACHE_BYTES else MEMORY_BYTES_PER_US
    return gathered_bytes(name, d, size) / gather + streamed_bytes(name, d, size) / MEMORY_BYTES_PER_US


def measured(path: Path | None) -> dict[tuple[str, int, str], float]:
    if path is None:
        return {}
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["method"] == "ours" and r["mode"] == "forward" and r["us"]]
    return {(r["shape"], int(r["d"]), r["dtype"]): float(r["us"]) for r in rows}


def table(found: dict[tuple[str, int, str], float]) -> str:
    lines = [
        "| shape | d | type | x, MB | gathered, MB | streamed, MB | gather from | predicted, us | measured, us |",
        "|---|--:|---|--:|--:|--:|---|--:|---|",
    ]
    for name, (n, *_) in SHAPES.items():
        for dtype, size in SIZES.items():
            for d in WIDTHS:
                us = found.get((name, d, dtype))
                cells = [
                    name,
                    str(d),
                    dtype,
                    f"{n * d * size / 1e6:.1f}",
                    f"{gathered_bytes(name, d, size) / 1e6:.0f}",
                    f"{streamed_bytes(name, d, size) / 1e6:.1f}",
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
