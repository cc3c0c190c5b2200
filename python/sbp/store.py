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

from .config import Config

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


class Store:
    """A folder of finished runs (`runs/*.json`), checkpoints beside them, and `propagated/*.pt`.

    Names are hashes of the settings, the data and the package's version: a file is read only by the run that
    would write the same.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.fresh = folder, fresh

    def run_path(self, data: Data, config: Config, *measured: bool) -> Path:
        """Return the file of one setting on one split; `measured` says what is measured besides."""
        return self.folder / "runs" / f"{config.dataset}-{config.model}-{_digest(data, config, *measured)}.json"

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return what a finished run wrote; None if there is none, or runs are to be made afresh."""
        return None if self.fresh or not path.exists() else json.loads(path.read_text())

    def write(self, path: Path, content: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(content, allow_nan=False))
        part.replace(path)

    def features(self, data: Data, config: Config, make: Callable[[], Tensor]) -> Tensor:
        """Return propagated features, from the folder if they are there; keep those that took long to make."""
        rule = replace(config, **_OF_TRAINING)
        path = self.folder / "propagated" / f"{config.dataset}-{config.model}-{_digest(data, rule)}.pt"
        if path.exists() and not self.fresh:
            return torch.load(path, weights_only=True, map_location=data.x.device)
        start = time.perf_counter()
        x = make()
        if time.perf_counter() - start > _WORTH_SECONDS:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            torch.save(x, part)
            part.replace(path)
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
