"""Layers with one wrong argument: PyG's own exception, or one of the package's in a clear sentence."""

from __future__ import annotations

from typing import Any

import torch

from ..inputs.bad_values import NAMES, wrong
from ..inputs.choices import Reader
from ..inputs.graphs import Spec
from ..oracle.checks import Problem

# What a layer's code may raise where PyG's raises as well.
FORWARD = ("x", "adjacency", "beside")


def decode(r: Reader, spec: Spec) -> Spec:
    spec.update(mode="value", form="edge_index", calls=1, lazy=False)
    return {**spec, "argument": r.one_of((*FORWARD, "option")), "value": r.one_of(NAMES), "which": r.byte()}


def _outcome(layer: type, call: Spec) -> Exception | None:
    from .layers import arguments, inputs

    options = arguments(call)
    features, adjacent = inputs(call)
    given: list[Any] = [*features, *adjacent]
    at = {"x": 0, "adjacency": len(features), "beside": len(given) - 1}.get(call["argument"], 0)
    named = sorted(options)
    if call["argument"] == "option" and named:
        name = named[call["which"] % len(named)]
        options[name] = wrong(call["value"], options[name])
    elif at < len(given):
        given[at] = wrong(call["value"], given[at])
    torch.manual_seed(0)
    try:
        made = layer(**options).to(features[0].dtype)
        if isinstance(made(*given), torch.Tensor):
            return None
    except Exception as error:
        return error
    return None


def check(call: Spec) -> Problem | None:
    from .bad_arguments import judge
    from .layers import classes

    theirs, mine = classes(call["function"])
    try:
        got = _outcome(mine, call)
    except Exception:
        # No such value.
        return None
    if got is None:
        return None
    what = f"{call['function']}({call['argument']}={call['value']})"
    problem = judge(got, what)
    if problem is None or type(got) is type(_outcome(theirs, call)):
        return None
    return problem
