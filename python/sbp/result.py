"""What a setting reached, and how it is written as JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch

import sbp_kernels

from .config import Config

ROLES = ("train", "val", "test")


@dataclass(frozen=True)
class Run:
    """One seed on one split; accuracies in percent, None without such nodes or with diverged features."""

    split: int
    seed: int
    train: float | None
    val: float | None
    test: float | None


@dataclass
class Result:
    """One setting over its splits and seeds; metrics are of the features the linear layer saw, by split."""

    config: Config
    label: str
    graph: dict[str, Any] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"propagate": 0.0, "train": 0.0})

    def accuracy(self, role: str = "test") -> tuple[float, float] | None:
        """Return mean and population standard deviation over runs, in percent; None if a run has none."""
        values = [getattr(run, role) for run in self.runs]
        return None if not values or None in values else (fmean(values), pstdev(values))

    @property
    def dirichlet_energy(self) -> float | None:
        return _finite_mean(self.energies)

    @property
    def effective_rank(self) -> float | None:
        return _finite_mean(self.ranks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; accuracies in percent."""
        spread = {role: self.accuracy(role) for role in ROLES}
        return {
            "label": self.label,
            "config": asdict(self.config),
            "accuracy": {role: s and {"mean": s[0], "std": s[1]} for role, s in spread.items()},
            "dirichlet_energy": self.dirichlet_energy,
            "effective_rank": self.effective_rank,
            "runs": [asdict(run) for run in self.runs],
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }


def document(command: str, results: Sequence[Result]) -> str:
    """Return results as one JSON document; only `seconds` and `environment` differ between repeats."""
    content = {
        "command": command,
        "graph": results[0].graph,
        "results": [result.to_dict() for result in results],
        "environment": {
            "sbp_kernels": sbp_kernels.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
    return json.dumps(content, indent=2, allow_nan=False)


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """Write one row a setting: every label's curve against depth."""
    rows = [_row(result) for result in results]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _row(result: Result) -> dict[str, Any]:
    config, spread = result.config, result.accuracy()
    return {
        "dataset": config.dataset,
        "label": result.label,
        "layers": config.layers,
        "lam": config.lam,
        "beta": config.beta,
        "test_mean": spread and round(spread[0], 4),
        "test_std": spread and round(spread[1], 4),
        "dirichlet_energy": result.dirichlet_energy,
        "effective_rank": result.effective_rank,
        "runs": len(result.runs),
    }


def _finite_mean(values: Sequence[float]) -> float | None:
    mean = fmean(values) if values else math.nan
    return mean if math.isfinite(mean) else None
