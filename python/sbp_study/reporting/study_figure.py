"""Draw a study: accuracy, Dirichlet energy and effective rank against depth or another setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..training.files import atomic
from ..training.result import Result

# The palette of Okabe and Ito, without its yellow: it can be distinguished with color blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X<>hd"
STYLE: dict[Any, Any] = {
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
_ABLATED = ", beta=0"
# A quantity whose largest value exceeds this multiple of its smallest is drawn on a logarithmic axis.
_LOG_SPAN = 100.0


def save_figure(results: Sequence[Result], stem: Path, axis: str = "layers") -> None:
    """Draw the study against the setting `axis` into `stem`.png and `stem`.svg, with one panel per measured metric."""
    metrics: list[tuple[str, Callable[[Result], float | None]]] = []
    if results[0].has_metrics:
        metrics = [("Dirichlet energy", lambda r: r.dirichlet_energy), ("effective rank", lambda r: r.effective_rank)]
    labels = list(dict.fromkeys(_curve(r, axis) for r in results))
    with matplotlib.rc_context(STYLE):
        width = 9.6 if metrics else 4.4
        figure = Figure(figsize=(width, 3.2), layout="constrained")
        first, *others = figure.subplots(1, 1 + len(metrics), squeeze=False)[0]
        places = _Axis(axis, results)
        for rank, label in enumerate(labels):
            curve = [r for r in results if _curve(r, axis) == label]
            style = _style(rank, label, labels)
            _draw_accuracy(first, curve, places, style)
            for axes, (_, value) in zip(others, metrics, strict=True):
                points = [(x, v) for r in curve if (v := value(r)) is not None for x in places.of(r)]
                axes.plot(*zip(*points, strict=True) if points else ((), ()), **style)
        first.set_ylabel(f"test accuracy on {results[0].config.dataset} (%)")
        for axes, (name, value) in zip(others, metrics, strict=True):
            axes.set_ylabel(name)
            _metric_axis(axes, [value(r) for r in results])
        for axes in (first, *others):
            places.draw(axes)
        # A long legend is placed beside the panels, where it does not reduce their height.
        few = len(labels) <= (8 if metrics else 4)
        handles, names = first.get_legend_handles_labels()
        if few:
            figure.legend(handles, names, loc="outside upper center", ncols=4 if metrics else 2, frameon=False)
        else:
            figure.legend(handles, names, loc="outside right center", frameon=False)
            figure.set_size_inches(width + 1.8, max(3.2, 0.22 * len(labels) + 0.6))
        write(figure, stem)


def write(figure: Figure, stem: Path) -> None:
    """Write a figure as `stem`.png and `stem`.svg. The same figure gives the same bytes."""
    # A date in the file would make the figures of two runs differ.
    for kind, options in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
        with atomic(stem.with_suffix(f".{kind}")) as file:
            figure.savefig(file, format=kind, **options)


class _Axis:
    """The horizontal axis: logarithmic for depths and wide ranges, linear for other numbers, categorical for words."""

    def __init__(self, name: str, results: Sequence[Result]) -> None:
        self.name = name
        self.values = list(dict.fromkeys(v for r in results if (v := getattr(r.config, name)) is not None))
        self.numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.values)
        if self.numbers:
            self.values.sort()

    def of(self, result: Result) -> list[float]:
        """Return the positions of a result: all of them if its model does not have the setting."""
        value = getattr(result.config, self.name)
        found = self.values if value is None else [value]
        return list(found) if self.numbers else [self.values.index(v) for v in found]

    def draw(self, axes: Axes) -> None:
        ticks, low = self.values if self.numbers else range(len(self.values)), None
        if self.numbers:
            low = min((v for v in self.values if v > 0), default=None)
        if low is not None and self.values[0] >= 0 and (self.name == "layers" or self.values[-1] >= 50 * low):
            # 0 has no logarithm; symlog is linear below the smallest positive value.
            axes.set_xscale("symlog", linthresh=low) if self.values[0] == 0 else axes.set_xscale("log")
        axes.set_xticks(list(ticks), [f"{v:g}" if self.numbers else str(v) for v in self.values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("propagation steps" if self.name == "layers" else self.name.replace("_", " "))


def _draw_accuracy(axes: Axes, curve: Sequence[Result], places: _Axis, style: dict[str, Any]) -> None:
    """Draw the mean and a band of one standard deviation over runs, without diverged points."""
    scored = [(x, *spread) for r in curve if (spread := r.accuracy()) for x in places.of(r)]
    x, mean, std = zip(*scored, strict=True) if scored else ((), (), ())
    axes.plot(x, mean, label=_legend(curve), **style)
    low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=style["color"], alpha=0.14, linewidth=0)


def _metric_axis(axes: Axes, values: Sequence[float | None]) -> None:
    drawn = [v for v in values if v is not None]
    if min(drawn, default=0.0) > 0 and max(drawn) > _LOG_SPAN * min(drawn):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _curve(result: Result, axis: str) -> str:
    """Return the curve of a result. In a sweep over beta, beta = 0 is a point of the curve, otherwise an ablation."""
    return result.label.replace(_ABLATED, "") if axis == "beta" else result.label


def _style(rank: int, label: str, labels: Sequence[str]) -> dict[str, Any]:
    """Return the color and marker of a model. Its ablation has the same, with a dashed line and a hollow marker."""
    whole = label.replace(_ABLATED, "")
    place = labels.index(whole) if whole in labels else rank
    style: dict[str, Any] = {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)]}
    style |= {"markersize": 4.5, "linewidth": 1.4}
    if label != whole:
        style |= {"linestyle": (0, (4, 2)), "markerfacecolor": "white"}
    return style


def _legend(curve: Sequence[Result]) -> str:
    """Return the label, with lambda or the range of lambda over the depths."""
    name = curve[0].label.replace("beta=0", r"$\beta$ = 0")
    lams = [f"{r.config.lam:g}" for r in curve if r.config.lam is not None]
    return name + (rf", $\lambda$ = {' to '.join(dict.fromkeys((lams[0], lams[-1])))}" if lams else "")
