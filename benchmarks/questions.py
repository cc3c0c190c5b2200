"""Questions to the rows of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .records import OURS

Row = dict[str, str]


@dataclass(frozen=True)
class Ratio:
    """How much faster ours is in one case, with its bootstrap interval where the run has one."""

    value: float
    row: Row

    @property
    def where(self) -> str:
        r = self.row
        return f"{r['workload']} d={r['width']} {r['dtype']} {r['mode']}, {r['method']}"


def usual(row: Row) -> bool:
    """Timed, warm, and on the run's own threads and instructions."""
    return bool(row["median_ms"]) and row["cache"] != "cold" and not (row["method"] == OURS and row["ratio_low"])


def chosen(rows: Iterable[Row], **fields: str) -> list[Row]:
    """The usual rows with these fields."""
    return [row for row in rows if usual(row) and all(row[k] == v for k, v in fields.items())]


def case_of(row: Row) -> tuple[str, ...]:
    return tuple(row[k] for k in ("workload", "width", "dtype", "mode"))


def against(rows: Iterable[Row], peers: str | Sequence[str], **fields: str) -> list[Ratio]:
    """Ours against the fastest of the peers (whole names, or how several begin), a case at a time."""
    names = (peers,) if isinstance(peers, str) else tuple(peers)
    best: dict[tuple[str, ...], Ratio] = {}
    for row in chosen(rows, **fields):
        if row["method"].startswith(names) and row["ratio_to_ours"]:
            found, case = Ratio(float(row["ratio_to_ours"]), row), case_of(row)
            if case not in best or found.value < best[case].value:
                best[case] = found
    return list(best.values())


def geometric_mean(ratios: Sequence[Ratio]) -> float:
    """Over the widths of each workload first, so that one measured at many widths counts once."""
    by_workload: dict[str, list[float]] = {}
    for ratio in ratios:
        by_workload.setdefault(ratio.row["workload"], []).append(math.log(ratio.value))
    means = [sum(logs) / len(logs) for logs in by_workload.values()]
    return math.exp(sum(means) / len(means))


def mean_degree(row: Row) -> float:
    return (int(row["num_edges_pos"]) + int(row["num_edges_neg"])) / int(row["num_nodes"])


def distinct(rows: Sequence[Row], key: str) -> list[str]:
    """Distinct values in the order of the run."""
    return list(dict.fromkeys(row[key] for row in rows))
