"""pytest benchmarks --benchmark-only: the quick preset for pytest-benchmark's own reports and comparisons.

Every round goes to one method at a time here, so ratios between methods are those of `bench_propagate --quick`;
this is for one method over time: --benchmark-autosave, later --benchmark-compare.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from .cells import QUICK, Cell
from .harness import Case, admit
from .measure import DTYPES
from .methods import METHODS
from .oracle import Coefficients, Oracle
from .workloads import Workload, load

PARAMS = {
    f"{cell.label} {dtype} {method}": (cell, dtype, method)
    for cell in QUICK
    if not cell.axes
    for dtype in cell.dtypes
    for method in cell.methods or METHODS
}


@lru_cache(2)
def _graph(name: str) -> Workload:
    return load(name)


@lru_cache(2)
def _oracle(name: str, width: int, dtype: str) -> Oracle:
    return Oracle(_graph(name), width, DTYPES[dtype], Coefficients())


@pytest.mark.parametrize(("cell", "dtype", "method"), PARAMS.values(), ids=PARAMS)
def test_quick(benchmark, cell: Cell, dtype: str, method: str) -> None:
    case = Case(_graph(cell.workload), cell.width, cell.mode)
    entrant = admit(method, case, _oracle(cell.workload, cell.width, dtype), DTYPES[dtype])
    if entrant.call is None:
        pytest.skip(entrant.note)
    benchmark.group = f"{cell.label} {dtype}"
    benchmark.name = f"{method} ({entrant.backend})"
    benchmark.extra_info |= {"extra_memory_bytes": entrant.extra_memory_bytes, "threads": torch.get_num_threads()}
    rounds = max(5, min(200, int(0.3 / entrant.seconds_per_call)))
    benchmark.pedantic(entrant.call, rounds=rounds, iterations=1, warmup_rounds=2)
