"""`python -m tests.fuzz.widths`: every width from 1 to 600, in every type, instruction set and derivative.

Each result is held against dense float64 matrices, within a bound that follows the steps: a step's error is that of
its input carried through |A|, one rounding of the accumulation type a term, and one of the storage type a result.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

ISAS = ("avx512", "avx2", "baseline")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MODES = ("forward", "gradient of x", "gradient of residual", "jvp")
NODES, ALPHA, BETA, LAM = 24, 0.9, 0.7, 0.6
# Terms of a row: its edges, the residual, and the roundings of factors.
TERMS = NODES + 24


def graph_and_matrix() -> tuple[object, Tensor]:
    """A graph with a hub, isolated nodes and repeated edges, and p A+ + q A- of a step as a dense float64 matrix."""
    from sbp_kernels import SignedGraph

    generator = torch.Generator().manual_seed(0)
    pos = torch.randint(NODES - 4, (2, 60), generator=generator)
    hub = torch.stack([torch.arange(NODES - 4), torch.full((NODES - 4,), 3)])
    pos = torch.cat([pos, hub, pos[:, :9]], 1)
    neg = torch.randint(NODES - 4, (2, 40), generator=generator)
    graph = SignedGraph.from_edge_index(pos, neg, NODES).normalize("sym")
    return graph, LAM * ALPHA * dense(pos) - LAM * BETA * dense(neg)


def dense(index: Tensor) -> Tensor:
    """The symmetrically normalised adjacency of these edges."""
    one = torch.ones(index.size(1), dtype=torch.float64)
    matrix = torch.zeros(NODES, NODES, dtype=torch.float64).index_put((index[1], index[0]), one, accumulate=True)
    degree = matrix.sum(1)
    scale = torch.where(degree > 0, degree.clamp_min(1.0).rsqrt(), 0.0)
    return scale[:, None] * matrix * scale


def steps(matrix: Tensor, x: Tensor, own: float, residual: Tensor, num_steps: int, eps: tuple[float, float]):
    """(value, bound on the error) after `num_steps` of own x + residual + matrix x; the same of the sum before."""
    value, bound = x, torch.zeros_like(x)
    total, total_bound = torch.zeros_like(x), torch.zeros_like(x)
    absolute = matrix.abs()
    for _ in range(num_steps):
        # Each term and each sum may be rounded to the storage type, where autograd adds up the steps.
        total = total + value
        total_bound = total_bound + bound + (TERMS * eps[0] + (num_steps + 2) * eps[1]) * value.abs()
        size = own * value.abs() + residual.abs() + absolute @ value.abs()
        bound = own * bound + absolute @ bound + TERMS * eps[0] * size
        value = own * value + residual + matrix @ value
        bound = bound + eps[1] * (value.abs() + bound)
    return value, bound, total, total_bound


Result = tuple[Tensor, Tensor, Tensor]


def results(
    graph: object, matrix: Tensor, width: int, dtype: torch.dtype, num_steps: int, tensors: bool
) -> Iterator[Result]:
    """(computed, exact, bound) of each of `MODES`."""
    from sbp_kernels import signed_propagate

    generator = torch.Generator().manual_seed(width)
    x, residual, grad = (torch.randn(NODES, width, generator=generator).to(dtype) for _ in range(3))
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    eps = (torch.finfo(acc).eps, torch.finfo(dtype).eps / (2 if acc != dtype else 1))
    number = (lambda v: torch.tensor(v, dtype=acc)) if tensors else (lambda v: v)
    call = {"alpha": number(ALPHA), "beta": number(BETA), "lam": number(LAM), "num_steps": num_steps}
    own, zero = 1 - LAM, torch.zeros_like(x, dtype=torch.float64)
    leaf, fixed = x.clone().requires_grad_(), residual.clone().requires_grad_()

    y = signed_propagate(leaf, graph, **call)
    yield y.detach(), *steps(matrix, x.double(), own, zero, num_steps, eps)[:2]
    exact = steps(matrix.T, grad.double(), own, zero, num_steps, eps)
    yield torch.autograd.grad(y, leaf, grad)[0], *exact[:2]

    run: Callable[..., Tensor] = lambda x, r: signed_propagate(x, graph, residual=r, **call)  # noqa: E731
    _, _, total, bound = steps(matrix.T, grad.double(), 0.0, zero, num_steps, eps)
    got = torch.autograd.grad(run(x, fixed), fixed, grad)[0]
    yield got, own * total, own * (1 + num_steps * eps[1]) * bound
    tangent = torch.func.jvp(run, (x, residual), (grad, residual))[1]
    yield tangent, *steps(matrix, grad.double(), 0.0, own * residual.double(), num_steps, eps)[:2]


def sweep(widths: Sequence[int]) -> int:
    """Hold every case of this process's instruction set against its bound; return the number of failures."""
    torch.set_num_threads(1)
    graph, matrix = graph_and_matrix()
    worst: dict[tuple[str, str], float] = {}
    failures = 0
    for width in widths:
        for dtype in DTYPES:
            for num_steps in (1, 2, 3):
                # Tensor coefficients take other paths around the same kernels.
                for tensors in (False, True) if width <= 40 or width % 8 == 1 else (False,):
                    cases = results(graph, matrix, width, dtype, num_steps, tensors)
                    for mode, (got, exact, bound) in zip(MODES, cases, strict=True):
                        tiny = torch.finfo(dtype).smallest_normal
                        ratio = float(((got.double() - exact).abs() / (bound + tiny)).max())
                        key = (str(dtype).removeprefix("torch."), mode)
                        worst[key] = max(worst.get(key, 0.0), ratio)
                        if not (ratio <= 1.0 and got.dtype == dtype and bool(got.isfinite().all())):
                            failures += 1
                            print(f"width {width}, {key[0]}, {mode}, {num_steps} steps: {ratio:.3g} of the bound")
    for (dtype_name, mode), ratio in sorted(worst.items()):
        print(f"  {dtype_name:9s} {mode:21s} worst error / bound {ratio:.3f}")
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.widths", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=1, help="first width")
    parser.add_argument("--last", type=int, default=600, help="last width")
    parser.add_argument("--stride", type=int, default=1, help="every how many-th width")
    parser.add_argument("--isa", choices=ISAS, help="only this instruction set, in this process")
    args = parser.parse_args(argv)
    if args.isa is not None:
        os.environ["SBP_CPU_ISA"] = args.isa
        return int(sweep(range(args.first, args.last + 1, args.stride)) > 0)
    command = [sys.executable, "-m", "tests.fuzz.widths", "--first", str(args.first), "--last", str(args.last)]
    command += ["--stride", str(args.stride), "--isa"]
    failed = False
    for isa in ISAS:
        print(f"{isa}: widths {args.first} to {args.last}", flush=True)
        failed |= subprocess.run([*command, isa], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
