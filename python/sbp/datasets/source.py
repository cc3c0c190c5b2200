"""The record every dataset is entered with, and the one place that calls PyG's dataset classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch_geometric.data import Data, InMemoryDataset

from ..errors import UserError


@dataclass(frozen=True)
class Source:
    """A dataset by name: `load(root, split)` returns `Data` with x, y and one mask `[n]` per role."""

    load: Callable[[str, int], Data]
    summary: str
    num_splits: int = 1


def read_files(make: Callable[[], InMemoryDataset], name: str, raw_dir: Path, files: Sequence[str]) -> Data:
    """Return the graph of a PyG dataset, which downloads what `raw_dir` lacks, or say which files it needs."""
    missing = [file for file in files if not (raw_dir / file).exists()]
    try:
        return make()[0]
    # PyG's downloaders and parsers raise anything from URLError to UnpicklingError.
    except Exception as cause:
        why = f"{type(cause).__name__}: {cause}".splitlines()[0]
        if missing:
            raise UserError(
                f"{name} could not be downloaded ({why}); put these files into {raw_dir}: {', '.join(missing)}"
            ) from cause
        raise UserError(f"{name} could not be read from {raw_dir} ({why}); replace its files") from cause


def pick_split(data: Data, split: int) -> Data:
    """Keep column `split` of the `[n, splits]` masks."""
    for role in ("train_mask", "val_mask", "test_mask"):
        data[role] = data[role][:, split].contiguous()
    return data
