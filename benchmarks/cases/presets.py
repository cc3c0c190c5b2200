"""Which combinations of workload, width, type, mode and method a preset measures.

The full product would take days, most of them in PyG's scatter on large graphs. Therefore a preset varies one axis at a
time, with the others at their usual values, and runs a slow peer only where a target or a table uses its ratio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from .modes import BACKWARD, FORWARD, LEARNABLE, MODES, OURS

# The methods a reader compares with: the usual PyG code, PyG's sparse path, and a hand-optimised single call.
CORE = (OURS, "pyg_scatter", "pyg_edge_index", "torch_sparse_pair", "merged_addmm_int32", "merged_addmm_int64")
MKL = ("mkl_handle", "mkl_handle_copy")
CPU_CORE = (*CORE, "torch_sparse_reduce", *MKL)
FAST = (OURS, "torch_sparse_pair", "merged_addmm_int32", *MKL)
ALONE = (OURS,)
EVERY: tuple[str, ...] = ()
BOTH, SINGLE = ("float32", "bfloat16"), ("float32",)


@dataclass(frozen=True)
class CaseSpec:
    """One interleaved timing. An empty `methods` means all methods.

    Each entry of `axes`, "threads=N" or "isa=NAME", adds our method with that setting to the same timing.
    """

    workload: str
    width: int
    mode: str = FORWARD
    dtypes: tuple[str, ...] = SINGLE
    methods: tuple[str, ...] = CPU_CORE
    cache: str = "warm"
    axes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        cold = " cold" if self.cache == "cold" else ""
        return f"{self.workload} d={self.width} {self.mode}{cold}"


@dataclass(frozen=True)
class Preset:
    """Cases, the number of rounds, and the seconds that a method may take per case."""

    specs: tuple[CaseSpec, ...]
    repeats: int = 20
    budget: float = 1.5


def grid(workloads: str, widths: Iterable[int], modes: Iterable[str] = MODES, **rest: object) -> list[CaseSpec]:
    """Return one case per workload, width and mode."""
    return [CaseSpec(w, d, m, **rest) for w, d, m in product(workloads.split(), widths, modes)]  # type: ignore[arg-type]


FULL = (
    # Every method runs once in cache and once out of cache.
    *grid("cora arxiv", [64], [FORWARD], methods=EVERY),
    *grid("cora", [64], [BACKWARD], methods=EVERY),
    # Widths. On arxiv a forward pass of PyG's scatter takes seconds, so only fast methods run the largest widths.
    *grid("cora pubmed", [16, 512]),
    *grid("cora pubmed", [32, 64, 128, 256], dtypes=BOTH),
    *grid("arxiv", [16, 32], [FORWARD]),
    *grid("arxiv", [128], dtypes=BOTH),
    *grid("arxiv", [64], [BACKWARD]),
    *grid("arxiv", [256, 512], [FORWARD], dtypes=BOTH, methods=FAST),
    # Other kinds of graph: few edges per node, sizes of real signed networks, no negative edges.
    *grid("road bitcoin-otc wiki-rfa", [64], dtypes=BOTH),
    *grid("arxiv+", [128], [FORWARD]),
    # Speedup by mean degree.
    *grid("degree-2 degree-4 degree-8 degree-16 degree-32 degree-64", [64], [FORWARD]),
    # High degrees, at which a row of x is read from cache many times.
    *grid("degree-128", [64, 128], dtypes=BOTH, methods=(*FAST, "torch_sparse_reduce")),
    *grid("degree-256", [64, 128], [FORWARD], dtypes=BOTH, methods=(*FAST, "torch_sparse_reduce")),
    # Coefficients or weights that require grad.
    *grid("cora pubmed", [64], LEARNABLE),
    *grid("arxiv", [64], LEARNABLE, methods=(OURS, "pyg_scatter")),
    # Caches are overwritten before each call.
    *grid("cora pubmed", [64], [FORWARD], methods=FAST, cache="cold"),
    # Threads and instruction sets, timed interleaved with the usual ones.
    *grid("pubmed arxiv", [64, 128], [FORWARD], methods=ALONE, axes=("threads=1", "isa=avx2", "isa=baseline")),
    # Reddit comes last because its 126 M edges need the most memory. torch has no sparse product for bfloat16.
    CaseSpec("reddit", 64, methods=(OURS, "merged_addmm_int32", "mkl_handle")),
    CaseSpec("reddit", 64, dtypes=("bfloat16",), methods=ALONE),
)

QUICK = (
    *grid("cora", [64], methods=EVERY),
    *grid("cora pubmed", [64, 128], dtypes=BOTH),
    *grid("cora", [64], LEARNABLE),
    *grid("road", [64], [FORWARD]),
    *grid("arxiv", [64], [FORWARD], methods=FAST),
    *grid("pubmed", [64], [FORWARD], methods=ALONE, axes=("threads=1", "isa=avx2")),
)

# `make gpu-check` has 150 seconds for these. Graphs are generated on the GPU; methods that compile come last.
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
) -> tuple[CaseSpec, ...]:
    """Return the full product of the options of the command line."""
    chosen = CaseSpec("", 0, dtypes=tuple(dtypes), methods=tuple(methods))
    return tuple(replace(chosen, workload=w, width=d, mode=m) for w, d, m in product(workloads, widths, modes))
