"""The figure of a depth study: accuracy, Dirichlet energy and effective rank against depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .models import MODELS
from .result import Result

# Okabe and Ito's palette stays apart under colour blindness; its black and yellow are left out.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "sbp",
}
# A quantity that spans more than this is drawn on a logarithmic axis.
_LOG_SPAN = 100.0


def save_figure(results: Sequence[Result], stem: Path) -> None:
    """Draw the study and write it as `stem`.png and `stem`.svg; metrics have panels where measured."""
    metrics: list[tuple[str, Callable[[Result], float | None]]] = []
    if results[0].energies:
        metrics = [("Dirichlet energy", lambda r: r.dirichlet_energy), ("effective rank", lambda r: r.effective_rank)]
    with matplotlib.rc_context(_STYLE):
        width = 9.6 if metrics else 4.4
        figure = Figure(figsize=(width, 3.2), layout="constrained")
        first, *others = figure.subplots(1, 1 + len(metrics), squeeze=False)[0]
        for label in dict.fromkeys(r.label for r in results):
            curve = [r for r in results if r.label == label]
            _draw_accuracy(first, curve)
            for axes, (_, value) in zip(others, metrics, strict=True):
                _draw_metric(axes, curve, value)
        first.set_ylabel(f"test accuracy on {results[0].config.dataset} (%)")
        for axes, (name, value) in zip(others, metrics, strict=True):
            axes.set_ylabel(name)
            _metric_axis(axes, [value(r) for r in results])
        for axes in (first, *others):
            _depth_axis(axes, sorted({r.config.layers for r in results}))
        columns = 4 if metrics else 2
        figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=columns, frameon=False)
        figure.savefig(stem.with_suffix(".png"), dpi=200)
        # A date in the file would make every run's figure differ.
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})


def _draw_accuracy(axes: Axes, curve: Sequence[Result]) -> None:
    """Draw the mean and a band of one standard deviation over runs; diverged depths are left out."""
    style = _style(curve[0])
    scored = [(r.config.layers, *spread) for r in curve if (spread := r.accuracy())]
    layers, mean, std = zip(*scored, strict=True) if scored else ((), (), ())
    axes.plot(layers, mean, label=_legend(curve), **style)
    low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
    axes.fill_between(layers, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _draw_metric(axes: Axes, curve: Sequence[Result], value: Callable[[Result], float | None]) -> None:
    points = [(r.config.layers, v) for r in curve if (v := value(r)) is not None]
    axes.plot(*zip(*points, strict=True) if points else ((), ()), **_style(curve[0]))


def _metric_axis(axes: Axes, values: Sequence[float | None]) -> None:
    drawn = [v for v in values if v is not None]
    if min(drawn, default=0.0) > 0 and max(drawn) > _LOG_SPAN * min(drawn):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _style(result: Result) -> dict[str, Any]:
    """Return one colour and marker a model; its ablation is dashed and hollow."""
    place = list(MODELS).index(result.config.model)
    colour = _COLOURS[place % len(_COLOURS)]
    style = {"color": colour, "marker": _MARKERS[place % len(_MARKERS)], "markersize": 4.5, "linewidth": 1.4}
    if result.label != result.config.model:
        style |= {"linestyle": (0, (4, 2)), "markerfacecolor": "white"}
    return style


def _legend(curve: Sequence[Result]) -> str:
    """Return the label, with lambda or the range that its depths take it through."""
    name = curve[0].label.replace("beta=0", r"$\beta$ = 0")
    lams = [f"{r.config.lam:g}" for r in curve if r.config.lam is not None]
    return name + (rf", $\lambda$ = {' to '.join(dict.fromkeys((lams[0], lams[-1])))}" if lams else "")


def _depth_axis(axes: Axes, depths: Sequence[int]) -> None:
    # Depth 0 has no logarithm; symlog keeps it, linear below 1.
    if depths[0] == 0:
        axes.set_xscale("symlog", linthresh=1)
    else:
        axes.set_xscale("log")
    axes.set_xticks(depths, [str(n) for n in depths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("propagation steps")
