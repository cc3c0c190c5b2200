"""Calls of `torch.ops.sbp.*` by hand: a valid one of every op, and a table of bad ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sbp_kernels  # noqa: F401  (loads the ops)

ROWS, WIDTH, GROUPS, STEPS = 7, 5, 3, 2
INT32, INT64 = torch.int32, torch.int64
SIGNED = ("signed_spmm", "signed_spmm_norm", "signed_spmm_steps", "signed_pair", "signed_dot")
MERGED = ("merged_spmm", "merged_spmm_norm", "merged_spmm_steps")
ROW_PASSES = tuple(op for op in SIGNED + MERGED if op not in ("signed_pair", "signed_dot"))
HALF = ("rowptr", "col", "weight", "row_scale", "col_scale", "table", "group")
PLAN = ("chunk", "hub", "block_rows", "warp_rows", "light_rows")


def random(*size: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def half(seed: int) -> dict[str, Any]:
    """A half with everything that one may have, by the names of its arguments."""
    row, col = torch.randint(ROWS, (2, 9 + seed), generator=torch.Generator().manual_seed(seed))
    rowptr, col, _ = torch.ops.sbp.coo_to_csr(row, col, ROWS, ROWS)
    group = torch.arange(ROWS) % GROUPS
    scales = (random(col.numel(), seed=seed), random(ROWS, seed=seed + 1), random(ROWS, seed=seed + 2))
    return dict(zip(HALF, (rowptr, col, *scales, random(GROUPS, WIDTH, seed=seed + 3), group), strict=True))


def groups() -> dict[str, Tensor]:
    order = torch.argsort(torch.arange(ROWS) % GROUPS, stable=True).to(INT32)
    return {"order": order, "segptr": torch.tensor([0, 2, 3, 5, 7]), "group_segptr": torch.tensor([0, 2, 3, 4])}


def signed(op: str) -> dict[str, Any]:
    args: dict[str, Any] = {"x": random(ROWS, WIDTH), "residual": random(ROWS, WIDTH, seed=1)}
    for sign, seed in (("pos", 0), ("neg", 4)):
        args |= {f"{sign}_{part}": value for part, value in half(seed).items()}
    args |= dict.fromkeys(PLAN)
    if op == "signed_dot":
        return args | {"y": random(ROWS, WIDTH, seed=2)}
    args["num_rows"] = ROWS
    if op == "signed_pair":
        del args["residual"]
        return args
    args |= {"x_neg": random(ROWS, WIDTH, seed=3), "coef": None, "r": 0.5, "p": 0.7, "q": -0.3}
    if op != "signed_spmm":
        args["eps"] = 1e-5
    if op == "signed_spmm_steps":
        args |= {"eps": -1.0, "num_steps": STEPS, "gamma": random(STEPS + 1), "own_residual": False}
        args |= {f"{sign}_{part}": None for sign in ("pos", "neg") for part in (*groups(), "block")}
        args |= {f"neg_{part}": value for part, value in groups().items()}
        args |= {"neg_block": random(GROUPS, GROUPS), "neg_table": None}
    return args


def signs() -> dict[str, Any]:
    args: dict[str, Any] = {"p": 0.7, "q": -0.3, "float64": False}
    for sign, seed in (("pos", 0), ("neg", 4)):
        args |= {f"{sign}_{part}": value for part, value in list(half(seed).items())[:5]}
    return args


def merged(op: str) -> dict[str, Any]:
    rowptr, col, value = torch.ops.sbp.merge_signs(**signs())
    args = {"x": random(ROWS, WIDTH), "residual": random(ROWS, WIDTH, seed=1), "coef": random(3)}
    args |= {"rowptr": rowptr, "col": col, "value": value}
    if op != "merged_spmm":
        args["eps"] = 1e-5
    if op == "merged_spmm_steps":
        args |= {"num_steps": STEPS, "gamma": random(STEPS + 1), "own_residual": False}
    return args


def good(op: str) -> dict[str, Any]:
    """The arguments of a valid call, by name."""
    if op in SIGNED:
        return signed(op)
    if op in MERGED:
        return merged(op)
    one = half(0)
    return {
        "merge_signs": signs,
        "edge_dot": lambda: {
            "a": random(ROWS, WIDTH),
            "b": random(ROWS, WIDTH, seed=1),
            **{part: one[part] for part in ("rowptr", "col", "row_scale", "col_scale")},
        },
        "group_sum": lambda: {"x": random(ROWS, WIDTH), **groups()},
        "mix_groups": lambda: {"block": random(4, GROUPS), "sums": random(GROUPS, WIDTH)},
        "coo_to_csr": lambda: {
            "row": torch.tensor([4, 0, 2]),
            "col": torch.tensor([3, 0, 1]),
            "num_rows": 5,
            "num_cols": 4,
        },
        "csr_transpose": lambda: {"rowptr": one["rowptr"], "col": one["col"], "num_cols": ROWS},
    }[op]()


OPS = (*SIGNED, *MERGED, "merge_signs", "edge_dot", "group_sum", "mix_groups", "coo_to_csr", "csr_transpose")


def without_memory(t: Tensor) -> Tensor:
    t = t.clone()
    t.untyped_storage().resize_(0)
    return t


def misaligned(t: Tensor) -> Tensor:
    raw = bytearray(t.element_size() * (t.numel() + 1))
    return torch.frombuffer(raw, dtype=t.dtype, offset=1, count=t.numel()).view(t.shape)


def changed(t: Tensor, at: int, value: int) -> Tensor:
    t = t.clone()
    t[at] = value
    return t


# What is done to the tensor of that name, and what the message says.
FEATURES = {
    "int64": (lambda t: t.long(), "must be"),
    "complex64": (lambda t: t.to(torch.complex64), "must be"),
    "other type": (lambda t: t.double(), "must be"),
    "rank 1": (lambda t: t[0], "of shape"),
    "rank 3": (lambda t: t[None], "of shape"),
    "wider": (lambda t: torch.cat([t, t], 1), "must be"),
    "longer": (lambda t: torch.cat([t, t]), "must be"),
    "meta": (lambda t: t.to("meta"), "one device"),
    "without memory": (without_memory, "has no memory behind it"),
    "misaligned": (misaligned, "is not aligned to its type"),
}
NUMBERS = {
    "int64": (lambda t: t.long(), "must be"),
    "float16": (lambda t: t.half(), "must be"),
    "longer": (lambda t: torch.cat([t, t]), "must be"),
    "shorter": (lambda t: t[1:], "must be"),
    "a scalar": (lambda t: torch.tensor(1.0), "must be"),
    "rank + 1": (lambda t: t[None], "must be"),
    "meta": (lambda t: t.to("meta"), "one device"),
    "without memory": (without_memory, "has no memory behind it"),
}
OFFSETS = {
    "int32": (lambda t: t.int(), "must be int64"),
    "float": (lambda t: t.float(), "must be int64"),
    "empty": (lambda t: t[:0], "must"),
    "falling": (lambda t: changed(t, 1, 10**9), "without decreasing"),
    "not from 0": (lambda t: changed(t, 0, -1), "must run from 0"),
    "beyond the end": (lambda t: changed(t, -1, 10**6), "must run from 0"),
}
INDICES = {
    "float": (lambda t: t.float(), "must be int32"),
    "int16": (lambda t: t.short(), "must be int32"),
    "negative": (lambda t: changed(t, 0, -1), "must lie in [0, "),
    "too large": (lambda t: changed(t, -1, 2**31 - 1), "must lie in [0, "),
    "rank 2": (lambda t: t[None], "must be int32"),
}
FIRST = {"x", "y", "a", "sums"}
KINDS = {
    **dict.fromkeys(("x", "y", "a", "b", "x_neg", "residual", "sums"), FEATURES),
    **dict.fromkeys(("weight", "row_scale", "col_scale", "table", "block", "value", "coef", "gamma"), NUMBERS),
    **dict.fromkeys(("rowptr", "segptr", "group_segptr"), OFFSETS),
    **dict.fromkeys(("col", "order"), INDICES),
}
# Changes that leave the call valid: the argument sets the size or type that others must have, or has any size.
VALID = {
    ("edge_dot", "b", "longer"),
    ("signed_dot", "x", "longer"),
    ("merge_signs", "pos_col", "too large"),
    ("merge_signs", "neg_col", "too large"),
    ("mix_groups", "block", "longer"),
    ("mix_groups", "sums", "wider"),
    ("group_sum", "x", "other type"),
    ("group_sum", "x", "wider"),
    ("group_sum", "x", "longer"),
    *((op, "x", "longer") for op in MERGED),
    ("mix_groups", "block", "shorter"),
}


def bad_by_argument() -> dict[str, tuple[str, dict[str, Any], str]]:
    """Every change of every tensor of every op."""
    cases: dict[str, tuple[str, dict[str, Any], str]] = {}
    for op in OPS:
        args = good(op)
        for name, value in args.items():
            part = name.split("_", 1)[1] if name[:4] in ("pos_", "neg_") else name
            for change, (make, message) in (KINDS.get(part, {}) if isinstance(value, Tensor) else {}).items():
                table = part == "table" and change in ("longer", "shorter")
                if table or (op, name, change) in VALID or (op in ("coo_to_csr", "csr_transpose") and part == "col"):
                    continue
                cases[f"{op}: {name} {change}"] = (op, {name: make(value)}, message)
    return cases


def plan(**changes: Tensor) -> dict[str, Tensor]:
    rows = torch.arange(ROWS, dtype=INT32)
    empty = torch.zeros(0, 3, dtype=INT32)
    return {
        "chunk": empty,
        "hub": torch.zeros(1, 2, dtype=INT32),
        "block_rows": rows[:0],
        "warp_rows": rows[:3],
        "light_rows": rows[3:],
    } | changes


NAN, INF, HUGE = float("nan"), float("inf"), 2**62
TWO = torch.tensor([0, 1])
BY_HAND: dict[str, tuple[str, dict[str, Any], str]] = {
    "edges beyond a tiny graph": (
        "coo_to_csr",
        {"row": torch.tensor([40, 0]), "col": torch.tensor([30, 0]), "num_rows": 2, "num_cols": 2},
        "col must lie in [0, 2), got values from 0 to 30",
    ),
    "col beyond": ("coo_to_csr", {"num_cols": 3}, "col must lie in [0, 3), got values from 0 to 3"),
    "negative row": ("coo_to_csr", {"row": torch.tensor([4, -1, 2])}, "row must lie in [0, 5)"),
    "col shorter than row": ("coo_to_csr", {"col": TWO}, "col must be int64 of shape [num_edges=3], got int64 [2]"),
    "int32 edges": ("coo_to_csr", {"row": torch.tensor([4, 0, 2]).int()}, "row must be int64"),
    "float edges": ("coo_to_csr", {"row": torch.ones(3)}, "row must be int64"),
    "2-D edges": ("coo_to_csr", {"row": torch.ones(3, 1).long()}, "row must be int64 of shape [num_edges]"),
    "transposed col beyond": ("csr_transpose", {"num_cols": 2}, "col must lie in [0, 2)"),
    "transposed float col": ("csr_transpose", {"col": random(9)}, "col must be int32"),
    "merged even rowptr": ("merged_spmm", {"rowptr": TWO}, "rowptr must have 2*num_rows+1 numbers, got 2"),
    "merged int64 col": ("merged_spmm", {"col": torch.zeros(13).long()}, "col must be int32"),
    "merged fewer rows": ("merged_spmm_steps", {"x": random(ROWS + 1, WIDTH)}, "need a square graph, got 7x8"),
    "merge of unequal halves": (
        "merge_signs",
        {"neg_rowptr": torch.tensor([0, 13])},
        "neg_rowptr must be int64 of shape [num_rows+1=8], got int64 [2]",
    ),
    "merge of unequal columns": ("merge_signs", {"neg_col_scale": random(8)}, "neg_col_scale must be float32"),
    "merge of int64 columns": (
        "merge_signs",
        {"pos_col": torch.zeros(9).long(), "neg_col": torch.zeros(13).long()},
        "col must be int32",
    ),
    "float32 with float64": (
        "edge_dot",
        {"b": random(ROWS, WIDTH, dtype=torch.float64)},
        "b must be float32 of shape [num_cols, features=5], got float64 [7, 5]",
    ),
    "16-bit sums": (
        "mix_groups",
        {"sums": random(GROUPS, WIDTH, dtype=torch.bfloat16)},
        "sums must be float32 or float64",
    ),
    "block for other sums": (
        "mix_groups",
        {"block": random(4, 2)},
        "block must be float32 of shape [rows, num_groups=3]",
    ),
}
for _op in ("coo_to_csr", "csr_transpose", "signed_spmm", "signed_pair"):
    for _size in (name for name in ("num_rows", "num_cols") if name in good(_op)):
        for _value in (-1, -5, HUGE, 2**63 - 1, 2**40 + 1):
            _message = f"{_size} must lie in [0, 1099511627776], got {_value}"
            BY_HAND[f"{_op}: {_size}={_value}"] = (_op, {_size: _value}, _message)
for _op in SIGNED:
    if _op != "signed_dot":
        BY_HAND[f"{_op}: num_rows too large"] = (_op, {"num_rows": ROWS + 1}, "must be")
        BY_HAND[f"{_op}: num_rows too small"] = (_op, {"num_rows": ROWS - 1}, "must be")
    for _change in (plan(warp_rows=plan()["warp_rows"][:1]), plan(hub=plan()["hub"][:0]), {"hub": plan()["hub"]}):
        BY_HAND[f"{_op}: plan {len(BY_HAND)}"] = (_op, _change, "hub, block_rows, warp_rows and light_rows must")
    BY_HAND[f"{_op}: plan of int64"] = (_op, plan(light_rows=TWO), "light_rows must be int32")
    BY_HAND[f"{_op}: chunks of two"] = (_op, plan(chunk=torch.zeros(1, 2).int()), "chunk must be int32 of shape")
    BY_HAND[f"{_op}: group beyond"] = (_op, {"pos_group": torch.full((ROWS,), GROUPS)}, "pos_group must lie in [0, 3)")
    BY_HAND[f"{_op}: group int32"] = (_op, {"pos_group": torch.zeros(ROWS).int()}, "pos_group must be int64")
    BY_HAND[f"{_op}: group huge"] = (_op, {"neg_group": torch.full((ROWS,), 10**9)}, "neg_group must lie in [0, 3)")
    BY_HAND[f"{_op}: group short"] = (_op, {"neg_group": TWO}, "neg_group must be int64 of shape [num_rows=7]")
    BY_HAND[f"{_op}: group alone"] = (_op, {"pos_table": None}, "pos_group must be given with a table")
    BY_HAND[f"{_op}: table of rows"] = (_op, {"pos_group": None}, "pos_table must be float32 of shape [num_rows=7")
    BY_HAND[f"{_op}: col alone"] = (_op, {"pos_rowptr": None}, "pos_rowptr and pos_col must be given together")
    BY_HAND[f"{_op}: weight alone"] = (_op, {"pos_rowptr": None, "pos_col": None}, "and weight or scales only with")
    BY_HAND[f"{_op}: two types of columns"] = (_op, {"neg_col": half(4)["col"].long()}, "must have the type of pos_col")
for _op in ROW_PASSES:
    BY_HAND[f"{_op}: other features"] = (_op, {"x": random(ROWS, WIDTH, dtype=torch.bfloat16)}, "must be bfloat16")
    for _size, _coef in (("four", random(4)), ("int64", torch.ones(3).long()), ("2-D", random(1, 3))):
        BY_HAND[f"{_op}: coef {_size}"] = (_op, {"coef": _coef}, "coef must be float32 of shape [numbers=3]")
for _op in ("signed_spmm_norm", "merged_spmm_norm", "signed_spmm_steps", "merged_spmm_steps"):
    for _eps in (NAN, INF, *((-1.0, -0.5) if _op.endswith("norm") else ())):
        BY_HAND[f"{_op}: eps={_eps}"] = (_op, {"eps": _eps}, f"got {_eps:f}")
for _op in ("signed_spmm_steps", "merged_spmm_steps"):
    for _steps in (0, -1, -3, 2**31, HUGE):
        _message = f"num_steps must lie in [1, 2147483647], got {_steps}"
        BY_HAND[f"{_op}: num_steps={_steps}"] = (_op, {"num_steps": _steps}, _message)
    BY_HAND[f"{_op}: gamma of fewer steps"] = (_op, {"num_steps": STEPS + 1}, "gamma must be float32 of shape")
for _missing in ("order", "segptr", "group_segptr", "block", "group"):
    BY_HAND[f"classes without {_missing}"] = ("signed_spmm_steps", {f"neg_{_missing}": None}, "must be given")
BY_HAND["classes with a table"] = ("signed_spmm_steps", {"neg_table": random(GROUPS, WIDTH)}, "exclude each other")
BY_HAND["classes in int64 order"] = (
    "signed_spmm_steps",
    {"neg_order": groups()["order"].long()},
    "neg_order must be int32",
)
BY_HAND["classes that are not square"] = ("signed_spmm_steps", {"neg_block": random(GROUPS, 2)}, "neg_block must be")
BAD = bad_by_argument() | BY_HAND


def run(op: str, changes: dict[str, Any]) -> Any:
    return getattr(torch.ops.sbp, op)(**(good(op) | changes))


def count_refused() -> int:
    """Make every bad call and return how many were refused."""
    refused = 0
    for op, changes, _ in BAD.values():
        try:
            run(op, changes)
        except (ValueError, RuntimeError):
            refused += 1
    return refused


if __name__ == "__main__":
    print(count_refused(), "refused")
