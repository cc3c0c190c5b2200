"""python -m benchmarks.plot: figures, and the tables of BENCHMARKS.md and the README, from the latest runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import check_targets, figures, figures_more, records, study, tables
from .instructions import RECORD
from .questions import Row
from .records import NOT_RUN

ROOT = Path(__file__).parents[1]
FIGURES: dict[str, Callable[[Sequence[Row], Path], list[Path] | None]] = {
    "speedup": figures.widths,
    "degree": figures.degrees,
    "roofline": figures.roofline,
    "memory": figures_more.memory,
    "scaling": figures_more.scaling,
}


def draw(folder: Path, propagate: Sequence[Row], implicit: Sequence[Row]) -> tuple[list[Path], list[str]]:
    """Draw what there are rows for into the folder; the files written, and the names of the others."""
    files, missing = [], []
    for name, figure in FIGURES.items():
        found = figure(propagate, folder / name)
        missing += [] if found else [name]
        files += found or []
    found = figures_more.depth(implicit, folder / "depth") if implicit else None
    return files + (found or []), missing + ([] if found else ["depth"])


def pictures(drawn: Sequence[Path], missing: Sequence[str], base: Path) -> str:
    """The figures as Markdown, and the names of those not yet run."""
    lines = [
        f"![{f.stem}]({f.relative_to(base).as_posix()})" for f in drawn if f.suffix == ".png" and base in f.parents
    ]
    return "\n\n".join(lines + [f"{', '.join(missing)}: {NOT_RUN}."] * bool(missing))


def devices(results: Path) -> str:
    """Every device with rows, its latest runs; and the kinds that have none."""
    lines = []
    for path in sorted(results.glob("*/propagate.csv")):
        for preset in ("full", "gpu", "quick"):
            try:
                rows = records.latest(path, preset)
            except ValueError:
                continue
            r = rows[0]
            lines.append([r["device"], preset, str(len(rows)), r["driver"] or "–", r["torch"], r["commit"], r["date"]])
    if not any(cells[3] not in ("–", "none") for cells in lines):
        lines.append(["NVIDIA GPU", "gpu", NOT_RUN, "–", "–", "–", "–"])
    return tables.grid("device | preset | rows: | driver | torch | commit | date", lines)


def instructions(record: Path = RECORD) -> str:
    """The counts on record."""
    found = json.loads(record.read_text()) if record.exists() else {}
    lines = [
        [isa, f"`{name}`", f"{count:,}", entry["compiler"]]
        for isa, entry in found.items()
        for name, count in sorted(entry["counts"].items())
    ]
    return tables.grid("instructions | kernel | a round: | compiler", lines)


def blocks(folder: Path, runs: check_targets.Runs, preset: str) -> dict[str, str]:
    """The tables of BENCHMARKS.md but for the figures, by marker."""
    found = {
        "targets": tables.targets(runs),
        "step": tables.step(runs.propagate),
        "methods": tables.methods(runs.propagate),
        "others": tables.others(runs.propagate),
        "build": tables.build(runs.build) if runs.build else f"{NOT_RUN}.",
        "devices": devices(folder.parent),
        "instructions": instructions(),
    }
    for name, table in (("implicit", tables.implicit), ("layers", tables.implicit), ("reorder", tables.reorder)):
        rows = _latest(folder / f"{name}.csv", preset)
        found[name] = table(rows) if rows else f"{NOT_RUN}."
    return found


def _latest(path: Path, preset: str) -> list[Row]:
    try:
        return records.latest(path, preset)
    except (FileNotFoundError, ValueError):
        return []


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    records.add_source_arguments(parser)
    parser.add_argument("--width", default="128", help="width of the README's table, default: %(default)s")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of BENCHMARKS.md and README.md")
    parser.add_argument("--figures-only", action="store_true", help="rewrite no table")
    parser.add_argument("--study", action="store_true", help="only rewrite the README's tables of the study")
    args = parser.parse_args(argv)
    try:
        if args.study:
            tables.rewrite(args.root / "README.md", study.BLOCK, study.markdown(args.results / "study"))
            print(f"rewrote the study's tables of {args.root / 'README.md'}")
            return 0
        folder = records.find(args.results, args.slug, "propagate.csv").parent
        runs = check_targets.read(args.results, args.slug, args.preset)
        drawn, missing = draw(folder, runs.propagate, _latest(folder / "implicit.csv", args.preset))
        for file in drawn:
            print(f"wrote {file}")
        if not args.figures_only:
            found = blocks(folder, runs, args.preset)
            page, readme = args.root / "BENCHMARKS.md", args.root / "README.md"
            for name, table in (found | {"figures": pictures(drawn, missing, args.root)}).items():
                tables.rewrite(page, name, table)
            tables.rewrite(readme, "bench", tables.readme(runs.propagate, args.width))
            # The reasons of what cannot run stand on the page only.
            timed = [row for row in _latest(folder / "implicit.csv", args.preset) if row["median_ms"]]
            tables.rewrite(readme, "implicit", tables.implicit(timed) if timed else found["implicit"])
            print(f"rewrote the tables of {page} and {readme}")
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
