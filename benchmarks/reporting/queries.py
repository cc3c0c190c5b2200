"""Queries on the rows of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..cases.modes import OURS
from ..cases.traffic import passes

Row = dict[str, str]


@dataclass(frozen=True)
class Ratio:
    """How much faster ours is than a peer in one case."""

    value: float
    row: Row

    @property
    def where(self) -> str:
        r = self.row
        return f"{r['workload']} d={r['width']} {r['dtype']} {r['mode']}, {r['method']}"


def usual(row: Row) -> bool:
    """Return whether a row is timed, warm, and uses the run's number of threads and instruction set."""
    return bool(row["median_ms"]) and row["cache"] != "cold" and not (row["method"] == OURS and row["ratio_low"])


def chosen(rows: Iterable[Row], **fields: str) -> list[Row]:
    """Return the usual rows with these fields."""
    return [row for row in rows if usual(row) and all(row[k] == v for k, v in fields.items())]


def case_of(row: Row) -> tuple[str, ...]:
    """Return the columns that identify the case of a row."""
    return tuple(row[k] for k in ("workload", "width", "dtype", "mode"))


def against(rows: Iterable[Row], peers: str | Sequence[str], **fields: str) -> list[Ratio]:
    """Return, per case, how much faster ours is than the fastest of the peers (names, or prefixes of names)."""
    names = (peers,) if isinstance(peers, str) else tuple(peers)
    best: dict[tuple[str, ...], Ratio] = {}
    for row in chosen(rows, **fields):
        if row["method"].startswith(names) and row["ratio_to_ours"]:
            found, case = Ratio(float(row["ratio_to_ours"]), row), case_of(row)
            if case not in best or found.value < best[case].value:
                best[case] = found
    return list(best.values())


def geometric_mean(ratios: Sequence[Ratio]) -> float:
    """Return the geometric mean, first over the cases of each workload, so that each workload has the same weight."""
    by_workload: dict[str, list[float]] = {}
    for ratio in ratios:
        by_workload.setdefault(ratio.row["workload"], []).append(math.log(ratio.value))
    means = [sum(logs) / len(logs) for logs in by_workload.values()]
    return math.exp(sum(means) / len(means))


def mean_degree(row: Row) -> float:
    """Return the number of edges per node."""
    return (int(row["num_edges_pos"]) + int(row["num_edges_neg"])) / int(row["num_nodes"])


def distinct(rows: Sequence[Row], key: str) -> list[str]:
    """Return the distinct values in the order of the run."""
    return list(dict.fromkeys(row[key] for row in rows))


def share_of_roofline(row: Row) -> float | None:
    """Return the time that the roofline allows over the measured time; None if the row has no probes.

    A pass gathers the rows of x and streams the rest of its bytes, and may do both at once: the roofline is the slower
    of the two.
    """
    if not (row["median_ms"] and row["gather_gbs"] and row["stream_gbs"]):
        return None
    parts = (float(row[f"{part}_bytes"]) / float(row[f"{part}_gbs"]) for part in ("gather", "stream"))
    return passes(row["mode"]) * max(parts) / 1e9 / (float(row["median_ms"]) / 1e3)
