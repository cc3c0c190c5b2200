"""The description of a dataset, and the function that calls the dataset classes of PyG and OGB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir

import torch
from filelock import FileLock
from torch_geometric.data import Data

from ..errors import UserError, one_line
from .raw_files import explain_unreadable


@dataclass(frozen=True)
class Size:
    """The size of the loaded graph: `edges` are directed; `homophily` is the fraction of edges between equal labels."""

    nodes: int
    edges: int
    features: int
    classes: int
    homophily: float


@dataclass(frozen=True)
class Source:
    """A dataset: `load(root, split, **options)` returns `Data` with x, y and one mask `[n]` per role.

    `title` is its name in the paper's tables, `metric` the quantity that the paper reports, `embedded` means that no
    files are needed.
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
        """Return a one-line description."""
        s = self.size
        counts = f"{s.nodes:,} nodes, {s.edges:,} edges, {s.features:,} features, {s.classes} classes"
        splits = "1 split" if self.num_splits == 1 else f"{self.num_splits} splits"
        files = "; no files" if self.embedded else ""
        return f"{self.about}: {counts}, homophily {s.homophily:.2f}, {splits}{files}"


def read_files(make: Callable[[], Data], name: str, folder: Path, files: Sequence[str]) -> Data:
    """Return the graph from `make`, which downloads files that `folder` lacks; on failure, raise a `UserError`.

    Only one process of this machine runs `make` at a time, because libraries do not write files atomically.
    """
    missing = [file for file in files if not (folder / file).exists()]
    try:
        with _lock(folder), _weights_only():
            data = make()
        require_graph(data)
        return data
    except UserError:
        raise
    # Downloaders and parsers raise exceptions from URLError to UnpicklingError.
    except Exception as cause:
        if missing:
            why = f"{type(cause).__name__}: {one_line(cause)}"[:300]
            raise UserError(
                f"{name} could not be downloaded ({why}); put these files into {folder}: {', '.join(missing)}"
            ) from cause
        raise UserError(explain_unreadable(name, folder, files, cause)) from cause


def require_graph(data: Data) -> None:
    """Raise ValueError if the parts of a graph are inconsistent, because a file is truncated or from another graph."""
    x, y, edges, n = data.x, data.y, data.edge_index, data.y.numel()
    if x.dim() != 2 or x.size(0) != n or not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise ValueError(f"features must be finite numbers of {n} nodes, got {x.dtype} {tuple(x.shape)}")
    if y.dim() != 1 or y.dtype != torch.int64 or not n or int(y.min()) < -1 or int(y.max()) >= n:
        raise ValueError(f"labels must lie in [-1, {n}), got {y.dtype} {tuple(y.shape)}")
    if edges.dtype != torch.int64 or not edges.numel() or int(edges.min()) < 0 or int(edges.max()) >= n:
        raise ValueError(f"edges must join nodes in [0, {n}), got {edges.dtype} {tuple(edges.shape)}")
    for role in ("train_mask", "val_mask", "test_mask"):
        mask = data[role]
        if mask.dtype != torch.bool or mask.size(0) != n:
            raise ValueError(f"{role} must be bool of {n} nodes, got {mask.dtype} {tuple(mask.shape)}")
    if not bool(data.train_mask.any(dim=0).all()):
        raise ValueError("every split must have a training node")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    # The lock is not stored beside the data, which may be read-only.
    locks = Path(gettempdir()) / f"sbp-{os.getuid()}"
    locks.mkdir(mode=0o700, exist_ok=True)
    with FileLock(locks / f"{blake2b(os.path.realpath(folder).encode(), digest_size=12).hexdigest()}.lock"):
        yield


@contextmanager
def _weights_only() -> Iterator[None]:
    """Forbid torch.load to execute code. Otherwise PyG falls back to full unpickling, with only a warning."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def pick_split(data: Data, split: int) -> Data:
    """Select column `split` of the `[n, splits]` masks, without the nodes whose label is unknown, -1."""
    for role in ("train_mask", "val_mask", "test_mask"):
        data[role] = data[role][:, split] & (data.y >= 0)
    return data
