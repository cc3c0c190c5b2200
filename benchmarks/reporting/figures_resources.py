"""Figures of depth, memory and scaling; each returns None if its rows are missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context, ticker
from matplotlib.figure import Figure

from ..cases.modes import FORWARD, OURS
from .figure_style import DASHED, OURS_COLOUR, STYLE, factor_axis, save
from .peers import measured_peers
from .queries import Row, chosen, distinct

# Calls of several steps: label, colour, marker.
LOOPS = {
    "one call": ("ours, one call", OURS_COLOUR, "D"),
    "one call per step": ("ours, one call per step", "#CC79A7", "v"),
    "merged addmm, loop": ("merged addmm, loop", "#009E73", "^"),
    "PyG scatter, loop": ("PyG scatter, loop", "#0072B2", "o"),
    "PyG scatter, compiled loop": ("PyG scatter, torch.compile", "#56B4E9", "s"),
}


def depth(rows: Sequence[Row], stem: Path) -> list[Path] | None:
    """Plot the time per step over the number of steps, at Cora's size with 64 features."""
    rows = [r for r in rows if r["width"] == "64" and re.fullmatch(r"cora, K = \d+", r["case"]) and r["median_ms"]]
    if len({r["case"] for r in rows}) < 2:
        return None
    num_steps = lambda r: int(r["case"].split("= ")[1])  # noqa: E731
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for call, (label, colour, marker) in LOOPS.items():
            found = sorted((r for r in rows if r["call"] == call), key=num_steps)
            steps = [num_steps(r) for r in found]
            each = [1e3 * float(r["median_ms"]) / k for r, k in zip(found, steps, strict=True)]
            axes.plot(steps, each, marker=marker, color=colour, label=label, markersize=4.5, linewidth=1.3)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        ticks = sorted({num_steps(r) for r in rows})
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_xlabel("steps K (cora-size, 64 features, float32)")
        axes.set_ylabel("µs per step")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        return save(figure, rows, stem)


def memory(rows: Sequence[Row], stem: Path) -> list[Path] | None:
    """Plot the peak extra memory of a forward pass over the size of the result, by graph."""
    rows = [r for r in chosen(rows, mode=FORWARD, dtype="float32") if r["extra_memory_bytes"]]
    rows = [r for r in rows if not r["workload"].startswith("degree-")]
    rows = [r for r in rows if r["width"] == "64"] or rows
    methods = {OURS: ("ours", OURS_COLOUR, "D"), **measured_peers(rows)}
    names = [g for g in distinct(rows, "workload") if any(r["workload"] == g and r["method"] != OURS for r in rows)]
    if not names:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.5, 0.75 * len(names) + 1.5), 3.6), layout="constrained")
        axes = figure.subplots()
        bar = 0.8 / len(methods)
        for i, (method, (label, colour, _)) in enumerate(methods.items()):
            found: dict[str, float] = {}
            for r in rows:
                if r["method"].startswith(method):
                    ratio = float(r["extra_memory_bytes"]) / float(r["output_bytes"])
                    found[r["workload"]] = min(ratio, found.get(r["workload"], ratio))
            places = [j for j, name in enumerate(names) if name in found]
            heights = [found[names[j]] for j in places]
            offset = (i - (len(methods) - 1) / 2) * bar
            axes.bar([j + offset for j in places], heights, bar * 0.92, color=colour, label=label)
        axes.axhline(1.0, color="0.4", linewidth=0.8, linestyle=DASHED)
        factor_axis(axes)
        axes.set_ylim(bottom=0.7)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_ylabel("peak extra memory / result")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        return save(figure, rows, stem)


def scaling(rows: Sequence[Row], stem: Path) -> list[Path] | None:
    """Plot the speed of ours on fewer threads or older instruction sets, relative to the usual setting."""
    others = [r for r in rows if r["method"] == OURS and r["ratio_low"] and r["cache"] != "cold"]
    if not others:
        return None
    usual = {r["isa"] for r in chosen(rows, method=OURS)}
    label = lambda r: r["isa"] if r["isa"] not in usual else f"{r['threads']} thread"  # noqa: E731
    kinds, cases = list(dict.fromkeys(map(label, others))), _cases(others)
    palette = dict(zip(kinds, ("#0072B2", "#E69F00", "#009E73", "#CC79A7"), strict=False))
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.5, 1.1 * len(cases) + 1.2), 3.4), layout="constrained")
        axes = figure.subplots()
        bar = 0.8 / len(kinds)
        for i, kind in enumerate(kinds):
            found = {_case(r): 1 / float(r["ratio_to_ours"]) for r in others if label(r) == kind}
            places = [j for j, case in enumerate(cases) if case in found]
            heights = [found[cases[j]] for j in places]
            offset = (i - (len(kinds) - 1) / 2) * bar
            drawn = axes.bar([j + offset for j in places], heights, bar * 0.92, color=palette[kind], label=kind)
            axes.bar_label(drawn, fmt="%.2f", fontsize=7)
        axes.axhline(1.0, color="0.4", linewidth=0.8, linestyle=DASHED)
        axes.set_xticks(range(len(cases)), cases)
        axes.set_ylabel(f"speed / that of {rows[0]['threads']} threads, {', '.join(sorted(usual))}")
        figure.legend(loc="outside upper center", ncols=len(kinds), frameon=False)
        return save(figure, rows, stem)


def _case(row: Row) -> str:
    return f"{row['workload']}\nd={row['width']}"


def _cases(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(_case(row) for row in rows))
