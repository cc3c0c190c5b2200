"""Measure the tile sizes of the Triton kernels on this GPU and write them to the table that the kernels use.

Run `python -m benchmarks.tune [--quick]` on a machine with a GPU; entries of other devices are not changed. Every
candidate's result is compared with that of the default before it is timed.
"""

from __future__ import annotations

import argparse
import itertools
import pprint
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sbp_kernels import CSR, SignedGraph
from sbp_kernels.adjacency.class_block import GroupSegments
from sbp_kernels.backends.triton import ops as kernels
from sbp_kernels.backends.triton import tile_sizes

WIDTHS = (16, 32, 64, 128, 256)
DEPTHS = (64, 128, 1433)
DTYPES = (torch.float32, torch.bfloat16)
CANDIDATES: dict[str, list[tuple[int, ...]]] = {
    "row": list(itertools.product((4, 8, 16, 32), (512, 1024, 2048), (1, 2))),
    "light": list(itertools.product((1, 2, 4), (256, 512, 1024), (1, 2))),
    "segment": list(itertools.product((16, 32, 64), (1024, 2048, 4096), (2, 4))),
    "similarity": list(itertools.product((32, 64, 128), (32, 64, 128), (32, 64), (4, 8), (1, 2, 3))),
    "similarity_grad": list(itertools.product((32, 64, 128), (32, 64), (32, 64), (4, 8), (1, 2, 3))),
}
HEADER = '''"""Tiles measured by `python -m benchmarks.tune`, which writes this file.

{device name: {(kernel, bytes of a number, width, depth): tile}}
"""

TUNED: dict[str, dict[tuple[str, int, int, int], tuple[int, ...]]] = '''

Key = tuple[str, int, int, int]
# Returns the milliseconds that a call takes.
Timer = Callable[[Callable[[], Tensor]], float]


class Problem(NamedTuple):
    """One entry of the table: its key, and the call to time for each tile."""

    key: Key
    call: Callable[[], Tensor]


def graph(num_nodes: int, degree: int, device: torch.device) -> SignedGraph:
    """Return a symmetrically normalized graph with random edges, twice as many positive as negative ones."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: torch.randint(num_nodes, (2, count), generator=generator)  # noqa: E731
    pos, neg = draw(num_nodes * degree * 2 // 3), draw(num_nodes * degree // 3)
    halves = (CSR.from_edge_index(edges, num_nodes=num_nodes).normalize("sym") for edges in (pos, neg))
    return SignedGraph(*halves).to(device)


def row_problems(device: torch.device, num_nodes: int) -> Iterator[Problem]:
    """Yield rows of 30 edges for the ordinary degree bin, of 4 for the light one, and segments of group sums."""
    for kernel, degree in (("row", 30), ("light", 4)):
        signed = graph(num_nodes, degree, device)
        for dtype, width in itertools.product(DTYPES, WIDTHS):
            x = torch.randn(num_nodes, width, device=device).to(dtype)
            pos, neg = (half.operand(x, torch.float32, kernels) for half in (signed.pos, signed.neg))  # type: ignore[union-attr]

            def call(x: Tensor = x, pos: Any = pos, neg: Any = neg) -> Tensor:
                return kernels.signed_spmm(x, None, x, pos, neg, (0.5, 0.3, -0.2), None, x.size(0), None)[0]

            yield Problem((kernel, dtype.itemsize, width, 0), call)
    groups = GroupSegments(torch.arange(num_nodes, device=device) % 8, 8)
    for dtype, width in itertools.product(DTYPES, WIDTHS):
        x = torch.randn(num_nodes, width, device=device).to(dtype)
        yield Problem(
            ("segment", dtype.itemsize, width, 0),
            lambda x=x: kernels.group_sum(x, groups.order, groups.segptr, groups.group_segptr),
        )


def similarity_problems(device: torch.device, num_nodes: int) -> Iterator[Problem]:
    """Yield similarity products and their gradients."""
    scale = torch.tensor(1.0, dtype=torch.float64, device=device)
    for dtype, width, depth in itertools.product(DTYPES, (64, 128), DEPTHS):
        x0 = (torch.randn(num_nodes, depth, device=device) / depth**0.5).to(dtype)
        x = torch.randn(num_nodes, width, device=device).to(dtype)
        lse = kernels.similarity_lse(x0, scale)
        yield Problem(
            ("similarity", dtype.itemsize, width, depth),
            lambda x0=x0, x=x, lse=lse: kernels.similarity(x0, x, lse, scale, False),
        )
        yield Problem(
            ("similarity_grad", dtype.itemsize, width, depth),
            lambda x0=x0, x=x, lse=lse: kernels.similarity_grad(x0, x, x, lse, scale),
        )


def search(
    problems: Iterable[Problem], device_name: str, timer: Timer, limit: int | None = None
) -> dict[Key, tuple[int, ...]]:
    """Return the fastest tile of each problem; tiles that do not fit the device are skipped."""
    best: dict[Key, tuple[int, ...]] = {}
    table = tile_sizes.TUNED.setdefault(device_name, {})
    for key, call in problems:
        table.pop(key, None)
        tile_sizes.forget()
        want = call()
        times: dict[tuple[int, ...], float] = {}
        for tile in CANDIDATES[key[0]][:limit]:
            table[key] = tile
            tile_sizes.forget()
            seconds = measure(call, want, timer)
            if seconds is not None:
                times[tile] = seconds
        if times:
            table[key] = best[key] = min(times, key=lambda tile: times[tile])
            print(f"{key}: {best[key]}, {times[best[key]]:.4g} ms of {max(times.values()):.4g} ms")
        else:
            del table[key]
    return best


def measure(call: Callable[[], Tensor], want: Tensor, timer: Timer) -> float | None:
    """Check the result of a call and time it; None if it does not fit the device."""
    from triton.runtime.errors import OutOfResources

    try:
        got = call()
    except OutOfResources:
        return None
    tolerance = 1e-4 if want.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    return timer(call)


def write(path: Path) -> None:
    """Write the table as Python source."""
    path.write_text(HEADER + pprint.pformat(tile_sizes.TUNED, width=110) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small graphs and few candidates")
    parser.add_argument("--out", type=Path, default=Path(tile_sizes.__file__).with_name("measured_tile_sizes.py"))
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("tuning needs a GPU, but torch.cuda.is_available() is False")
    from triton.testing import do_bench

    device = torch.device("cuda", torch.cuda.current_device())
    num_nodes = 20_000 if args.quick else 200_000
    problems = itertools.chain(row_problems(device, num_nodes), similarity_problems(device, min(num_nodes, 20_000)))
    timer = lambda call: do_bench(call, return_mode="median")  # noqa: E731
    search(problems, torch.cuda.get_device_name(device), timer, limit=6 if args.quick else None)
    write(args.out)


if __name__ == "__main__":
    main()
