"""`torch.ops.sbp.*` called by hand: every bad call is a clean exception, and layouts do not matter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from sbp_kernels.backends._extension import NOT_LOADED

if NOT_LOADED is not None:
    pytest.skip(f"native: {NOT_LOADED}", allow_module_level=True)
from tests.sbp_kernels.backends.raw_calls import BAD, GROUPS, INT32, INT64, OPS, ROWS, WIDTH, good, random, run


def test_there_are_cases_for_every_op():
    assert len(BAD) > 300
    assert {op for op, _, _ in BAD.values()} == set(OPS)


@pytest.mark.parametrize("op", OPS)
def test_the_calls_that_are_changed_are_valid(op):
    run(op, {})


@pytest.mark.parametrize("op", OPS)
def test_bad_calls_are_refused(op):
    wrong = []
    for name, (called, changes, message) in BAD.items():
        if called != op:
            continue
        try:
            run(op, changes)
            wrong.append(f"{name}: no exception")
        except (ValueError, RuntimeError) as error:
            # A ValueError comes from the shapes of meta tensors, else every sentence begins with the op.
            text = str(error)
            ours = text.startswith(f"sbp::{op}: ") or isinstance(error, ValueError)
            if message not in text or "\n" in text or not ours:
                wrong.append(f"{name}: {text}")
    assert not wrong, "\n".join(wrong)


def test_bad_calls_do_not_harm_the_process():
    """All of them once more in another process: corrupted memory would end it sooner or later."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sbp_kernels.backends.raw_calls"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.split() == [str(len(BAD)), "refused"], done.stdout + done.stderr


def test_trusted_calls_check_all_but_contents():
    name = {"trusted": True}
    with pytest.raises(RuntimeError, match="pos_weight must be float32"):
        run("signed_spmm", name | {"pos_weight": random(1)})
    with pytest.raises(RuntimeError, match="x must be float32"):
        run("merged_spmm", name | {"x": torch.ones(ROWS, WIDTH).long()})
    assert torch.equal(run("signed_spmm", name), run("signed_spmm", {}))


# The same numbers in another layout.
def spread(t: Tensor) -> Tensor:
    return torch.stack([t, t * torch.nan if t.is_floating_point() else t], -1).flatten(-2)[..., ::2]


LAYOUTS = {
    "column major": lambda t: t.mT.contiguous().mT if t.dim() > 1 else t,
    "every other number": spread,
    "rows apart": lambda t: torch.cat([t, t], -1)[..., : t.size(-1)] if t.dim() > 1 else t,
    "with an offset": lambda t: torch.cat([t.flatten()[:1], t.flatten()])[1:].view(t.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", OPS)
def test_layouts_do_not_matter(op, layout):
    args = {n: LAYOUTS[layout](v) if isinstance(v, Tensor) else v for n, v in good(op).items()}
    torch.testing.assert_close(run(op, args), run(op, {}), rtol=0, atol=0)


@pytest.mark.parametrize("op", OPS)
def test_expanded_tensors_and_zeros_without_memory(op):
    """Strides of 0, as gradients of a sum have them; torch hands zeros without memory on as such tensors."""
    for name, value in good(op).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            expanded = torch.full((), 0.5).expand(value.shape)
            torch.testing.assert_close(
                run(op, {name: expanded}), run(op, {name: expanded.contiguous()}), rtol=0, atol=0
            )
            zeros = torch._efficientzerotensor(value.shape)
            torch.testing.assert_close(
                run(op, {name: zeros}), run(op, {name: torch.zeros(value.shape)}), rtol=0, atol=0
            )


@pytest.mark.parametrize("op", ["signed_spmm", "signed_pair", "edge_dot", "signed_dot"])
def test_int64_columns(op):
    args = good(op)
    wide = {name: value.long() for name, value in args.items() if name in ("col", "pos_col", "neg_col")}
    torch.testing.assert_close(run(op, wide), run(op, {}), rtol=0, atol=0)


def test_no_rows_and_no_features():
    none = {"x": torch.zeros(ROWS, 0), "residual": torch.zeros(ROWS, 0), "x_neg": None}
    none |= {"pos_table": torch.zeros(GROUPS, 0), "neg_table": torch.zeros(GROUPS, 0)}
    assert run("signed_spmm", none).shape == (ROWS, 0)
    empty = torch.zeros(1, dtype=INT64), torch.zeros(0, dtype=INT32)
    args = {"rowptr": empty[0], "col": empty[1], "value": torch.zeros(0), "x": torch.zeros(0, 4), "residual": None}
    assert run("merged_spmm", args).shape == (0, 4)
    assert [t.numel() for t in run("csr_transpose", {"rowptr": empty[0], "col": empty[1], "num_cols": 0})] == [1, 0, 0]
