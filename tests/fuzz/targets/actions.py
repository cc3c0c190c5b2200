"""Calls that are no propagation: writing to edge weights, and `use_backend` in two threads at once."""

from __future__ import annotations

import threading

import torch

import sbp_kernels
from sbp_kernels import use_backend
from sbp_kernels.backends import BACKENDS

from ..inputs.graphs import Spec
from ..oracle.checks import Problem
from ..oracle.halves import EdgeModel
from ..oracle.world import World


def write(call: Spec, world: World) -> Problem | None:
    """Write to fixed edge weights in place; from now on the model has what the public attribute shows."""
    half, model = getattr(world.graph, call["half"]), getattr(world, call["half"])
    if not isinstance(model, EdgeModel) or half.weight is None or model.param is not None or model.norm:
        return None
    assert model.weight is not None
    weight, before = half.weight, model.weight
    factor = (-1.0, 0.5, 2.0, 0.0)[call["by"] % 4]
    with torch.no_grad():
        if call["how"] == "multiply":
            weight.mul_(factor)
        elif call["how"] == "copy":
            weight.copy_(factor * weight)
        else:
            weight[: len(weight) // 2] = factor
    after = before * factor
    if call["how"] == "fill":
        after = before.clone()
        after[: len(after) // 2] = factor
    shown = half.weight.detach().cpu().double()
    if not torch.equal(shown, after) and not torch.equal(shown, before):
        return Problem(
            "wrong value", "weights after a write", "the attribute shows neither the old nor the new weights"
        )
    model.weight = shown
    model.forget()
    return None


def overlap() -> Problem | None:
    """Two threads whose `use_backend` blocks overlap: each has its own backend."""
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with use_backend("native"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with use_backend("reference"):
        thread.start()
        entered.wait(10)
        inside = _selected()
    leave.set()
    thread.join()
    after = _selected()
    if inside != "reference" or after != _DEFAULT:
        return Problem("wrong value", "use_backend is shared between threads", f"inside {inside}, afterwards {after}")
    return None


def _selected() -> str:
    chosen = sbp_kernels.backends.select(torch.zeros(1, 1), None)
    return next(name for name, kernels in BACKENDS.items() if kernels is chosen)


_DEFAULT = _selected()
