"""The common style of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .queries import Row

OURS_COLOUR = "#D55E00"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "none",
    # A fixed salt gives the same ids for the same rows.
    "svg.hashsalt": "sbp-kernels",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
DASHED = (0, (4, 3))


def save(figure: Figure, rows: Sequence[Row], stem: Path, *, svg: bool = False) -> list[Path]:
    """Write the figure with a line about the run below it."""
    r = rows[0]
    run = f"{r['device']}, {r['threads']} threads, torch {r['torch']}, commit {r['commit']}, {r['date'][:10]}"
    figure.supxlabel(run, fontsize=7, color="0.4")
    files = [stem.with_suffix(".png")]
    figure.savefig(files[0], dpi=150, metadata={"Software": None})
    if svg:
        files.append(stem.with_suffix(".svg"))
        # No date, so that the same rows give the same file.
        figure.savefig(files[1], metadata={"Date": None})
    return files


def factor_axis(axes: Axes, which: str = "y") -> None:
    """Set a logarithmic axis with factors such as "2×" as labels."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axes.set_yscale("log") if which == "y" else axes.set_xscale("log")
    axis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}×"))
    axis.set_minor_locator(ticker.NullLocator())
    axes.grid(axis=which, color="0.9", linewidth=0.6)
