"""Fuzz target "core": a graph and a batch of calls on it, held against the dense oracle."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from ..inputs.calls import call_spec
from ..inputs.graphs import Spec, graph_spec
from ..oracle.checks import Problem, check_value, title_of
from ..oracle.world import World
from . import actions
from .derivatives import check_derivative

GRAPH_BYTES, CALL_BYTES, BATCH = 40, 32, (12, 24)
SHRINKS = True
Mark = Callable[[int], None]


def _case(drawn: tuple[bytes, list[bytes]]) -> Spec:
    graph = graph_spec(drawn[0])
    return {"target": "core", "graph": graph, "calls": [call_spec(data, graph) for data in drawn[1]]}


def strategy(device: str) -> st.SearchStrategy[Spec]:
    """Cases of one graph and `BATCH` calls."""
    return st.tuples(
        st.binary(min_size=GRAPH_BYTES, max_size=GRAPH_BYTES),
        st.lists(st.binary(min_size=CALL_BYTES, max_size=CALL_BYTES), min_size=BATCH[0], max_size=BATCH[1]),
    ).map(_case)


def run(case: Spec, mark: Mark, device: str = "cpu") -> list[tuple[int, Problem]]:
    """Every problem of the case, with the position of its call. `mark` is told which call begins."""
    mark(0)
    torch.set_num_threads(case["graph"]["threads"])
    try:
        world = World(case["graph"], device)
    except Exception as error:
        return [(0, _raised("graph", error))]
    problems = []
    for index, call in enumerate(case["calls"]):
        mark(index)
        problem = _checked(call, world)
        if problem is not None:
            problems.append((index, problem))
    return problems


def _checked(call: Spec, world: World) -> Problem | None:
    try:
        if call["op"] == "write":
            return actions.write(call, world)
        if call["op"] == "overlap":
            return actions.overlap()
        if call["mode"] == "value":
            return check_value(call, world)[0]
        return check_derivative(call, world)[0]
    except Exception as error:
        return _raised(title_of(call, world), error)


def _raised(title: str, error: Exception) -> Problem:
    """A legal call that raised; grouped by the line that raised."""
    where: Any = traceback.extract_tb(error.__traceback__)[-1]
    place = "/".join(where.filename.split("/")[-2:])
    words = [word for word in title.split() if word in ("extreme", "similarity", "autocast")]
    mode = " ".join(title.split(" default")[0].split(" native")[0].split(" reference")[0].split()[1:])
    return Problem(
        "exception",
        " ".join([f"{type(error).__name__} at {place}:{where.lineno} in {mode}", *words]),
        f"{title}: {error}",
    )
