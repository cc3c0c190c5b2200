"""python -m benchmarks.render: render figures and the tables of BENCHMARKS.md, the README and docs/pages/study.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .instructions import RECORD
from .reporting import figures_resources, figures_speed, markdown, result_files, study_tables, targets
from .reporting.markdown import NOT_RUN
from .reporting.queries import Row

ROOT = Path(__file__).parents[1]
FIGURES: dict[str, Callable[[Sequence[Row], Path], list[Path] | None]] = {
    "speedup": figures_speed.widths,
    "degree": figures_speed.degrees,
    "roofline": figures_speed.roofline,
    "memory": figures_resources.memory,
    "scaling": figures_resources.scaling,
}


def draw(folder: Path, propagate: Sequence[Row], implicit: Sequence[Row]) -> tuple[list[Path], list[str]]:
    """Draw the figures into the folder; return the written files, and the names of figures without rows."""
    files, missing = [], []
    for name, figure in FIGURES.items():
        found = figure(propagate, folder / name)
        missing += [] if found else [name]
        files += found or []
    found = figures_resources.depth(implicit, folder / "depth") if implicit else None
    return files + (found or []), missing + ([] if found else ["depth"])


def pictures(drawn: Sequence[Path], missing: Sequence[str], base: Path) -> str:
    """Return the figures as Markdown, and the names of those not yet run."""
    lines = [
        f"![{f.stem}]({f.relative_to(base).as_posix()})" for f in drawn if f.suffix == ".png" and base in f.parents
    ]
    return "\n\n".join(lines + [f"{', '.join(missing)}: {NOT_RUN}."] * bool(missing))


def devices(results: Path) -> str:
    """Return the table of the latest runs of every device, and of devices that are not yet run."""
    lines = []
    for path in sorted(results.glob("*/propagate.csv")):
        for preset in ("full", "gpu", "quick"):
            try:
                rows = result_files.latest(path, preset)
            except ValueError:
                continue
            r = rows[0]
            lines.append([r["device"], preset, str(len(rows)), r["driver"] or "–", r["torch"], r["commit"], r["date"]])
    if not any(cells[3] not in ("–", "none") for cells in lines):
        lines.append(["NVIDIA GPU", "gpu", NOT_RUN, "–", "–", "–", "–"])
    return markdown.grid("device | preset | rows: | driver | torch | commit | date", lines)


def instructions(record: Path = RECORD) -> str:
    """Return the table of the recorded instruction counts."""
    found = json.loads(record.read_text()) if record.exists() else {}
    lines = [
        [isa, f"`{name}`", f"{count:,}", entry["compiler"]]
        for isa, entry in found.items()
        for name, count in sorted(entry["counts"].items())
    ]
    return markdown.grid("instruction set | kernel | instructions: | compiler", lines)


def blocks(folder: Path, runs: targets.Runs, preset: str) -> dict[str, str]:
    """Return the tables of BENCHMARKS.md, except the figures, by marker."""
    found = {
        "targets": markdown.targets(runs),
        "step": markdown.step(runs.propagate),
        "methods": markdown.methods(runs.propagate),
        "others": markdown.others(runs.propagate),
        "build": markdown.build(runs.build) if runs.build else f"{NOT_RUN}.",
        "devices": devices(folder.parent),
        "instructions": instructions(),
    }
    for name, table in (("implicit", markdown.implicit), ("layers", markdown.implicit), ("reorder", markdown.reorder)):
        rows = _latest(folder / f"{name}.csv", preset)
        found[name] = table(rows) if rows else f"{NOT_RUN}."
    return found


def _latest(path: Path, preset: str) -> list[Row]:
    try:
        return result_files.latest(path, preset)
    except (FileNotFoundError, ValueError):
        return []


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    result_files.add_source_arguments(parser)
    parser.add_argument("--width", default="128", help="width of the README's table, default: %(default)s")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of BENCHMARKS.md, README.md and docs")
    parser.add_argument("--figures-only", action="store_true", help="do not rewrite tables")
    parser.add_argument("--study", action="store_true", help="only rewrite the tables of the study")
    args = parser.parse_args(argv)
    try:
        if args.study:
            page = args.root / "docs/pages/study.md"
            markdown.rewrite(page, study_tables.BLOCK, study_tables.markdown(args.results / "study"))
            print(f"rewrote the study's tables of {page}")
            return 0
        folder = result_files.find(args.results, args.slug, "propagate.csv").parent
        runs = targets.read(args.results, args.slug, args.preset)
        drawn, missing = draw(folder, runs.propagate, _latest(folder / "implicit.csv", args.preset))
        for file in drawn:
            print(f"wrote {file}")
        if not args.figures_only:
            found = blocks(folder, runs, args.preset)
            page, readme = args.root / "BENCHMARKS.md", args.root / "README.md"
            for name, table in (found | {"figures": pictures(drawn, missing, args.root)}).items():
                markdown.rewrite(page, name, table)
            markdown.rewrite(readme, "bench", markdown.readme(runs.propagate, args.width))
            markdown.rewrite(readme, "layers", found["layers"])
            print(f"rewrote the tables of {page} and {readme}")
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
