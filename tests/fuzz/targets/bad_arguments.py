"""Bad arguments: a valid call with one wrong value is refused in one clear sentence, or is right."""

from __future__ import annotations

import re
import traceback
from typing import Any

import torch
from torch import Tensor

import sbp_kernels
from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair, signed_propagate

from ..inputs.bad_values import MAY, wrong
from ..inputs.graphs import Spec
from ..inputs.valid_calls import VALID_CALLS
from ..oracle.checks import Problem

# Words of the inside that a message to the user must not have.
INSIDE = re.compile(
    r"object has no attribute|INTERNAL ASSERT|torch\._C|\bc10\b|\bat::|0x[0-9a-f]{6}|iteration over|unsupported operand"
    r"|not subscriptable|must be real number|'NoneType' object"
)
# Legal, but it takes days.
ENDLESS = {("count", "2**40")}

# `explain` says of any features which backends cannot run them.
LEGAL = {("explain", "float8")}


def check(call: Spec) -> Problem | None:
    """Make the call and use what it returns."""
    valid_call, argument, name = VALID_CALLS[call["function"]], call["argument"], call["value"]
    if (valid_call.kinds[argument], name) in ENDLESS:
        return None
    arguments = valid_call.valid()
    try:
        arguments[argument] = wrong(name, arguments[argument])
    except Exception:
        # No such value: a list of a number, a sparse tensor of one dimension.
        return None
    what = f"{call['function']}({argument}={name})"
    try:
        use(valid_call.call(**arguments))
    except Exception as error:
        return judge(error, what)
    if (
        (call["function"], name) in LEGAL
        or name in MAY[valid_call.kinds[argument]]
        or alike(arguments[argument], valid_call.valid()[argument])
    ):
        return None
    return Problem("accepted", what, "a wrong value was taken without complaint")


def alike(value: Any, valid: Any) -> bool:
    """Whether a change left a tensor as it was."""
    return (
        isinstance(value, Tensor)
        and isinstance(valid, Tensor)
        and value.layout == valid.layout
        and value.dtype == valid.dtype
        and value.device == valid.device
        and not value.requires_grad
        and torch.equal(value, valid)
    )


def judge(error: Exception, what: str) -> Problem | None:
    """Nothing, if the error is the project's own and one clear sentence."""
    text, frames = str(error), traceback.extract_tb(error.__traceback__)
    kind = f"{type(error).__name__} from {what}"
    if isinstance(error, TypeError) and "/fuzz/" in frames[-1].filename:
        # Python's own: an unknown or a missing argument.
        return None
    place = f"{'/'.join(frames[-1].filename.split('/')[-2:])}:{frames[-1].lineno}"
    if not isinstance(error, (ValueError, NotImplementedError)):
        return Problem("wrong exception", kind, f"{text} ({place})")
    if not own(frames[-1].filename):
        return Problem("wrong exception", kind, f"raised outside the package: {text} ({place})")
    if "\n" in text or not text or INSIDE.search(text):
        return Problem("unclear message", kind, f"{text} ({place})")
    return None


def own(file: str) -> bool:
    package = str(sbp_kernels.__file__).rsplit("/", 2)[0]
    return file.startswith((f"{package}/sbp_kernels/", f"{package}/python/sbp_study/"))


def use(result: Any) -> None:
    """Propagate over what a call returned, so that wrong arrays that were taken show."""
    if isinstance(result, (CSR, ClassBlock, Similarity)):
        result = SignedGraph(result)
    if not isinstance(result, SignedGraph) or max(result.num_rows, result.num_cols) > 10_000:
        return
    x = torch.ones(result.num_cols, 2, requires_grad=True)
    if result.num_rows == result.num_cols:
        y = signed_propagate(x, result, lam=0.5, num_steps=2)
    else:
        y, _ = signed_pair(x, result)
    total = y.sum()
    assert isinstance(total, Tensor)
    total.backward()
