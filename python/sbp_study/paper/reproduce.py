"""Making the paper's tables and figures: what can be run here is, the rest is named with its reason."""

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
from .tables import plan


@dataclass(frozen=True)
class Request:
    """What to make of a table or figure: datasets and depths (none: the paper's), seeds, settings for all cells.

    `everything` runs what the rule of `limits` leaves out; `quick` is two epochs of one seed on one split.
    """

    datasets: Sequence[str] = ()
    layers: Sequence[int] = ()
    seeds: int | None = None
    learn: bool = False
    everything: bool = False
    quick: bool = False


def reproduce(name: str, options: Options | None = None, request: Request | None = None) -> tuple[Plan, list[Outcome]]:
    """Run every cell of a table or figure of arXiv 2502.11394; return its plan and the outcomes in its order.

    Finished runs are read from `options.run_cache`. A dataset whose files are not there, and a run too large for this
    machine, leave a note in place of a value. Raises ValueError where `request` does not fit the table.
    """
    options, request = options or Options(), request or Request()
    made = plan(name, request.datasets, request.layers, request.learn)
    if options.stand_ins:
        made = replace(made, reading=f"Synthetic stand-ins, these numbers mean nothing. {made.reading}".strip())
    if made.measure != "imbalance":
        # All of them first: a wrong request must not show after hours of the cells before it.
        require_runnable([_config(cell, request) for cell in made.cells])
    found: list[Outcome] = []
    with ProgressBar(name, len(made.cells), "cell", shown=options.progress) as bar:
        for cells in _groups(made.cells):
            bar.describe(f"{name}: {cells[0].panel} {cells[0].row}")
            found += _run(made, cells, options, request)
            bar.update(len(cells))
    return made, found


def _groups(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Yield cells that follow each other and differ in depth only: they go on from each other."""
    for _, group in groupby(cells, lambda c: (c.panel, c.row, c.dataset, c.model, sorted(c.settings.items()))):
        yield list(group)


def _run(made: Plan, cells: Sequence[Cell], options: Options, request: Request) -> list[Outcome]:
    if made.measure == "imbalance":
        found = imbalance(cells[0].row)
        return [spread(cell, found[cell.column]) for cell in cells]
    group = [(cell, _config(cell, request)) for cell in cells]
    reasons = [_reason(config, options, request) for _, config in group]
    left_out = [Outcome(cell, config=c, note=why) for (cell, c), why in zip(group, reasons, strict=True) if why]
    group = [pair for pair, why in zip(group, reasons, strict=True) if not why]
    if not group:
        return left_out
    if made.measure == "embedding":
        return [embedding(cell, config, options, request.quick) for cell, config in group]
    done = (seconds if made.measure == "seconds" else accuracy)(group, options)
    # Depths that are too large are the last ones: the order stays.
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
    """Return why a run cannot be made here, "" if it can."""
    size = _size(config.dataset, options.root, options.stand_ins)
    if isinstance(size, str):
        return size
    return "" if request.everything else too_large(config, *size)


@lru_cache(maxsize=64)
def _size(dataset: str, root: str, stand_ins: bool) -> tuple[int, int, int] | str:
    """Return nodes, edges and features of a dataset, or why it cannot be read."""
    config = resolve(dataset, "sgc")
    try:
        data = load(replace(config, phi=None), Options(root, stand_ins=stand_ins), 0)
    except UserError as error:
        return str(error)
    return data.num_nodes, data.num_edges, data.num_features
