"""Which cells of the space of workloads, widths, types, modes and methods a preset measures.

The whole product is days of work, most of it PyG's scatter on large graphs. So every axis is walked along with the
others held at a usual place, and a slow peer runs where its ratio is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from .records import BACKWARD, FORWARD, LEARNS, MODES, OURS

# What a reader compares with: PyG as most write it, PyG's sparse path, and the expert's single call.
CORE = (OURS, "pyg_scatter", "pyg_edge_index", "torch_sparse_pair", "merged_addmm_int32", "merged_addmm_int64")
FAST = (OURS, "torch_sparse_pair", "merged_addmm_int32")
ALONE = (OURS,)
EVERY: tuple[str, ...] = ()
BOTH, SINGLE = ("float32", "bfloat16"), ("float32",)


@dataclass(frozen=True)
class Cell:
    """One race. No methods means all there are; a budget is seconds a method may take.

    `axes` adds ours with "threads=N" or "isa=NAME" to the race.
    """

    workload: str
    width: int
    mode: str = FORWARD
    dtypes: tuple[str, ...] = SINGLE
    methods: tuple[str, ...] = CORE
    cache: str = "warm"
    axes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        cold = " cold" if self.cache == "cold" else ""
        return f"{self.workload} d={self.width} {self.mode}{cold}"


@dataclass(frozen=True)
class Preset:
    """Cells, and how patiently they are measured."""

    cells: tuple[Cell, ...]
    repeats: int = 20
    budget: float = 1.5


def grid(workloads: str, widths: Iterable[int], modes: Iterable[str] = MODES, **rest: object) -> list[Cell]:
    return [Cell(w, d, m, **rest) for w, d, m in product(workloads.split(), widths, modes)]  # type: ignore[arg-type]


FULL = (
    # Every method once, in cache and out of it.
    *grid("cora arxiv", [64], [FORWARD], methods=EVERY),
    *grid("cora", [64], [BACKWARD], methods=EVERY),
    # Widths. On arxiv a forward pass of PyG's scatter takes seconds, so its ends are left to the quick ones.
    *grid("cora pubmed", [16, 512]),
    *grid("cora pubmed", [32, 64, 128, 256], dtypes=BOTH),
    *grid("arxiv", [16, 32], [FORWARD]),
    *grid("arxiv", [128], dtypes=BOTH),
    *grid("arxiv", [64], [BACKWARD]),
    *grid("arxiv", [256, 512], [FORWARD], dtypes=BOTH, methods=FAST),
    # Other kinds of graph: few edges a node, real sizes of signed networks, no negative edges.
    *grid("road bitcoin-otc wiki-rfa", [64], dtypes=BOTH),
    *grid("arxiv+", [128], [FORWARD]),
    # Speed-up by mean degree.
    *grid("degree-2 degree-4 degree-8 degree-16 degree-32 degree-64", [64], [FORWARD]),
    # What else can learn.
    *grid("cora pubmed", [64], LEARNS),
    *grid("arxiv", [64], LEARNS, methods=(OURS, "pyg_scatter")),
    # Caches overwritten before each call.
    *grid("cora pubmed", [64], [FORWARD], methods=FAST, cache="cold"),
    # Threads and instruction sets, in one race with the usual ones.
    *grid("pubmed arxiv", [64, 128], [FORWARD], methods=ALONE, axes=("threads=1", "isa=avx2", "isa=baseline")),
    # Last, as it needs most memory: 126 M edges. torch has no merged product of bfloat16 to build a matrix for.
    Cell("reddit", 64, methods=(OURS, "merged_addmm_int32")),
    Cell("reddit", 64, dtypes=("bfloat16",), methods=ALONE),
)

QUICK = (
    *grid("cora", [64], methods=EVERY),
    *grid("cora pubmed", [64, 128], dtypes=BOTH),
    *grid("cora", [64], LEARNS),
    *grid("road", [64], [FORWARD]),
    *grid("arxiv", [64], [FORWARD], methods=FAST),
    *grid("pubmed", [64], [FORWARD], methods=ALONE, axes=("threads=1", "isa=avx2")),
)

# What `make gpu-check` has 150 seconds for; its graphs are made on the GPU. What waits for a compiler comes last.
GPU_CORE = (*CORE, "merged_addmm_cached", "cuda_graph", "triton")
GPU = (
    *grid("cora arxiv", [64, 128], dtypes=BOTH, methods=GPU_CORE),
    *grid("road", [64], dtypes=BOTH, methods=GPU_CORE),
    *grid("reddit", [64], [FORWARD], dtypes=BOTH, methods=GPU_CORE),
    *grid("products", [128], [FORWARD], dtypes=BOTH, methods=GPU_CORE),
    *grid("cora", [64], [FORWARD], methods=EVERY),
)

DEMO = tuple(
    grid("cora pubmed arxiv", [64], [FORWARD], methods=(*CORE[:1], "pyg_scatter", "torch_sparse_pair", CORE[4]))
)

PRESETS = {
    "full": Preset(FULL),
    "quick": Preset(QUICK, repeats=10, budget=0.3),
    "demo": Preset(DEMO, repeats=9, budget=1.0),
    "gpu": Preset(GPU, repeats=20, budget=0.3),
}


def custom(
    workloads: Iterable[str], widths: Iterable[int], modes: Iterable[str], dtypes: Iterable[str], methods: Iterable[str]
) -> tuple[Cell, ...]:
    """The full product of what the command line names."""
    chosen = Cell("", 0, dtypes=tuple(dtypes), methods=tuple(methods))
    return tuple(replace(chosen, workload=w, width=d, mode=m) for w, d, m in product(workloads, widths, modes))
