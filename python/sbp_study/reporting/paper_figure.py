"""Draw a table or figure of the paper: curves, pairs of dots, or embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..paper.cell_values import Outcome
from ..paper.table_plan import Plan
from .study_figure import COLORS, MARKERS, STYLE, write

_ABLATED = ", beta=0"
_PAPER, _OURS = "paper", "ours"


def draw(plan: Plan, outcomes: Sequence[Outcome], stem: Path) -> None:
    """Write `stem`.png and `stem`.svg. The paper's markers are hollow, ours are filled."""
    with matplotlib.rc_context(STYLE):
        if plan.measure == "embedding":
            figure = _embeddings(outcomes)
        elif plan.axis:
            figure = _curves(plan, outcomes)
        else:
            figure = _pairs(plan, outcomes)
        write(figure, stem)


def _curves(plan: Plan, outcomes: Sequence[Outcome]) -> Figure:
    """Return a figure with one panel per panel of the plan and one curve per row."""
    panels = list(dict.fromkeys(o.cell.panel for o in outcomes))
    wide = min(len(panels), 3)
    high = math.ceil(len(panels) / wide)
    labels = list(dict.fromkeys(o.cell.row for o in outcomes))
    figure = Figure(figsize=(3.6 * wide + 2.2, max(2.9 * high, 0.2 * len(labels) + 0.9)), layout="constrained")
    grid = figure.subplots(high, wide, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        here = [o for o in outcomes if o.cell.panel == panel]
        _panel(axes, here, labels)
        axes.set_title(panel, fontsize=9)
        axes.set_xlabel(_axis_name(plan, panel))
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[::wide]:
        axes.set_ylabel(plan.unit)
    handles = {label: line for axes in grid for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if any(o.cell.paper is not None for o in outcomes):
        handles["the paper"] = Line2D([], [], color="0.4", marker="o", markerfacecolor="white", linestyle=":")
    figure.legend(handles.values(), handles, loc="outside right upper", frameon=False)
    return figure


def _axis_name(plan: Plan, panel: str) -> str:
    if plan.axis == "value":
        return panel.split(" by ")[-1]
    return "layers" if plan.axis == "layers" else plan.axis


def _panel(axes: Axes, outcomes: Sequence[Outcome], labels: Sequence[str]) -> None:
    columns = list(dict.fromkeys(o.cell.column for o in outcomes))
    for row in dict.fromkeys(o.cell.row for o in outcomes):
        style = _style(row, labels)
        own = [(columns.index(o.cell.column), o) for o in outcomes if o.cell.row == row]
        ours = [(x, o.value, o.std or 0.0) for x, o in own if o.value is not None]
        if ours:
            x, mean, std = (list(part) for part in zip(*ours, strict=True))
            axes.plot(x, mean, label=row.replace(_ABLATED, r", $\beta$ = 0"), **style)
            low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)
        printed = [(x, o.cell.paper) for x, o in own if isinstance(o.cell.paper, float)]
        if printed:
            hollow = {**style, "linestyle": ":", "markerfacecolor": "white", "linewidth": 1.0}
            axes.plot(*zip(*printed, strict=True), **hollow)
    axes.set_xticks(range(len(columns)), columns)


def _style(row: str, labels: Sequence[str]) -> dict[str, Any]:
    """Return the color and marker of a model. Its ablation has the same, with a dashed line and a smaller marker."""
    whole = row.replace(_ABLATED, "")
    names = list(dict.fromkeys(label.replace(_ABLATED, "") for label in labels))
    place = names.index(whole)
    style: dict[str, Any] = {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)]}
    style |= {"markersize": 4.5, "linewidth": 1.4}
    return style | ({"linestyle": (0, (4, 2)), "markersize": 2.5, "linewidth": 1.0} if row != whole else {})


def _pairs(plan: Plan, outcomes: Sequence[Outcome]) -> Figure:
    """Return a figure with one panel per column: in each row, a hollow dot for the paper and a filled one for ours."""
    columns = list(dict.fromkeys(o.cell.column for o in outcomes))
    names = list(dict.fromkeys(o.cell.row for o in outcomes))
    wide = min(len(columns), 4)
    high = math.ceil(len(columns) / wide)
    size = (2.3 * wide + 1.4, high * (0.21 * len(names) + 0.8) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(high, wide, squeeze=False, sharey=True).ravel()
    for axes, column in zip(grid, columns, strict=False):
        for o in (o for o in outcomes if o.cell.column == column):
            y, paper = names.index(o.cell.row), o.cell.paper
            if isinstance(paper, float) and o.value is not None:
                axes.plot([paper, o.value], [y, y], color="0.7", linewidth=1.2, zorder=1)
            if isinstance(paper, float):
                axes.scatter([paper], [y], s=42, facecolor="white", edgecolor=COLORS[1], label=_PAPER, zorder=2)
            if o.value is not None:
                axes.errorbar([o.value], [y], xerr=o.std, fmt="o", color=COLORS[0], markersize=4.5, label=_OURS)
        axes.set_title(column, fontsize=9)
    for axes in grid[len(columns) :]:
        axes.set_axis_off()
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel(plan.unit, fontsize=9)
    handles = {label: line for axes in grid for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _embeddings(outcomes: Sequence[Outcome]) -> Figure:
    """Return a figure with one row of panels per model and one column per depth: embedded nodes, colored by class."""
    rows = list(dict.fromkeys((o.cell.panel, o.cell.row) for o in outcomes))
    columns = list(dict.fromkeys(o.cell.column for o in outcomes))
    figure = Figure(figsize=(2.1 * len(columns) + 0.5, 2.1 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
    for o in outcomes:
        axes = grid[rows.index((o.cell.panel, o.cell.row)), columns.index(o.cell.column)]
        if o.points:
            x, y, classes = zip(*o.points, strict=True)
            size = 9 if len(x) < 1000 else 2
            axes.scatter(x, y, s=size, c=[COLORS[c % len(COLORS)] for c in classes], linewidths=0)
        value = "" if o.value is None else f", silhouette {o.value:.2f}"
        axes.set_title(f"{o.cell.column} layers{value}", fontsize=8)
    for axes, (panel, row) in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(f"{panel}, {row}")
    return figure
