"""Reproduce tables and figures of the paper. A cell that cannot run here gets a note instead of a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

from ..config import Config, resolve, takes
from ..datasets import DATASETS
from ..errors import UserError
from ..training.limits import too_large
from ..training.progress import ProgressBar
from ..training.runner import Options, load, require_runnable
from .cell_values import Outcome, accuracy, embedding, imbalance, seconds, spread
from .table_plan import Cell, Plan
from .tables import make_plan


@dataclass(frozen=True)
class Request:
    """Which part of a table or figure to run, and how.

    Attributes:
        datasets, layers: datasets and depths; empty for those of the paper.
        seeds: the number of seeds, None for the preset.
        learn: add SBP with learned coefficients.
        everything: also run cells that exceed the size limits.
        quick: train two epochs of one seed on one split.
    """

    datasets: Sequence[str] = ()
    layers: Sequence[int] = ()
    seeds: int | None = None
    learn: bool = False
    everything: bool = False
    quick: bool = False


def reproduce(name: str, options: Options | None = None, request: Request | None = None) -> tuple[Plan, list[Outcome]]:
    """Run every cell of a table or figure of arXiv 2502.11394; return its plan and the outcomes in the same order.

    Finished runs are read from `options.run_cache`. A cell has a note instead of a value if its dataset has no files
    here or it is too large for this machine. Raises ValueError if `request` does not fit the table.
    """
    options, request = options or Options(), request or Request()
    plan = make_plan(name, request.datasets, request.layers, request.learn)
    if options.stand_ins:
        reading = "These numbers are meaningless: they come from synthetic graphs in place of the datasets."
        plan = replace(plan, reading=f"{reading} {plan.reading}".strip())
    if plan.measure != "imbalance":
        # Check all cells first: an error in the request must not appear after hours of running other cells.
        require_runnable([_config(cell, request) for cell in plan.cells])
    found: list[Outcome] = []
    with ProgressBar(name, len(plan.cells), "cell", shown=options.progress) as bar:
        for cells in _groups(plan.cells):
            bar.describe(" ".join(filter(None, (f"{name}:", cells[0].panel, cells[0].row))))
            found += _run(plan, cells, options, request)
            bar.update(len(cells))
    return plan, found


def _groups(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Yield groups of consecutive cells that differ only in depth; each depth continues from the previous one."""
    for _, group in groupby(cells, lambda c: (c.panel, c.row, c.dataset, c.model, sorted(c.settings.items()))):
        yield list(group)


def _run(plan: Plan, cells: Sequence[Cell], options: Options, request: Request) -> list[Outcome]:
    if plan.measure == "imbalance":
        found = imbalance(cells[0].row)
        return [spread(cell, found[cell.column]) for cell in cells]
    group = [(cell, _config(cell, request)) for cell in cells]
    reasons = [_reason(config, options, request) for _, config in group]
    left_out = [Outcome(cell, config=c, note=why) for (cell, c), why in zip(group, reasons, strict=True) if why]
    group = [pair for pair, why in zip(group, reasons, strict=True) if not why]
    if not group:
        return left_out
    if plan.measure == "embedding":
        return [embedding(cell, config, options, request.quick) for cell, config in group]
    done = (seconds if plan.measure == "seconds" else accuracy)(group, options)
    # Only the greatest depths can be too large, so appending them preserves the order.
    return done + left_out


def _config(cell: Cell, request: Request) -> Config:
    own: dict[str, Any] = {**cell.settings}
    if request.seeds is not None:
        own["seeds"] = request.seeds
    if request.quick:
        own |= {"seeds": 1, "epochs": 2, "split": 0}
    unknown = [name for name in own if not takes(cell.model, name, own.get("backbone"))]
    assert not unknown, f"{cell} has no setting {unknown}"
    return resolve(cell.dataset, cell.model, cell.layers, num_splits=DATASETS[cell.dataset].num_splits, **own)


def _reason(config: Config, options: Options, request: Request) -> str:
    """Return why a run is not possible here, or "" if it is."""
    size = _size(config.dataset, options.root, options.stand_ins)
    if isinstance(size, str):
        return size
    return "" if request.everything else too_large(config, *size)


@lru_cache(maxsize=64)
def _size(dataset: str, root: str, stand_ins: bool) -> tuple[int, int, int] | str:
    """Return the numbers of nodes, edges and features of a dataset, or why it cannot be read."""
    config = resolve(dataset, "sgc")
    try:
        data = load(replace(config, phi=None), Options(root, stand_ins=stand_ins), 0)
    except UserError as error:
        return str(error)
    return data.num_nodes, data.num_edges, data.num_features
