"""Records of a run: accuracies per seed, metrics per layer, seconds per stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev
from typing import Any

from ..config import Config
from ..datasets.description import GRAPH_FIELDS, ROLES
from .json_decoding import decode

# The format version of the files of finished runs.
FORMAT = 1


@dataclass(frozen=True)
class Run:
    """One seed on one split. An accuracy, in percent, is None if there are no such nodes or the features diverged."""

    split: int
    seed: int
    train: float | None
    val: float | None
    test: float | None


@dataclass(frozen=True)
class Layer:
    """Dirichlet energy and effective rank of the features after `step` steps or layers, None if not finite."""

    step: int
    energy: float | None
    rank: float | None


@dataclass
class Part:
    """The runs of some seeds on one split, metrics of the final features and of each layer, and seconds per stage."""

    graph: dict[str, float | None]
    runs: list[Run] = field(default_factory=list)
    last: Layer | None = None
    layers: list[Layer] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"propagate": 0.0, "train": 0.0})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_dict(values: Any, runs: Sequence[tuple[int, int]] | None = None) -> Part:
        """Convert the output of `to_dict` back; raise ValueError for other content, splits or seeds than `runs`.

        A file without a format number was written before formats were numbered, and is read as format 1.
        """
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise ValueError(f"it has format {values['format']!r}, this version reads {FORMAT}")
        plain = {k: v for k, v in values.items() if k != "format"} if isinstance(values, dict) else values
        part: Part = decode(Part, plain, "it")
        if set(part.seconds) != {"propagate", "train"} or not set(part.graph) >= GRAPH_FIELDS:
            raise ValueError(f"its graph or seconds lack a field, got {sorted(part.graph)} and {sorted(part.seconds)}")
        found = [(run.split, run.seed) for run in part.runs]
        if runs is not None and found != list(runs):
            raise ValueError(f"its runs must be of the splits and seeds {list(runs)}, got {found}")
        return part


@dataclass
class Result:
    """The results of one setting over its splits and seeds."""

    config: Config
    label: str
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Append the results of a split."""
        self.parts += parts

    @property
    def graph(self) -> dict[str, Any]:
        return self.parts[0].graph

    @property
    def runs(self) -> list[Run]:
        return [run for part in self.parts for run in part.runs]

    @property
    def layers(self) -> list[Layer]:
        """Return the metrics of each layer, for the first split and seed."""
        return self.parts[0].layers

    @property
    def seconds(self) -> dict[str, float]:
        return {stage: sum(part.seconds[stage] for part in self.parts) for stage in ("propagate", "train")}

    @property
    def has_metrics(self) -> bool:
        return any(part.last for part in self.parts)

    def accuracy(self, role: str = "test") -> tuple[float, float] | None:
        """Return mean and population standard deviation over runs in percent, or None if a run has no accuracy."""
        values = [getattr(run, role) for run in self.runs]
        return None if not values or None in values else (fmean(values), pstdev(values))

    @property
    def dirichlet_energy(self) -> float | None:
        return _mean([part.last.energy if part.last else None for part in self.parts])

    @property
    def effective_rank(self) -> float | None:
        return _mean([part.last.rank if part.last else None for part in self.parts])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with accuracies in percent."""
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


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None if a value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
