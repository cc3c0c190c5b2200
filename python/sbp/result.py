"""What a setting reached, and how it is written as JSON and CSV."""

from __future__ import annotations

import csv
import json
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


@dataclass(frozen=True)
class Layer:
    """Dirichlet energy and effective rank of the features after `step` steps or layers; None if not finite."""

    step: int
    energy: float | None
    rank: float | None


@dataclass
class Part:
    """What one split gave for some seeds: the runs, the features the last linear layer saw, seconds by stage."""

    graph: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    last: Layer | None = None
    layers: list[Layer] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"propagate": 0.0, "train": 0.0})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Part:
        """Return what `to_dict` wrote."""
        last = values["last"] and Layer(**values["last"])
        return Part(
            values["graph"],
            [Run(**run) for run in values["runs"]],
            last,
            [Layer(**layer) for layer in values["layers"]],
            values["seconds"],
        )


@dataclass
class Result:
    """One setting over its splits and seeds."""

    config: Config
    label: str
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Take in what a split gave."""
        self.parts += parts

    @property
    def graph(self) -> dict[str, Any]:
        return self.parts[0].graph

    @property
    def runs(self) -> list[Run]:
        return [run for part in self.parts for run in part.runs]

    @property
    def layers(self) -> list[Layer]:
        """Layer by layer, of the first split and seed."""
        return self.parts[0].layers

    @property
    def seconds(self) -> dict[str, float]:
        return {stage: sum(part.seconds[stage] for part in self.parts) for stage in ("propagate", "train")}

    @property
    def has_metrics(self) -> bool:
        return any(part.last for part in self.parts)

    def accuracy(self, role: str = "test") -> tuple[float, float] | None:
        """Return mean and population standard deviation over runs, in percent; None if a run has none."""
        values = [getattr(run, role) for run in self.runs]
        return None if not values or None in values else (fmean(values), pstdev(values))

    @property
    def dirichlet_energy(self) -> float | None:
        return _mean([part.last.energy if part.last else None for part in self.parts])

    @property
    def effective_rank(self) -> float | None:
        return _mean([part.last.rank if part.last else None for part in self.parts])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; accuracies in percent."""
        spread = {role: self.accuracy(role) for role in ROLES}
        return {
            "label": self.label,
            "config": asdict(self.config),
            "accuracy": {role: s and {"mean": s[0], "std": s[1]} for role, s in spread.items()},
            "dirichlet_energy": self.dirichlet_energy,
            "effective_rank": self.effective_rank,
            "layers": [asdict(layer) for layer in self.layers],
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
        "backbone": config.backbone,
        "layers": config.layers,
        "lam": config.lam,
        "beta": config.beta,
        "test_mean": spread and round(spread[0], 4),
        "test_std": spread and round(spread[1], 4),
        "dirichlet_energy": result.dirichlet_energy,
        "effective_rank": result.effective_rank,
        "runs": len(result.runs),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
