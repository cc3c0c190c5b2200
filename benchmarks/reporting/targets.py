"""The performance targets of the project, and how each is computed from result rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..cases.modes import BACKWARD, BUILD, FORWARD, OURS
from .queries import Ratio, Row, against, chosen, geometric_mean, mean_degree, share_of_roofline
from .result_files import find, latest

# float32 features of more bytes than this exceed the L2 caches of two cores, on every processor measured so far.
BEYOND_L2 = 4 << 20
# From this mean degree on, a row of x is read so often that packed tiles of the features pay.
HIGH_DEGREE = 100
# The torch.sparse path: in PyG, and in plain torch.
SPARSE_PAIR = ("pyg_edge_index", "torch_sparse_pair")


@dataclass(frozen=True)
class Runs:
    """The latest rows of each benchmark."""

    propagate: list[Row]
    build: list[Row] = field(default_factory=list)
    implicit: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    reorder: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """The value that a target is about, and its case or other details."""

    value: float
    where: str = ""


@dataclass(frozen=True)
class Target:
    """A bound on a measured value; `{}` in the text stands for the bound, and Intel's may differ."""

    text: str
    bound: float
    measure: Callable[[Runs], Measured | None]
    at_least: bool = True
    intel: float | None = None

    def on(self, device: str) -> Target:
        """Return the target of this device, with its bound in the text."""
        bound = self.intel if self.intel is not None and "intel" in device.lower() else self.bound
        return replace(self, text=self.text.format(f"{bound:g}"), bound=bound)

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def _mean(ratios: Sequence[Ratio]) -> Measured | None:
    """Return the geometric mean over the workloads, with the worst case as details."""
    if not ratios:
        return None
    worst = min(ratios, key=lambda r: r.value)
    count = len({r.row["workload"] for r in ratios})
    return Measured(
        geometric_mean(ratios), f"{len(ratios)} cases, {count} graphs; worst {worst.value:.2f}×: {worst.where}"
    )


def mean_ahead(peers: str | Sequence[str], mode: str) -> Callable[[Runs], Measured | None]:
    """Measure the mean speedup over the fastest of the peers."""
    return lambda runs: _mean(against(runs.propagate, peers, dtype="float32", mode=mode))


def worst_ahead(peers: str | Sequence[str]) -> Callable[[Runs], Measured | None]:
    """Measure the smallest forward speedup over the fastest of the peers."""

    def measure(runs: Runs) -> Measured | None:
        ratios = against(runs.propagate, peers, dtype="float32", mode=FORWARD)
        worst = min(ratios, key=lambda r: r.value, default=None)
        return worst and Measured(worst.value, worst.where)

    return measure


def bfloat16_speedups(rows: Sequence[Row]) -> list[Ratio]:
    """Return our float32 time over our bfloat16 time, per case."""
    found = []
    for row in chosen(rows, method=OURS, dtype="bfloat16"):
        same = {k: row[k] for k in ("workload", "width", "mode")}
        for float32 in chosen(rows, method=OURS, dtype="float32", **same):
            found.append(Ratio(float(float32["median_ms"]) / float(row["median_ms"]), row))
    return found


def large_bfloat16(runs: Runs) -> Measured | None:
    return _mean([r for r in bfloat16_speedups(runs.propagate) if 2 * float(r.row["output_bytes"]) > BEYOND_L2])


def high_degrees(runs: Runs) -> Measured | None:
    """Measure the mean forward speedup over merged addmm where nodes have many edges and x exceeds L2."""
    ratios = against(runs.propagate, "merged_addmm", dtype="float32", mode=FORWARD)
    high = [r for r in ratios if mean_degree(r.row) >= HIGH_DEGREE and float(r.row["output_bytes"]) > BEYOND_L2]
    return _mean(high)


def deep_steps(runs: Runs) -> Measured | None:
    """Measure the time of a step of the longest calls over one of K = 16, for features that become subnormal."""
    calls = {}
    for row in runs.implicit:
        found = re.fullmatch(r"cora, K = (\d+), λ = β = 0\.5", row["case"])
        if found and row["call"] == "one call" and row["median_ms"]:
            calls[int(found[1])] = float(row["median_ms"]) / int(found[1])
    short = calls.pop(16, None)
    if short is None or not calls:
        return None
    slowest = max(calls, key=calls.__getitem__)
    return Measured(calls[slowest] / short, f"K = {slowest}: {1e3 * calls[slowest]:.0f} µs a step")


def worst_bfloat16(runs: Runs) -> Measured | None:
    worst = min(bfloat16_speedups(runs.propagate), key=lambda r: r.value, default=None)
    return worst and Measured(worst.value, worst.where)


