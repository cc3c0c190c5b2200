"""The run cache: finished runs, checkpoints and propagated features, in files named by a hash of their inputs."""

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

# Features that take less time than this are recomputed instead of saved.
_MIN_SECONDS_TO_SAVE = 1.0
# Settings that affect the training of the linear layer, but not its input features.
_TRAINING_SETTINGS: dict[str, Any] = {
    "epochs": 0,
    "lr": 0.0,
    "weight_decay": 0.0,
    "report": "",
    "amp": False,
    "compile": False,
}


class RunCache:
    """A folder with finished runs, their checkpoints and propagated features.

    Files:
        runs/<dataset>-<model>-<hash>.json: a finished run, `Part.to_dict`, with its format number.
        runs/<dataset>-<model>-<hash>.pt: the checkpoint of an unfinished run; removed when the run is finished.
        runs/<dataset>-<model>-<hash>.lock: held by the process that computes the run.
        propagated/<dataset>-<model>-<hash>.pt: features `[n, d]` for the linear layer, from torch.save.

    The hash covers the settings, the data and the version of sbp_kernels, so a file is only read by the run that
    would write the same content.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.fresh, self.runs_read = folder, fresh, 0
        for part in ("runs", "propagated"):
            remove_stale(folder / part)

    def run_path(self, data: Data, config: Config, *measured: bool) -> Path:
        """Return the file of one setting on one split; `measured` says which metrics the run includes."""
        return self.folder / "runs" / f"{config.dataset}-{config.model}-{_digest(data, config, *measured)}.json"

    def run(self, path: Path, runs: list[tuple[int, int]], compute: Callable[[], Part]) -> Part:
        """Return the finished run in `path` with these splits and seeds, or compute and write it.

        If several processes need the same run, one of them computes it. Its checkpoint is removed once it is written.
        """
        found = self._read(path, runs)
        if found is None:
            with claimed(path):
                found = self._read(path, runs)
                if found is None:
                    part = compute()
                    write(path, json.dumps(part.to_dict(), allow_nan=False))
                    path.with_suffix(".pt").unlink(missing_ok=True)
                    return part
        self.runs_read += 1
        return found

    def _read(self, path: Path, runs: list[tuple[int, int]]) -> Part | None:
        return None if self.fresh else read_json(path, lambda values: Part.from_dict(values, runs))

    def features(self, data: Data, config: Config, compute: Callable[[], Tensor]) -> Tensor:
        """Return propagated features from the folder, or compute them, and save them if that took long."""
        rule = replace(config, **_TRAINING_SETTINGS)
        path = self.folder / "propagated" / f"{config.dataset}-{config.model}-{_digest(data, rule)}.pt"
        found = None if self.fresh else read_tensors(path, data.x.device, _features)
        if found is not None:
            return found
        start = time.perf_counter()
        x = compute()
        if time.perf_counter() - start > _MIN_SECONDS_TO_SAVE:
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
    """Return a hash of features, edges, labels and masks. It is cached on `data`, because it reads all of them."""
    known = getattr(data, "fingerprint", None)
    if known is None:
        found = hashlib.blake2b(digest_size=12)
        for name in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
            value = data[name].detach().cpu().contiguous()
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.numpy().data)
        known = data.fingerprint = found.hexdigest()
    return known
