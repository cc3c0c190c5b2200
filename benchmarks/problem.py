"""What a competitor is given and gives back, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .oracle import Coefficients
from .workloads import Workload


@dataclass(frozen=True)
class Problem:
    """A graph, the coefficients, and one x to look at (its dtype and device count).

    `learns` names what takes a gradient besides x: nothing, the "coefficients" or the edge "weights".
    """

    graph: Workload
    x: Tensor  # [n, d]
    coefficients: Coefficients
    learns: str = ""


@dataclass(frozen=True)
class Prepared:
    """A method ready to run: x [n, d] -> y [n, d], differentiable, and the code behind it.

    `slack` widens the error allowed, for a peer that is known to be less exact; `note` says why.
    """

    run: Callable[[Tensor], Tensor]
    backend: str = "torch"
    note: str = ""
    slack: float = 1.0


Method = Callable[[Problem], Prepared]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a competitor under the name that its rows carry."""

    def register(prepare: Method) -> Method:
        METHODS[name] = prepare
        return prepare

    return register


def needs_fixed_matrix(problem: Problem) -> None:
    """Refuse what a matrix with everything baked into its values cannot learn."""
    if problem.learns:
        raise NotImplementedError(f"its values are fixed: {problem.learns} cannot learn without a new matrix a step")


def needs_cpu(problem: Problem, what: str) -> None:
    if problem.x.device.type != "cpu":
        raise NotImplementedError(f"{what} runs on the CPU only")


def needs_memory(problem: Problem, copies: float) -> None:
    """Refuse a call that stores a message an edge so many times over, where that does not fit."""
    wanted = copies * problem.graph.num_edges * problem.x.size(1) * problem.x.element_size()
    free = free_bytes(problem.x.device)
    if wanted > 0.8 * free:
        raise NotImplementedError(f"its messages take {wanted / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free")


def free_bytes(device: torch.device) -> float:
    """Memory that a call may still take, in bytes; unknown counts as endless."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return 1024.0 * float(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
