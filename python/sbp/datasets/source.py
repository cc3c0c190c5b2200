"""The record every dataset is entered with, and the one place that calls the libraries' dataset classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch_geometric.data import Data

from ..errors import UserError


@dataclass(frozen=True)
class Size:
    """Of the graph as it is loaded: directed edges, and the share of them that joins equal labels."""

    nodes: int
    edges: int
    features: int
    classes: int
    homophily: float


@dataclass(frozen=True)
class Source:
    """A dataset by name: `load(root, split, **options)` returns `Data` with x, y and one mask `[n]` per role.

    `title` is its name in the paper's tables, `metric` what the paper reports of it; `embedded` sets need no files.
    """

    load: Callable[..., Data]
    title: str
    about: str
    size: Size
    num_splits: int = 1
    embedded: bool = False
    options: tuple[str, ...] = ()
    metric: str = "accuracy"

    @property
    def summary(self) -> str:
        """One line for lists."""
        s = self.size
        counts = f"{s.nodes:,} nodes, {s.edges:,} edges, {s.features:,} features, {s.classes} classes"
        splits = "1 split" if self.num_splits == 1 else f"{self.num_splits} splits"
        files = "; no files" if self.embedded else ""
        return f"{self.about}: {counts}, homophily {s.homophily:.2f}, {splits}{files}"


def read_files(make: Callable[[], Data], name: str, folder: Path, files: Sequence[str]) -> Data:
    """Return the graph that `make` reads, which downloads what `folder` lacks, or say which files it needs."""
    missing = [file for file in files if not (folder / file).exists()]
    try:
        return make()
    except UserError:
        raise
    # Downloaders and parsers raise anything from URLError to UnpicklingError.
    except Exception as cause:
        why = f"{type(cause).__name__}: {cause}".splitlines()[0]
        if missing:
            raise UserError(
                f"{name} could not be downloaded ({why}); put these files into {folder}: {', '.join(missing)}"
            ) from cause
        raise UserError(f"{name} could not be read from {folder} ({why}); replace its files") from cause


def pick_split(data: Data, split: int) -> Data:
    """Keep column `split` of the `[n, splits]` masks, without the nodes whose label is unknown, -1."""
    for role in ("train_mask", "val_mask", "test_mask"):
        data[role] = data[role][:, split] & (data.y >= 0)
    return data
