"""pytest benchmarks --benchmark-only: run the quick preset with pytest-benchmark's reports and comparisons.

Methods are timed one after the other here. Use this to track one method over time (--benchmark-autosave, later
--benchmark-compare), and `bench_propagate --quick` for ratios between methods.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from .cases.oracle import Coefficients, Oracle
from .cases.presets import QUICK, CaseSpec
from .cases.workloads import Workload, load
from .competitors import METHODS
from .timing.candidate import Case
from .timing.check import check_candidate
from .timing.run_case import DTYPES

PARAMS = {
    f"{spec.label} {dtype} {method}": (spec, dtype, method)
    for spec in QUICK
    if not spec.axes
    for dtype in spec.dtypes
    for method in spec.methods or METHODS
}


@lru_cache(2)
def _graph(name: str) -> Workload:
    return load(name)


@lru_cache(2)
def _oracle(name: str, width: int, dtype: str) -> Oracle:
    return Oracle(_graph(name), width, DTYPES[dtype], Coefficients())


@pytest.mark.parametrize(("spec", "dtype", "method"), PARAMS.values(), ids=PARAMS)
def test_quick(benchmark, spec: CaseSpec, dtype: str, method: str) -> None:
    case = Case(_graph(spec.workload), spec.width, spec.mode)
    candidate = check_candidate(method, case, _oracle(spec.workload, spec.width, dtype), DTYPES[dtype])
    if candidate.call is None:
        pytest.skip(candidate.note)
    benchmark.group = f"{spec.label} {dtype}"
    benchmark.name = f"{method} ({candidate.backend})"
    benchmark.extra_info |= {"extra_memory_bytes": candidate.extra_memory_bytes, "threads": torch.get_num_threads()}
    rounds = max(5, min(200, int(0.3 / candidate.seconds_per_call)))
    benchmark.pedantic(candidate.call, rounds=rounds, iterations=1, warmup_rounds=2)
