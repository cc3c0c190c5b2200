"""Records of a run: accuracies per seed, metrics per layer, seconds per stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev
from typing import Any

from ..config import Config
from .json_decoding import decode

ROLES = ("train", "val", "test")
# Of the files of finished runs; another number is another version's file.
FORMAT = 1


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


# What `runner.describe` says of a graph, besides its roles.
GRAPH_FIELDS = frozenset({"nodes", "edges", "features", "classes", "homophily", *ROLES})


@dataclass
class Part:
    """What one split gave for some seeds: the runs, the features the last linear layer saw, seconds by stage."""

    graph: dict[str, float | None]
    runs: list[Run] = field(default_factory=list)
    last: Layer | None = None
    layers: list[Layer] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"propagate": 0.0, "train": 0.0})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_dict(values: Any, runs: Sequence[tuple[int, int]] | None = None) -> Part:
        """Return what `to_dict` wrote; raise ValueError for anything else, and for other splits and seeds than `runs`.

        Files without a format are of the versions before it had a number.
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


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
