"""python -m benchmarks.render: render figures and the tables of BENCHMARKS.md, the README and docs/pages/study.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .instructions import RECORD
from .reporting import figures_resources, figures_speed, markdown, result_files, study_tables
from .reporting.devices import Device, commits, devices, measured, sections
from .reporting.markdown import NOT_RUN
from .reporting.queries import Row
from .reporting.targets import Runs

ROOT = Path(__file__).parents[1]
FIGURES: dict[str, Callable[[Sequence[Row], Path], list[Path] | None]] = {
    "speedup": figures_speed.widths,
    "degree": figures_speed.degrees,
    "roofline": figures_speed.roofline,
    "memory": figures_resources.memory,
    "scaling": figures_resources.scaling,
}


def draw(folder: Path, runs: Runs) -> tuple[list[Path], list[str]]:
    """Draw the figures into the folder; return the written files, and the names of figures without rows."""
    files, missing = [], []
    for name, figure in FIGURES.items():
        found = figure(runs.propagate, folder / name)
        missing += [] if found else [name]
        files += found or []
    found = figures_resources.depth(runs.implicit, folder / "depth") if runs.implicit else None
    return files + (found or []), missing + ([] if found else ["depth"])


def pictures(drawn: Sequence[Path], missing: Sequence[str], base: Path) -> str:
    """Return the figures as Markdown, and the names of those not yet run."""
    lines = [
        f"![{f.stem}]({f.relative_to(base).as_posix()})" for f in drawn if f.suffix == ".png" and base in f.parents
    ]
    return "\n\n".join(lines + [f"{', '.join(missing)}: {NOT_RUN}."] * bool(missing))


def every_run(results: Path) -> str:
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


# Marker in BENCHMARKS.md: the table of a device there, and the benchmark that it is made of.
TABLES: dict[str, tuple[Callable[[Sequence[Row]], str], str]] = {
    "step": (markdown.step, "propagate"),
    "methods": (markdown.methods, "propagate"),
    "others": (markdown.others, "propagate"),
    "build": (markdown.build, "build"),
    "implicit": (markdown.implicit, "implicit"),
    "layers": (markdown.implicit, "layers"),
    "reorder": (markdown.reorder, "reorder"),
}


def blocks(found: Sequence[Device], results: Path) -> dict[str, str]:
    """Return the tables of BENCHMARKS.md, except the figures, by marker."""
    tables = {"targets": sections(found, lambda _, runs: markdown.targets(runs))}
    for name in TABLES:
        tables[name] = sections(found, lambda _, runs, name=name: _table(name, runs))
    return tables | {"devices": f"{every_run(results)}\n\n{commits(found)}", "instructions": instructions()}


def _table(name: str, runs: Runs) -> str:
    table, benchmark = TABLES[name]
    rows = getattr(runs, benchmark)
    return table(rows) if rows else f"{NOT_RUN}."


def write_readme(readme: Path, found: Sequence[Device], width: str) -> None:
    """Rewrite the README's tables."""
    with_rows = [(device.name, runs) for device, runs in measured(found)]
    table = markdown.readme([(name, runs.propagate) for name, runs in with_rows], width)
    markdown.rewrite(readme, "bench", f"{table} {commits(found)}")
    parts = [f"**{name}**\n\n{markdown.implicit(runs.layers)}" for name, runs in with_rows if runs.layers]
    markdown.rewrite(readme, "layers", "\n\n".join(parts) or f"{NOT_RUN}.")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    result_files.add_source_arguments(parser, every=True)
    parser.add_argument("--width", default="128", help="width of the README's table, default: %(default)s")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of BENCHMARKS.md, README.md and docs")
    parser.add_argument("--figures-only", action="store_true", help="do not rewrite tables")
    parser.add_argument("--study", action="store_true", help="only rewrite the tables of the study")
    args = parser.parse_args(argv)
    page, readme = args.root / "BENCHMARKS.md", args.root / "README.md"
    try:
        if args.study:
            page = args.root / "docs/pages/study.md"
            markdown.rewrite(page, study_tables.BLOCK, study_tables.markdown(args.results / "study"))
            print(f"rewrote the study's tables of {page}")
            return 0
        found = devices(args.results, args.preset, args.slug)
        drawn = {device.folder: draw(device.folder, runs) for device, runs in measured(found)}
        for file in (file for files, _ in drawn.values() for file in files):
            print(f"wrote {file}")
        if not args.figures_only:
            figures = sections(found, lambda device, _: pictures(*drawn[device.folder], args.root))
            for name, table in (blocks(found, args.results) | {"figures": figures}).items():
                markdown.rewrite(page, name, table)
            write_readme(readme, found, args.width)
            print(f"rewrote the tables of {page} and {readme}")
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
