"""Calls of the registered operators themselves with one wrong argument: an exception or a result, never a crash."""

from __future__ import annotations

from typing import Any

import torch

from sbp_kernels import CSR

from ..inputs.bad_values import CHANGES, CONSTANTS, wrong
from ..inputs.graphs import Spec
from ..inputs.valid_calls import NODES, WIDTH, edges, features
from ..oracle.checks import Problem

OPS = (
    "signed_spmm",
    "signed_spmm_norm",
    "signed_spmm_steps",
    "merged_spmm",
    "merged_spmm_norm",
    "merged_spmm_steps",
    "merge_signs",
    "signed_pair",
    "signed_dot",
    "edge_dot",
    "group_sum",
    "mix_groups",
    "coo_to_csr",
    "csr_transpose",
)
GROUPS = 3
# Changes of a tensor that no operator can make sense of.
NEVER = {
    "complex64",
    "bool",
    "int8",
    "float8",
    "meta",
    "sparse coo",
    "sparse csr",
    "extra dimension",
    "nested",
    "quantized",
}
# Entries of index arrays that lie outside of what they point into.
OUTSIDE = {"-1 inside", "huge inside", "10**6 inside"}
INDICES = ("rowptr", "col", "row", "group", "order", "segptr", "group_segptr")
# Which tensors must keep their number of rows.
SIZED = (*INDICES, "weight", "row_scale", "col_scale", "value", "table", "gamma", "coef")


def _values() -> dict[str, Any]:
    """A valid value for every argument, by its name without the prefix of the half."""
    half = CSR.from_edge_index(edges(), num_nodes=NODES)
    group = torch.arange(NODES) % GROUPS
    return {
        "rowptr": half.rowptr,
        "col": half.col,
        "weight": torch.ones(12),
        "row_scale": torch.ones(NODES),
        "col_scale": torch.ones(NODES),
        "table": torch.ones(GROUPS, WIDTH),
        "group": group,
        "order": torch.argsort(group, stable=True).to(torch.int32),
        "segptr": torch.arange(GROUPS + 1) * (NODES // GROUPS),
        "group_segptr": torch.arange(GROUPS + 1),
        "block": torch.ones(GROUPS, GROUPS),
        "sums": torch.ones(GROUPS, WIDTH),
        "coef": torch.tensor([0.5, 0.25, -0.5], dtype=torch.float64),
        "r": 0.5,
        "p": 0.5,
        "q": -0.5,
        "num_rows": NODES,
        "num_cols": NODES,
        "eps": 1e-5,
        "num_steps": 3,
        "gamma": torch.ones(4),
        "own_residual": False,
        "float64": False,
        **{name: features() for name in ("x", "x_neg", "residual", "y", "a", "b")},
    }


def valid(op: str) -> dict[str, Any]:
    """Arguments of a call that the operator runs; degree bins, which only CUDA reads, are left out."""
    values, named = _values(), {}
    block = ("table", "group", "order", "segptr", "group_segptr", "block")
    if op == "coo_to_csr":
        values["row"], values["col"] = edges()[1].contiguous(), edges()[0].contiguous()
    if op.startswith("merged"):
        halves = [values[name] for name in ("rowptr", "col", "weight", "row_scale", "col_scale")]
        merged = torch.ops.sbp.merge_signs(*halves, *halves, 1.0, 1.0, False)
        values["rowptr"], values["col"], values["value"] = merged
    steps = op == "signed_spmm_steps"
    for argument in getattr(torch.ops.sbp, op).default._schema.arguments:
        short = argument.name.removeprefix("pos_").removeprefix("neg_")
        if op == "signed_spmm_steps" and argument.name == "x_neg":
            named[argument.name] = None
        elif argument.name.startswith("neg_") and op != "merge_signs":
            # The negative half is a class block; in steps, one whose table follows from the features.
            used = (*block[1:],) if steps else block[:2]
            named[argument.name] = values[short] if short in used else None
        elif argument.name.startswith("pos_") and short in (
            "table",
            "group",
            "order",
            "segptr",
            "group_segptr",
            "block",
        ):
            named[argument.name] = None
        else:
            named[argument.name] = values.get(short)
    return named


def changes(op: str) -> list[str]:
    return [name for name, value in valid(op).items() if value is not None]


def check(call: Spec) -> Problem | None:
    op, argument, name = call["function"], call["argument"], call["value"]
    arguments = valid(op)
    before = arguments[argument]
    if argument == "num_steps" and name in ("2**40", "1e300"):
        return None
    try:
        arguments[argument] = wrong(name, before)
    except Exception:
        return None
    what = f"torch.ops.sbp.{op}({argument}={name})"
    try:
        getattr(torch.ops.sbp, op)(**arguments)
    except Exception as error:
        if "INTERNAL ASSERT" in str(error):
            return Problem("wrong exception", what, str(error))
        return None
    return Problem("accepted", what, "a wrong value was taken") if _nonsense(argument, name, before) else None


def _nonsense(argument: str, name: str, before: Any) -> bool:
    """Whether no result can be right."""
    short = argument.removeprefix("pos_").removeprefix("neg_")
    if name in CONSTANTS or not isinstance(before, torch.Tensor):
        return argument == "num_steps" and name in ("-1", "-5", "0")
    if short in INDICES and (name in OUTSIDE or name in ("float32", "float16", "float64")):
        return True
    if name in ("one fewer", "empty", "one more") and short in SIZED:
        return short not in ("table", "order", "col", "group") or name != "one more"
    return name in NEVER or (name in ("int32", "int64") and before.is_floating_point())


NAMES = (*CHANGES, "-5", "-1", "0", "7", "2**40", "None", "nan", "1.5", "text", "float scalar", "empty vector")
