"""Where results and propagated features stay between runs: files named by what they were made from."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

import sbp_kernels

from ..config import Config
from .files import atomic, claimed, read_json, read_tensors, remove_stale, write
from .result import Part

# Features that took less are propagated again rather than read.
_WORTH_SECONDS = 1.0
# Settings that decide how the linear layer trains, not what it sees.
_OF_TRAINING: dict[str, Any] = {
    "epochs": 0,
    "lr": 0.0,
    "weight_decay": 0.0,
    "report": "",
    "amp": False,
    "compile": False,
}


class RunCache:
    """A folder of finished runs (`runs/*.json`), checkpoints beside them, and `propagated/*.pt`.

    Names are hashes of the settings, the data and the package's version: a file is read only by the run that
    would write the same.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.fresh, self.runs_read = folder, fresh, 0
        for part in ("runs", "propagated"):
            remove_stale(folder / part)

    def run_path(self, data: Data, config: Config, *measured: bool) -> Path:
        """Return the file of one setting on one split; `measured` says what is measured besides."""
        return self.folder / "runs" / f"{config.dataset}-{config.model}-{_digest(data, config, *measured)}.json"

    def run(self, path: Path, runs: list[tuple[int, int]], make: Callable[[], Part]) -> Part:
        """Return the finished run in `path`, of these splits and seeds; without one, make and write it.

        Of several processes that want one run, one makes it. A checkpoint beside it goes when it is written.
        """
        found = self._read(path, runs)
        if found is None:
            with claimed(path):
                found = self._read(path, runs)
                if found is None:
                    made = make()
                    write(path, json.dumps(made.to_dict(), allow_nan=False))
                    path.with_suffix(".pt").unlink(missing_ok=True)
                    return made
        self.runs_read += 1
        return found

    def _read(self, path: Path, runs: list[tuple[int, int]]) -> Part | None:
        return None if self.fresh else read_json(path, lambda values: Part.from_dict(values, runs))

    def features(self, data: Data, config: Config, make: Callable[[], Tensor]) -> Tensor:
        """Return propagated features, from the folder if they are there; keep those that took long to make."""
        rule = replace(config, **_OF_TRAINING)
        path = self.folder / "propagated" / f"{config.dataset}-{config.model}-{_digest(data, rule)}.pt"
        found = None if self.fresh else read_tensors(path, data.x.device, _features)
        if found is not None:
            return found
        start = time.perf_counter()
        x = make()
        if time.perf_counter() - start > _WORTH_SECONDS:
            with atomic(path) as file:
                torch.save(x, file)
        return x


def _features(x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point():
        raise ValueError(f"features must be a floating tensor [n, d], got a {type(x).__name__}")
    return x


def _digest(data: Data, config: Config, *measured: bool) -> str:
    found = hashlib.blake2b(digest_size=12)
    found.update(json.dumps([asdict(config), measured, sbp_kernels.__version__], sort_keys=True).encode())
    found.update(fingerprint(data).encode())
    return found.hexdigest()


def fingerprint(data: Data) -> str:
    """Return a hash of a graph's features, edges, labels and masks; kept on the data, as hashing reads them all."""
    known = getattr(data, "fingerprint", None)
    if known is None:
        found = hashlib.blake2b(digest_size=12)
        for name in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
            value = data[name].detach().cpu().contiguous()
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.numpy().data)
        known = data.fingerprint = found.hexdigest()
    return known
