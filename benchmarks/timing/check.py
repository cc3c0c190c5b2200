"""Check a method against the oracle before it is timed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..cases.modes import BACKWARD, FORWARD, LEARNABLE, OURS
from ..cases.oracle import Oracle
from ..competitors import METHODS, Prepared, Problem
from .candidate import Candidate, Case, calls_per_sample
from .clock import clock
from .peak_memory import peak_extra_bytes


def check_candidate(method: str, case: Case, oracle: Oracle, dtype: torch.dtype) -> Candidate:
    """Prepare a method, check its result and gradients, and measure its memory.

    A method that is not installed or not supported here is returned with the reason and without a call. A wrong
    result raises `WrongResult`, so that it is never timed.
    """
    x, grad = oracle.inputs(case.width)
    candidate = Candidate(method, dtype)
    try:
        problem, leaves = _problem(case, x)
        with warnings.catch_warnings():
            # torch warns once, at the first tensor, that sparse CSR support is in beta.
            warnings.simplefilter("ignore")
            prepared = METHODS[method](problem)
            call = _step(prepared, case.mode, x, grad, leaves)
            result = call()
    except (RuntimeError, NotImplementedError, ImportError) as error:
        # Our method must run: all others are compared with it.
        if method == OURS:
            raise
        kind = "not installed: " if isinstance(error, ImportError) else "not supported: "
        candidate.note = kind + (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        return candidate
    learnable = LEARNABLE.get(case.mode, "")
    oracle.check(f"{method} ({dtype}, d={case.width})", result, slack=prepared.slack, learnable=learnable)
    del result
    candidate.call, candidate.backend, candidate.note = call, prepared.backend, prepared.note
    start = time.perf_counter()
    candidate.extra_memory_bytes = peak_extra_bytes(call, x.device)
    candidate.seconds_per_call = time.perf_counter() - start
    # Measuring memory slows short calls, so they are timed again: first once, then over as many calls as in a sample.
    if candidate.seconds_per_call < 0.5:
        candidate.seconds_per_call = clock(call, 1, x.device)
        candidate.seconds_per_call = clock(call, calls_per_sample(candidate.seconds_per_call), x.device)
    return candidate


def _problem(case: Case, x: Tensor) -> tuple[Problem, list[Tensor]]:
    """Return the problem for the method, and the tensors besides x that require grad."""
    learnable, c, graph = LEARNABLE.get(case.mode, ""), case.coefficients, case.graph
    leaves: list[Tensor] = []
    if learnable == "coefficients":
        c = c.requiring_grad(x)
        leaves = list(vars(c).values())
    elif learnable == "weights":
        weights = {k: getattr(graph, k).to(x.dtype).requires_grad_() for k in ("pos_weight", "neg_weight")}
        graph, leaves = replace(graph, **weights), list(weights.values())
    return Problem(graph, x, c, learnable), leaves


def _step(
    prepared: Prepared, mode: str, x: Tensor, grad: Tensor, leaves: Sequence[Tensor] = ()
) -> Callable[[], tuple[Tensor, ...]]:
    """Return the function that is timed: it computes y, or y and the gradients."""
    if mode == FORWARD:
        return lambda: (prepared.run(x),)
    if mode not in (BACKWARD, *LEARNABLE):
        raise ValueError(f"mode must be one of {', '.join((FORWARD, BACKWARD, *LEARNABLE))}, got {mode!r}")
    leaf = x.detach().requires_grad_()

    def step() -> tuple[Tensor, ...]:
        y = prepared.run(leaf)
        return (y, *torch.autograd.grad(y, [leaf, *leaves], grad))

    return step
