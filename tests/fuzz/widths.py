"""`python -m tests.fuzz.widths`: every width from 1 to 600 in every type and instruction set, inside the error bound.

For each width, type and number of steps: the result with fixed and with tensor coefficients, the gradients of x and of
the residual, and the derivative along a tangent, on a graph with a hub, isolated nodes and duplicate edges. Features do
not mix, so the oracle computes the largest width once and its columns serve all others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sbp_kernels import SignedGraph, signed_propagate

from .inputs.tensors import DTYPES, Array, tensor
from .oracle.checks import compare
from .oracle.layer_norm import State
from .oracle.units import SLACK, UNITS
from .oracle.value import Coefficients, Expected, linear, propagate, store
from .oracle.world import World

ISAS = ("avx512", "avx2", "baseline")
NAMES = {"avx512": "AVX-512", "avx2": "AVX2", "baseline": "baseline"}
WIDTHS, STEPS = range(1, 601), (1, 2, 3)
QUANTITIES = ("value", "value, tensor coefficients", "gradient of x", "gradient of residual", "jvp")
ALPHA, BETA, LAM = 1.25, 0.75, 0.625
NODES = 9


Worst = dict[tuple[str, str], tuple[float, int, int]]


def world() -> World:
    """Rows of 0 to 20 edges, one of them the hub; the last two nodes have none."""
    edges = {
        "kind": "edges",
        "edges": 40,
        "pattern": "hub",
        "weight": "positive",
        "weight_type": "float32",
        "grad": False,
        "index": "int64",
        "make": "edge_index",
        "columns": "int32",
        "norm": None,
        "loops": False,
        "fill": 1.0,
        "scales": False,
    }
    halves = {"pos": {**edges, "seed": 3}, "neg": {**edges, "seed": 4, "pattern": "duplicates", "weight": None}}
    return World({"rows": NODES, "cols": NODES, "builder": "halves", "threads": 1, "moves": [], **halves})


@dataclass
class Case:
    """The tensors of one type at the largest width, and what each quantity should be, by number of steps."""

    x: Tensor
    residual: Tensor
    cotangent: Tensor
    tangents: tuple[Tensor, Tensor]
    want: dict[tuple[int, str], Expected]


def _gradients(graph: World, g: Array, dtype: str, steps: int) -> tuple[Expected, Expected]:
    """Of x: K steps on the transpose without the residual; of the residual: the sum of these times 1 - lambda."""
    unit, halves = UNITS[dtype], graph.dense(True)
    parts = Coefficients(ALPHA, BETA, LAM).parts
    state, total, error = State(g), np.zeros_like(g), np.zeros_like(g)
    for _ in range(steps):
        own = np.zeros_like(g) if state.error is None else state.error
        total = total + parts[0] * state.x
        # Each sum is rounded once in either type, as the running sum may be stored in that of the features.
        error = (
            error + parts[0] * own + (4 * unit.acc + unit.store) * (np.abs(total) + parts[0] * np.abs(state.x) + error)
        )
        state = store(linear(state, halves, None, (0.0, *parts[1:]), unit), unit)
    assert state.error is not None
    return Expected(state.x, SLACK * state.error), Expected(total, SLACK * (error + unit.store_tiny))


def case(graph: World, dtype: str, width: int) -> Case:
    draw = lambda seed: tensor(seed, (NODES, width), dtype, "normal")  # noqa: E731
    (x, x64), (r, r64), (g, g64), (tx, tx64), (tr, tr64) = (draw(seed) for seed in range(5))
    want: dict[tuple[int, str], Expected] = {}
    halves, fixed = graph.dense(False), Coefficients(ALPHA, BETA, LAM)
    for steps in STEPS:
        args = (steps, None, dtype)
        want[steps, "value"] = propagate(x64, halves, fixed, r64, *args)
        want[steps, "value, tensor coefficients"] = propagate(x64, halves, fixed._replace(tensor=True), r64, *args)
        want[steps, "gradient of x"], want[steps, "gradient of residual"] = _gradients(graph, g64, dtype, steps)
        want[steps, "jvp"] = propagate(tx64, halves, fixed, tr64, *args)
    return Case(x, r, g, (tx, tr), want)


def measure(graph: SignedGraph, given: Case, width: int, steps: int) -> dict[str, Tensor]:
    """Every quantity, computed at this width."""
    x, r, g, tx, tr = (t[:, :width].contiguous() for t in (given.x, given.residual, given.cotangent, *given.tangents))
    call = lambda x, r, alpha=ALPHA: signed_propagate(  # noqa: E731
        x, graph, alpha=alpha, beta=BETA, lam=LAM, num_steps=steps, residual=r, backend="native"
    )
    got = {"value": call(x, r), "value, tensor coefficients": call(x, r, torch.tensor(ALPHA))}
    leaves = [t.clone().requires_grad_() for t in (x, r)]
    got["gradient of x"], got["gradient of residual"] = torch.autograd.grad(call(*leaves), leaves, g)
    got["jvp"] = torch.func.jvp(call, (x, r), (tx, tr))[1]
    return got


def sweep(
    dtypes: Iterable[str], widths: Iterable[int]
) -> tuple[dict[tuple[str, str], tuple[float, int, int]], list[str]]:
    """Worst error as a part of its bound, with its width and steps, by type and quantity; and what is outside."""
    graph = world()
    worst: Worst = {}
    outside = []
    widths = list(widths)
    for dtype in dtypes:
        given = case(graph, dtype, max(widths))
        for width in widths:
            for steps in STEPS:
                for name, value in measure(graph.graph, given, width, steps).items():
                    full = given.want[steps, name]
                    want = Expected(full.value[:, :width], full.bound[:, :width])
                    wrong, ratio = compare(value, want, DTYPES[dtype])
                    worst[dtype, name] = max(worst.get((dtype, name), (0.0, 0, 0)), (ratio, width, steps))
                    if wrong:
                        outside.append(f"{dtype} {name} width={width} K={steps}: {wrong}")
    return worst, outside


def run(isa: str, used: str) -> int:
    """Sweep in this process; print a row for each type."""
    if used != NAMES[isa]:
        print(f"{isa}: not measured, this processor runs {used} at most")
        return 0
    begun = time.monotonic()
    worst, outside = sweep(DTYPES, WIDTHS)
    for dtype in DTYPES:
        cells = (f"{worst[dtype, name][0]:.2f} ({worst[dtype, name][1]})" for name in QUANTITIES)
        print(f"{isa:9} {dtype:9} " + " ".join(f"{cell:>14}" for cell in cells))
    print(f"{isa}: {len(outside)} results outside of the bound, {time.monotonic() - begun:.0f} s")
    for line in outside[:20]:
        print("  " + line)
    return int(bool(outside))


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz.widths", description=__doc__)
    parser.add_argument("--isa", choices=ISAS, help="one instruction set, in this process")
    options = parser.parse_args()
    if options.isa is not None:
        torch.set_num_threads(1)
        np.seterr(all="ignore")
        return run(options.isa, torch.ops.sbp.cpu_isa())
    print("worst error / bound over widths 1 to 600 and K = 1, 2, 3 (at that width)")
    print(f"{'':20}" + " ".join(f"{name[:14]:>14}" for name in ("value", "value, tensors", *QUANTITIES[2:])))
    # The instruction set is chosen once in a process.
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.widths", "--isa", isa],
            env={**os.environ, "SBP_CPU_ISA": isa, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        for isa in ISAS
    ]
    return max(process.wait() for process in started)


if __name__ == "__main__":
    sys.exit(main())
