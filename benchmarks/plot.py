"""python -m benchmarks.plot: the speed-up figure and the README's table from the latest run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import records, study
from .records import MODES, OURS
from .report import number

Row = dict[str, str]

BENCH, IMPLICIT = "bench", "implicit"
README = Path(__file__).parents[1] / "README.md"

# Peers in the order of the legend; a name stands for all methods that start with it. Colours are
# of Okabe and Ito's palette, and markers differ too.
PEERS = {
    "pyg_scatter": ("PyG scatter", "#0072B2", "o"),
    "torch_sparse_pair": ("two torch.sparse products", "#E69F00", "s"),
    "merged_addmm": ("one merged torch.addmm", "#009E73", "^"),
}


def speedup(rows: Sequence[Row], peer: str, **fields: str) -> float | None:
    """Time of a peer's best variant over ours, in the case with these fields."""
    ratios = [
        float(row["ratio_to_ours"])
        for row in rows
        if row["method"].startswith(peer) and row["ratio_to_ours"] and all(row[k] == v for k, v in fields.items())
    ]
    return min(ratios, default=None)


def ordered(rows: Sequence[Row], key: str) -> list[str]:
    """Distinct values in the order of the run."""
    return list(dict.fromkeys(row[key] for row in rows))


STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "none",
    # The ids inside the file are then the same for the same rows.
    "svg.hashsalt": "sbp-kernels",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(rows: Sequence[Row], dtype: str, stem: Path) -> list[Path]:
    """Speed-up over width; a column a graph, a row a mode. Returns the files written."""
    graphs = ordered(rows, "workload")
    modes = [mode for mode in MODES if any(row["mode"] == mode for row in rows)]
    size = (2.5 * len(graphs) + 0.7, 2.0 * len(modes) + 0.9)
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(modes), len(graphs), sharex=True, sharey=True, squeeze=False)
        for i, mode in enumerate(modes):
            for j, graph in enumerate(graphs):
                case = (graph, mode, dtype)
                _panel(axes[i, j], [r for r in rows if (r["workload"], r["mode"], r["dtype"]) == case])
            axes[i, 0].set_ylabel(f"{mode}\nours faster by")
        for j, graph in enumerate(graphs):
            axes[0, j].set_title(_graph_title(next(r for r in rows if r["workload"] == graph)), fontsize=9)
            axes[-1, j].set_xlabel("features")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        labels = [f"than {label}" for label in labels]
        figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), frameon=False)
        r = rows[0]
        figure.supxlabel(
            f"{r['device']}, {r['threads']} threads, torch {r['torch']}, {dtype}, commit {r['commit']}",
            fontsize=7,
            color="0.4",
        )
        files = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
        figure.savefig(files[0], dpi=200)
        # No date inside, so that the same rows give the same file.
        figure.savefig(files[1], metadata={"Date": None})
    return files


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    widths = sorted({int(row["width"]) for row in rows})
    for peer, (label, colour, marker) in PEERS.items():
        ratios = [speedup(rows, peer, width=str(width)) for width in widths]
        values = [float("nan") if ratio is None else ratio for ratio in ratios]
        axes.plot(range(len(widths)), values, marker=marker, color=colour, label=label, markersize=4.5, linewidth=1.4)
    axes.axhline(1.0, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}×"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xticks(range(len(widths)), [str(width) for width in widths])
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _graph_title(row: Row) -> str:
    def short(count: int) -> str:
        return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k" if count >= 1e4 else str(count)

    edges = int(row["num_edges_pos"]) + int(row["num_edges_neg"])
    return f"{row['workload']}-size: {short(int(row['num_nodes']))} nodes,\n{short(edges)} edges"