def _others(runs: Runs, key: str, value: str, usual: str) -> list[Row]:
    """Return our rows with this value of the key; their ratio is to ours with the usual value in the same timing."""
    if not chosen(runs.propagate, method=OURS, **{key: usual}):
        return []
    return [r for r in runs.propagate if r["method"] == OURS and r["ratio_low"] and r[key] == value]


def second_thread(runs: Runs) -> Measured | None:
    """Measure the time on one thread over the time on two."""
    return _mean([Ratio(float(r["ratio_to_ours"]), r) for r in _others(runs, "threads", "1", "2")])


def avx2(runs: Runs) -> Measured | None:
    """Measure the speed of the AVX2 kernels relative to AVX-512."""
    return _mean([Ratio(1 / float(r["ratio_to_ours"]), r) for r in _others(runs, "isa", "AVX2", "AVX-512")])


def roofline_share(runs: Runs) -> Measured | None:
    """Measure the share of the roofline that the row pass reaches at arxiv's size."""
    found = None
    for row in chosen(runs.propagate, method=OURS, workload="arxiv", width="128", dtype="float32", mode=FORWARD):
        share = share_of_roofline(row)
        if share is not None:
            found = Measured(share, f"d=128 float32: gather {row['gather_gbs']}, stream {row['stream_gbs']} GB/s")
    return found


def largest_share(runs: Runs) -> Measured | None:
    """Measure the largest share of the roofline of any method: above 1, the probes are not the fastest way."""
    shares = [Ratio(share, row) for row in runs.propagate if (share := share_of_roofline(row)) is not None]
    most = max(shares, key=lambda r: r.value, default=None)
    return most and Measured(most.value, most.where)


def worst_memory(runs: Runs) -> Measured | None:
    ours = chosen(runs.propagate, method=OURS, mode=FORWARD)
    found = [Ratio(float(r["extra_memory_bytes"]) / float(r["output_bytes"]), r) for r in ours]
    worst = max(found, key=lambda r: r.value, default=None)
    return worst and Measured(worst.value, worst.where)


def build_passes(runs: Runs) -> Measured | None:
    rows = [row for row in runs.build if row["step"] == BUILD and row["workload"] == "arxiv"]
    return Measured(float(rows[0]["forward_passes"])) if rows else None


TARGETS = (
    Target("forward ≥ {}× PyG scatter", 30, mean_ahead("pyg_scatter", FORWARD)),
    Target("forward ≥ {}× PyG's torch.sparse pair", 5, mean_ahead(SPARSE_PAIR, FORWARD)),
    Target("forward ≥ {}× merged addmm", 3.5, mean_ahead("merged_addmm", FORWARD), intel=1.5),
    Target("... and ≥ {}× in the worst case", 1.2, worst_ahead("merged_addmm"), intel=1.0),
    Target("... and ≥ {}× from mean degree 100 on, beyond L2", 3.5, high_degrees, intel=1.8),
    Target("forward ≥ {}× MKL with a cached handle", 1.25, mean_ahead("mkl_handle", FORWARD)),
    Target("forward+backward ≥ {}× PyG scatter", 20, mean_ahead("pyg_scatter", BACKWARD)),
    Target("forward+backward ≥ {}× merged pair", 2.5, mean_ahead("merged_addmm", BACKWARD), intel=1.5),
    Target("bfloat16 ≥ {}× float32 beyond L2", 1.3, large_bfloat16),
    Target("... and never slower", 1, worst_bfloat16),
    Target("share of the roofline ≥ {}, arxiv", 0.8, roofline_share),
    Target("share of the roofline ≤ {}, any method", 1.05, largest_share, at_least=False),
    Target("two threads ≥ {}× one", 1.7, second_thread),
    Target("AVX2 ≥ {}× AVX-512", 0.6, avx2),
    Target("a step of K = 600 or 1,000 ≤ {}× one of K = 16", 1.2, deep_steps, at_least=False),
    Target("forward memory ≤ {}× output", 1.05, worst_memory, at_least=False),
    Target("graph build ≤ {} forward passes", 5, build_passes, at_least=False),
)


def verdicts(runs: Runs) -> list[tuple[Target, Measured | None, bool]]:
    """Return every target of the device, the measured value, and whether it holds: not without a value."""
    targets = [target.on(runs.propagate[0]["device"]) for target in TARGETS]
    found = [(target, target.measure(runs)) for target in targets]
    return [(target, got, got is not None and target.holds(got.value)) for target, got in found]


def read(results: Path, slug: str, preset: str) -> Runs:
    """Return the latest runs of a device; all but the first benchmark may be missing."""

    def rows(name: str, preset: str) -> list[Row]:
        try:
            return latest(find(results, slug, f"{name}.csv"), preset)
        except (FileNotFoundError, ValueError):
            return []

    propagate = latest(find(results, slug, "propagate.csv"), preset)
    return Runs(propagate, rows("build", "full"), *(rows(name, preset) for name in ("implicit", "layers", "reorder")))
