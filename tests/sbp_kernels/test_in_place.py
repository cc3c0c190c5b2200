"""Sums that a kernel updates in place: no feature is added twice, at any width, type and instruction set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from sbp_kernels import CSR, SignedGraph, signed_propagate
from sbp_kernels.backends._extension import NOT_LOADED

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
ISAS = {"avx512": "AVX-512", "avx2": "AVX2", "baseline": "baseline"}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
NODES, WIDTHS, STEPS = 6, range(1, 601), 3
# r, p, q and the factors of the running sum.
R, P, Q = 0.5, 0.55, -0.35
GAMMA = (0.7, -0.4, 0.3, 0.9)


def halves() -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """(rowptr, col) of both signs, int32 columns."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(NODES, (2, 2, 18), generator=generator)
    return tuple(torch.ops.sbp.coo_to_csr(row, col, NODES, NODES)[:2] for row, col in edges)  # type: ignore[return-value]


def dense(half: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return CSR(*half).to_dense()


def powers(step: torch.Tensor, x: torch.Tensor) -> list[torch.Tensor]:
    states = [x]
    for _ in range(STEPS):
        states.append(step @ states[-1])
    return states


def weighted(factors: tuple[float, ...], states: list[torch.Tensor]) -> torch.Tensor:
    return sum(factor * state for factor, state in zip(factors, states, strict=False))  # type: ignore[return-value]


def wrong_widths(dtype: torch.dtype) -> dict[str, list[int]]:
    """Widths at which a running sum is outside its error bound, by the call that returns it.

    The bound is that of the sum of magnitudes: one rounding to `dtype` in each step, and one in each addition.
    """
    pos, neg = halves()
    graph = SignedGraph(CSR(*pos), CSR(*neg))
    x = torch.randn(NODES, WIDTHS[-1], generator=torch.Generator().manual_seed(1)).to(dtype)
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    unit = torch.finfo(dtype).eps * STEPS + torch.finfo(acc).eps * 64
    step = R * torch.eye(NODES) + P * dense(pos) + Q * dense(neg)
    # signed_propagate: lam = 1 - r, alpha and beta such that p and q are those above; the residual is not x.
    other = P * dense(pos) + Q * dense(neg)
    plain, states = powers(other.T, x.double()), powers(step, x.double())
    sizes = (P * dense(pos).T - Q * dense(neg).T, R * torch.eye(NODES) + P * dense(pos) - Q * dense(neg))
    plain_size, state_size = (powers(size, x.double().abs()) for size in sizes)
    magnitude = tuple(abs(factor) for factor in GAMMA)
    wanted = {
        "gradient of residual": (weighted((R,) * STEPS, plain), weighted((R,) * STEPS, plain_size)),
        "signed_spmm_steps": (weighted(GAMMA, states), weighted(magnitude, state_size)),
        "merged_spmm_steps": (weighted(GAMMA, states), weighted(magnitude, state_size)),
    }
    gamma, merged = (
        torch.tensor(GAMMA, dtype=acc),
        torch.ops.sbp.merge_signs(*pos, None, None, None, *neg, None, None, None, 1.0, 1.0, acc == torch.float64),
    )
    empty, found = (None,) * 5, dict[str, list[int]]((name, []) for name in wanted)
    for width in WIDTHS:
        z = x[:, :width].contiguous()
        residual = torch.zeros_like(z, requires_grad=True)
        y = signed_propagate(
            z, graph, alpha=P / (1 - R), beta=-Q / (1 - R), lam=1 - R, num_steps=STEPS, residual=residual
        )
        args = (z, None, z, *pos, *empty, *neg, *empty, None, R, P, Q, NODES, -1.0, STEPS, gamma)
        got = {
            "gradient of residual": torch.autograd.grad(y, residual, z)[0],
            "signed_spmm_steps": torch.ops.sbp.signed_spmm_steps(*args, *(None,) * 8, True, *empty)[1],
            "merged_spmm_steps": torch.ops.sbp.merged_spmm_steps(
                z, z, -1.0, STEPS, gamma, True, *merged, None, False, R, P, Q
            )[1],
        }
        for name, (want, size) in wanted.items():
            if bool(((got[name] - want[:, :width]).abs() > unit * size[:, :width]).any()):
                found[name].append(width)
    return found


@pytest.mark.parametrize("isa", ISAS)
def test_running_sums_at_all_widths(isa):
    # The instruction set is chosen once in a process.
    program = "from tests.sbp_kernels import test_in_place; test_in_place.main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"SBP_CPU_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    used, *lines = done.stdout.splitlines()
    if used != ISAS[isa]:
        pytest.skip(f"this processor runs {used} at most")
    assert lines == []


def main() -> None:
    """Print the instruction set in use, then a line for each call and type that has wrong widths."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print(torch.ops.sbp.cpu_isa())
    for dtype in DTYPES:
        for name, widths in wrong_widths(dtype).items():
            if widths:
                print(f"{name} in {dtype} is wrong at the widths {widths}")
