"""Print results as tables on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..datasets.description import ROLES
from ..training.progress import RaisingConsole
from ..training.result import Result

if TYPE_CHECKING:
    from ..theory.dataset_report import GraphReport

# The width without a terminal and without COLUMNS, enough for seven depths.
_PIPE_WIDTH = 120


def show_train(results: Sequence[Result]) -> None:
    """Print one row per setting: accuracies by role, metrics, seconds."""
    table = new_table()
    metrics = ("Dirichlet energy", "effective rank") if results[0].has_metrics else ()
    table.add_column("model")
    for name in ("layers", *(f"{role} %" for role in ROLES), *metrics, "seconds"):
        table.add_column(name, justify="right")
    for r in results:
        cells = [_spread(r.accuracy(role)) for role in ROLES]
        cells += [_number(value) for value in (r.dirichlet_energy, r.effective_rank) if metrics]
        table.add_row(r.label, str(r.config.layers), *cells, f"{sum(r.seconds.values()):.2f}")
    console = open_console()
    console.print(_caption(results), style="bold", highlight=False)
    console.print(table)
    console.print(_settings(results[0]), style="dim", highlight=False)


def show_depth(results: Sequence[Result]) -> None:
    """Print one table per quantity, with a row per model and a column per depth."""
    console = open_console()
    quantities: list[tuple[str, Callable[[Result], str]]] = [
        (f"test accuracy (%), {_caption(results)}", lambda r: _spread(r.accuracy())),
        ("lambda", lambda r: "-" if r.config.lam is None else f"{r.config.lam:g}"),
    ]
    if results[0].has_metrics:
        quantities.append(("Dirichlet energy of the final features", lambda r: _number(r.dirichlet_energy)))
        quantities.append(("effective rank of the final features", lambda r: _number(r.effective_rank)))
    cells = {(r.label, r.config.layers): r for r in results}
    depths = sorted({layers for _, layers in cells})
    for title, text in quantities:
        table = new_table()
        table.add_column("model")
        for layers in depths:
            table.add_column(str(layers), justify="right")
        for label in dict.fromkeys(r.label for r in results):
            table.add_row(label, *(text(cells[label, layers]) for layers in depths))
        console.print(title, style="bold", highlight=False)
        console.print(table, "")


def show_sweep(results: Sequence[Result], setting: str) -> None:
    """Print a row per model and a column per value of the setting. A model without it repeats its only result."""
    table = new_table()
    table.add_column("model")
    values = list(dict.fromkeys(v for r in results if (v := getattr(r.config, setting)) is not None))
    for value in values:
        table.add_column(_value(value), justify="right")
    for label in dict.fromkeys(r.label.replace(", beta=0", "") for r in results):
        own = {getattr(r.config, setting): r for r in results if r.label.replace(", beta=0", "") == label}
        table.add_row(label, *(_spread((own.get(value) or own[None]).accuracy()) for value in values))
    console = open_console()
    console.print(f"test accuracy (%) by {setting}, {_caption(results)}", style="bold", highlight=False)
    console.print(table, "")


def show_layers(results: Sequence[Result]) -> None:
    """Print energy and rank of each layer, if they were measured."""
    for r in results:
        if not r.layers:
            continue
        table = new_table()
        table.add_column("after step" if r.config.backbone == "sgc" else "after layer")
        for name in ("Dirichlet energy", "effective rank"):
            table.add_column(name, justify="right")
        for layer in r.layers:
            table.add_row(str(layer.step), _number(layer.energy), _number(layer.rank))
        console = open_console()
        console.print(f"{r.label}, split {r.config.splits[0]}, first seed", style="bold", highlight=False)
        console.print(table, "")


def show_list(models: Mapping[str, str], datasets: Mapping[str, str]) -> None:
    """Print the names of models and datasets with their descriptions."""
    console = open_console()
    for title, entries in (("models", models), ("datasets", datasets)):
        table = new_table()
        table.show_header = False
        for name, summary in entries.items():
            table.add_row(name, summary)
        console.print(title, style="bold", highlight=False)
        console.print(table, "")


def show_dataset_report(dataset: str, readings: Sequence[GraphReport]) -> None:
    """Print one row per signed graph, with a dash for undefined quantities."""
    table = new_table()
    table.add_column("signed graph")
    for name in ("P", "N", "SID", "balance", "beta* / alpha"):
        table.add_column(name, justify="right")
    for r in readings:
        parts = (f"{value:.2f}" for value in (r.P, r.N, r.sid))
        table.add_row(r.name, *parts, r.balance or "-", _number(r.beta_ratio))
    console = open_console()
    console.print(f"{dataset}: structural imbalance in nodes (0: balanced)", style="bold", highlight=False)
    console.print(table)


def open_console() -> Console:
    """Return a console with the width of the terminal; without one, of COLUMNS, or a fixed width."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    columns = os.environ.get("COLUMNS", "")
    # An exported width of a few columns or none is a shell's artefact, not a wish.
    width = int(columns) if columns.isdecimal() and 20 <= int(columns) <= 10_000 else _PIPE_WIDTH
    return RaisingConsole() if is_terminal else RaisingConsole(width=width)


def new_table() -> Table:
    """Return an empty table in the common style."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _caption(results: Sequence[Result]) -> str:
    config, graph = results[0].config, results[0].graph
    homophily = "-" if graph["homophily"] is None else f"{graph['homophily']:.2f}"
    splits = f"split {config.splits[0]}" if len(config.splits) == 1 else f"{len(config.splits)} splits"
    return (
        f"{config.dataset}: {graph['nodes']} nodes, {graph['edges']} edges, homophily {homophily}, "
        f"{splits}, {len(config.seeds)} seeds"
    )


def _settings(result: Result) -> str:
    shown = {k: v for k, v in vars(result.config).items() if v is not None and k not in ("splits", "seeds")}
    return "settings: " + ", ".join(f"{k}={v}" for k, v in shown.items())


def _spread(spread: tuple[float, float] | None) -> str:
    return "-" if spread is None else f"{spread[0]:.2f} ± {spread[1]:.2f}"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
