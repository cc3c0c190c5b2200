"""The interface of a competitor, and the registry of all competitors.

A competitor is one function from a `Problem` to `Prepared`. What it builds before it returns is setup and is not
timed: every peer has its graph in its preferred format. A peer that is not installed, or does not support the problem,
raises, and its row states the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..cases.oracle import Coefficients
from ..cases.workloads import Workload


@dataclass(frozen=True)
class Problem:
    """A graph, the coefficients, and an example of x (its dtype and device matter).

    `learnable` names what requires grad besides x: nothing, the "coefficients" or the edge "weights".
    """

    graph: Workload
    x: Tensor  # [n, d]
    coefficients: Coefficients
    learnable: str = ""


@dataclass(frozen=True)
class Prepared:
    """A method after setup: a differentiable function x [n, d] -> y [n, d], and the backend that runs it.

    `slack` multiplies the error allowed, for a peer that is known to be less accurate; `note` says why.
    """

    run: Callable[[Tensor], Tensor]
    backend: str = "torch"
    note: str = ""
    slack: float = 1.0


Method = Callable[[Problem], Prepared]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a competitor under the name used in its result rows."""

    def register(prepare: Method) -> Method:
        METHODS[name] = prepare
        return prepare

    return register


def needs_fixed_matrix(problem: Problem) -> None:
    """Raise if the problem needs gradients that a matrix with fixed values cannot provide."""
    if problem.learnable:
        raise NotImplementedError(f"its values are fixed: learnable {problem.learnable} need a new matrix per step")


def needs_cpu(problem: Problem, what: str) -> None:
    """Raise unless x is on the CPU."""
    if problem.x.device.type != "cpu":
        raise NotImplementedError(f"{what} runs on the CPU only")


def needs_memory(problem: Problem, copies: float) -> None:
    """Raise if `copies` messages per edge do not fit into the free memory."""
    wanted = copies * problem.graph.num_edges * problem.x.size(1) * problem.x.element_size()
    free = free_bytes(problem.x.device)
    if wanted > 0.8 * free:
        raise NotImplementedError(f"its messages take {wanted / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free")


def free_bytes(device: torch.device) -> float:
    """Return the free memory in bytes; infinity if it is unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return 1024.0 * float(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))


def combine_signs(problem: Problem, product: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the step as two calls of `product(x, edge_index, weight [E, 1])`, one per sign."""
    g, c = problem.graph, problem.coefficients
    pos_weight, neg_weight = (w.to(problem.x.dtype)[:, None] for w in (g.pos_weight, g.neg_weight))

    def run(x: Tensor) -> Tensor:
        attract, repel = product(x, g.pos, pos_weight), product(x, g.neg, neg_weight)
        return (1.0 - c.lam) * x + c.lam * (c.alpha * attract - c.beta * repel)

    return run
