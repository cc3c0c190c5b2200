"""pytest benchmarks --benchmark-only: a short regression run for pytest-benchmark's own reports."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from .harness import Case, admit
from .methods import METHODS
from .oracle import Coefficients, Oracle
from .records import MODES
from .workloads import Workload, load

WIDTH = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@cache
def _graph(size: str) -> Workload:
    return load(size)


@cache
def _oracle(size: str, dtype: str) -> Oracle:
    return Oracle(_graph(size), WIDTH, DTYPES[dtype], Coefficients())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", ["cora", "pubmed"])
def test_propagate(benchmark, size: str, dtype: str, mode: str, method: str) -> None:
    entrant = admit(method, Case(_graph(size), WIDTH, mode), _oracle(size, dtype), DTYPES[dtype])
    if entrant.call is None:
        pytest.skip(entrant.note)
    benchmark.group = f"{size} d={WIDTH} {dtype} {mode}"
    benchmark.name = f"{method} ({entrant.backend})"
    benchmark.extra_info["extra_memory_bytes"] = entrant.extra_memory_bytes
    rounds = max(5, min(200, int(0.5 / entrant.seconds_per_call)))
    benchmark.pedantic(entrant.call, rounds=rounds, iterations=1, warmup_rounds=2)
