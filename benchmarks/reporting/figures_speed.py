"""Figures of speedup and bandwidth; each returns None if its rows are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..cases.modes import FORWARD, MODES, OURS
from .figure_style import DASHED, OURS_COLOUR, STYLE, factor_axis, save
from .peers import measured_peers
from .queries import Row, against, case_of, chosen, distinct, mean_degree, share_of_roofline


def widths(rows: Sequence[Row], stem: Path, dtype: str = "float32") -> list[Path] | None:
    """Plot speedup over width: one column per graph measured at several widths, one row per mode."""
    rows = chosen(rows, dtype=dtype)
    names = [g for g in distinct(rows, "workload") if len({r["width"] for r in rows if r["workload"] == g}) > 1]
    names.sort(key=lambda g: next(int(r["num_nodes"]) for r in rows if r["workload"] == g))
    modes = [mode for mode in MODES if any(row["mode"] == mode for row in rows)]
    if not names:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(2.5 * len(names) + 0.7, 2.0 * len(modes) + 0.9), layout="constrained")
        axes = figure.subplots(len(modes), len(names), sharex=True, sharey=True, squeeze=False)
        every = sorted({int(row["width"]) for row in rows if row["workload"] in names})
        peers = measured_peers(row for row in rows if row["workload"] in names)
        for i, mode in enumerate(modes):
            for j, name in enumerate(names):
                _width_panel(axes[i, j], chosen(rows, workload=name, mode=mode), every, peers)
            axes[i, 0].set_ylabel(f"{mode}\nours faster by")
        for j, name in enumerate(names):
            axes[0, j].set_title(_graph_title(next(r for r in rows if r["workload"] == name)), fontsize=9)
            axes[-1, j].set_xlabel("features")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        labels = [f"than {label}" for label in labels]
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        return save(figure, rows, stem, svg=True)


def _width_panel(axes: Axes, rows: Sequence[Row], every: Sequence[int], peers: dict[str, tuple[str, str, str]]) -> None:
    for peer, (label, colour, marker) in peers.items():
        found = {int(r.row["width"]): r.value for r in against(rows, peer)}
        # The line of a peer skips widths at which it was not measured.
        places = [i for i, width in enumerate(every) if width in found]
        values = [found[every[i]] for i in places]
        axes.plot(places, values, marker=marker, color=colour, label=label, markersize=4.5, linewidth=1.4)
    axes.axhline(1.0, color="0.4", linewidth=0.8, linestyle=DASHED)
    factor_axis(axes)
    axes.set_xticks(range(len(every)), [str(width) for width in every])


def _graph_title(row: Row) -> str:
    def short(count: int) -> str:
        return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k" if count >= 1e4 else str(count)

    edges = int(row["num_edges_pos"]) + int(row["num_edges_neg"])
    return f"{row['workload']}-size: {short(int(row['num_nodes']))} nodes,\n{short(edges)} edges"


def degrees(rows: Sequence[Row], stem: Path) -> list[Path] | None:
    """Plot forward speedup by mean degree at 64 features: lines if only the degree varies, points for graphs."""
    rows = chosen(rows, width="64", dtype="float32", mode=FORWARD)
    if len(distinct(rows, "workload")) < 4:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.1), layout="constrained")
        axes = figure.subplots()
        peers = measured_peers(rows)
        for peer, (label, colour, marker) in peers.items():
            found = sorted(against(rows, peer), key=lambda r: mean_degree(r.row))
            swept = [r for r in found if r.row["workload"].startswith("degree-")]
            axes.plot([mean_degree(r.row) for r in swept], [r.value for r in swept], color=colour, linewidth=1.2)
            bounds = [[abs(r.value - float(r.row[k] or r.value)) for r in found] for k in ("ratio_low", "ratio_high")]
            place = [mean_degree(r.row) for r in found], [r.value for r in found]
            axes.errorbar(*place, yerr=bounds, fmt=marker, color=colour, label=f"than {label}", ms=4, elinewidth=0.8)
        # Vertical labels below the points: graphs with similar degrees are close together.
        ratios = [r for peer in peers for r in against(rows, peer)]
        graphs = {r.row["workload"]: mean_degree(r.row) for r in ratios if not r.row["workload"].startswith("degree-")}
        place = 0.0
        for name, degree in sorted(graphs.items(), key=lambda entry: entry[1]):
            place = max(degree, 1.11 * place)
            at = {"x": place, "y": 0.02, "transform": axes.get_xaxis_transform()}
            axes.text(s=name, **at, fontsize=7, rotation=90, ha="center", va="bottom", color="0.3")
        axes.axhline(1.0, color="0.4", linewidth=0.8, linestyle=DASHED)
        factor_axis(axes)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        axes.set_xlabel("edges per node (lines: power-law graphs of varying degree)")
        axes.set_ylabel("ours faster by\n(float32, 64 features, forward)")
        # Room below the line of 1 for the labels.
        axes.set_ylim(bottom=0.3)
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        return save(figure, rows, stem)


def roofline(rows: Sequence[Row], stem: Path) -> list[Path] | None:
    """Plot the share of the roofline over the size of x, for ours and the peers."""
    rows = chosen(rows, mode=FORWARD, dtype="float32")
    shares = [(row, share) for row in rows if (share := share_of_roofline(row)) is not None]
    if not any(row["method"] == OURS for row, _ in shares):
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(100, color="0.4", linewidth=1, linestyle=DASHED)
        for method, (label, colour, marker) in {
            **measured_peers(r for r, _ in shares),
            OURS: ("ours", OURS_COLOUR, "D"),
        }.items():
            best: dict[tuple[str, ...], tuple[float, float]] = {}
            for row, share in shares:
                if row["method"].startswith(method):
                    at = float(row["output_bytes"]) / 1e6, 100 * share
                    best[case_of(row)] = max(at, best.get(case_of(row), at))
            axes.plot(*zip(*best.values(), strict=True), marker, color=colour, ms=4, label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        axes.set_ylim(bottom=0)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_xlabel("x, MB (float32, forward)")
        axes.set_ylabel("share of the roofline, %")
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        return save(figure, rows, stem)
