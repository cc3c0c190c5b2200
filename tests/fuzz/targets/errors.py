"""Fuzz target "errors": bad arguments of public calls and of raw operators, and edits of graphs behind their backs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st

from ..inputs.bad_values import NAMES
from ..inputs.choices import Reader, table
from ..inputs.graphs import Spec
from ..inputs.valid_calls import VALID_CALLS
from ..oracle.checks import Problem
from . import bad_arguments, raw_ops, tampering

BYTES, BATCH = 8, 20
# Calls do not depend on each other, and have nothing to shrink.
SHRINKS = False
OPS = table(("bad", 180), ("raw", 48), ("tamper", 28))
Mark = Callable[[int], None]


def decode(data: bytes) -> Spec:
    r = Reader(data)
    op = r.pick(OPS)
    if op == "bad":
        function = r.one_of(tuple(VALID_CALLS))
        return {
            "op": op,
            "function": function,
            "argument": r.one_of(tuple(VALID_CALLS[function].kinds)),
            "value": r.one_of(NAMES),
        }
    if op == "raw":
        function = r.one_of(raw_ops.OPS)
        return {
            "op": op,
            "function": function,
            "argument": r.one_of(raw_ops.changes(function)),
            "value": r.one_of(raw_ops.NAMES),
        }
    function = r.one_of(tuple(tampering.SUBJECTS))
    hows = (*tampering.EDITS, *(f"replace by {name}" for name in tampering.REPLACEMENTS))
    spec: Spec = {
        "op": op,
        "function": function,
        "argument": r.one_of(tampering.SUBJECTS[function]),
        "how": r.one_of(hows),
    }
    kinds = {"block": (1,), "similarity": (2,), "graph": (0, 1, 2, 3)}.get(function, (0, 1, 2))
    spec["kind"] = r.one_of((*kinds, 3) if function == "inputs" else kinds)
    return {**spec, "way": r.one_of(tampering.WAYS), "backend": r.one_of(("native", "reference")), "used": r.chance(50)}


def strategy(device: str) -> st.SearchStrategy[Spec]:
    call = st.binary(min_size=BYTES, max_size=BYTES).map(decode)
    return st.lists(call, min_size=BATCH, max_size=BATCH).map(lambda calls: {"target": "errors", "calls": calls})


def run(case: Spec, mark: Mark, device: str = "cpu") -> list[tuple[int, Problem]]:
    torch.set_num_threads(1)
    check = {"bad": bad_arguments.check, "raw": raw_ops.check, "tamper": tampering.check}
    problems = []
    for index, call in enumerate(case["calls"]):
        mark(index)
        problem = check[call["op"]](call)
        if problem is not None:
            problems.append((index, problem))
    return problems