def markdown(rows: Sequence[Row], width: str) -> str:
    """The README's table, for one width."""
    lines = [
        f"| graph (d = {width}) | step | type | ours, ms | "
        + " | ".join(f"faster than {label}" for label, _, _ in PEERS.values())
        + " | memory / output: ours | PyG scatter |",
        "|---|---|---|--:|" + "--:|" * len(PEERS) + "--:|--:|",
    ]
    for row in rows:
        if row["method"] != OURS or row["width"] != width:
            continue
        case = {k: row[k] for k in ("workload", "width", "dtype", "mode")}
        ratios = (speedup(rows, peer, **case) for peer in PEERS)
        cells = [row["workload"], row["mode"], row["dtype"], number(float(row["median_ms"]))]
        cells += ["–" if ratio is None else f"{ratio:.1f}×" for ratio in ratios]
        cells += [_memory(rows, method, case) for method in (OURS, "pyg_scatter")]
        lines.append(f"| {' | '.join(cells)} |")
    r = rows[0]
    return "\n".join(lines) + (
        f"\n\nMedians of runs in turns on {r['device']}, {r['threads']} threads, torch {r['torch']}, "
        f"commit {r['commit']}, {r['date'][:10]}. –: torch has no such product for this type."
    )


def _memory(rows: Sequence[Row], method: str, case: Row) -> str:
    for row in rows:
        if row["method"] == method and row["extra_memory_bytes"] and all(row[k] == v for k, v in case.items()):
            return f"{float(row['extra_memory_bytes']) / float(row['output_bytes']):.2f}×"
    return "–"


def implicit_markdown(rows: Sequence[Row]) -> str:
    """The README's table of implicit negatives and several steps."""
    lines = ["| case | nodes | d | call | ms | times the first | memory / output |", "|---|--:|--:|---|--:|--:|--:|"]
    for row in rows:
        memory = float(row["extra_memory_bytes"]) / float(row["output_bytes"])
        cells = [row["case"], f"{int(row['num_nodes']):,}", row["width"], row["call"]]
        cells += [number(float(row["median_ms"])), f"{float(row['ratio_to_first']):.2f}×", f"{memory:.2f}×"]
        lines.append(f"| {' | '.join(cells)} |")
    r = rows[0]
    return "\n".join(lines) + (
        f"\n\nMedians of runs in turns on {r['device']}, {r['threads']} threads, torch {r['torch']}, "
        f"commit {r['commit']}, {r['date'][:10]}."
    )


def rewrite(readme: Path, table: str, block: str = BENCH) -> None:
    """Put the table between the README's markers of that name."""
    start, end = f"<!-- {block}:start -->", f"<!-- {block}:end -->"
    text = readme.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"{readme} must hold {start} and, after it, {end}, once each")
    head, rest = text.split(start)
    _, tail = rest.split(end)
    readme.write_text(f"{head}{start}\n{table}\n{end}{tail}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    records.add_source_arguments(parser)
    parser.add_argument("--width", default="128", help="width of the README's table, default: %(default)s")
    parser.add_argument("--dtype", default="float32", help="type of the figure, default: %(default)s")
    parser.add_argument("--readme", type=Path, default=README, help="default: README.md of the repository")
    parser.add_argument("--no-readme", action="store_true", help="only draw the figure")
    parser.add_argument("--study", action="store_true", help="only rewrite the README's tables of the study")
    args = parser.parse_args(argv)
    try:
        if args.study:
            rewrite(args.readme, study.markdown(args.results / "study"), study.BLOCK)
            print(f"rewrote the study's tables of {args.readme}")
            return 0
        path = records.find(args.results, args.slug, "propagate.csv")
        rows = records.latest(path, args.preset)
        for file in draw(rows, args.dtype, path.with_name("speedup")):
            print(f"wrote {file}")
        if not args.no_readme:
            rewrite(args.readme, markdown(rows, args.width))
            implicit = path.with_name("implicit.csv")
            if implicit.exists():
                rewrite(args.readme, implicit_markdown(records.latest(implicit, args.preset)), IMPLICIT)
            print(f"rewrote the tables of {args.readme}")
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
