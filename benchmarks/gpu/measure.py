"""Times the row pass on a GPU against its peers, shape by shape; one JSON line a result, as soon as it is there.

Device events, median of up to 100 runs; small shapes as a replayed CUDA graph of 20 calls. Every method
is checked against a float64 result on sampled rows before it is timed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

import sbp_kernels as sbp

from .shapes import SHAPES, gathered_bytes, streamed_bytes

ALPHA, BETA, LAM = 1.1, 0.7, 0.4
COEFS = {"alpha": ALPHA, "beta": BETA, "lam": LAM}


def edges(n: int, count: int, exponent: float, seed: int) -> Tensor:
    g = torch.Generator("cuda").manual_seed(seed)
    draw = torch.rand(2, count, generator=g, device="cuda", dtype=torch.float64)
    if exponent == 0.0:
        target = (draw[0] * n).long()
        return torch.stack([(target + (draw[1] * 16).long() - 8).remainder(n), target])
    rank = torch.arange(1, n + 1, device="cuda", dtype=torch.float64).pow(-1.0 / (exponent - 1.0)).cumsum(0)
    ends = torch.searchsorted(rank, draw * rank[-1]).clamp_(max=n - 1)
    return torch.randperm(n, generator=g, device="cuda")[ends]


def median_us(run: Callable[[], object], graphed: bool, budget_s: float = 4.0) -> float:
    """Median time of one call in microseconds."""
    stream, calls = torch.cuda.Stream(), 20 if graphed else 1
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
        stream.synchronize()
        if graphed:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                for _ in range(calls):
                    run()
        once = graph.replay if graphed else run
        times: list[float] = []
        stop = time.monotonic() + budget_s
        while len(times) < 100 and (len(times) < 10 or time.monotonic() < stop):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            once()
            last.record()
            last.synchronize()
            times.append(1e3 * first.elapsed_time(last) / calls)
    return statistics.median(times)


def copy_bandwidth() -> float:
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / median_us(lambda: b.copy_(a), False) / 1e6


def methods(graph: sbp.SignedGraph, x: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    n = graph.num_nodes
    found = {"ours": lambda v: sbp.signed_propagate(v, graph, **COEFS, backend="native")}
    halves = [(h.pattern.row_index(), h.col, c) for h, c in ((graph.pos, ALPHA), (graph.neg, -BETA))]
    scales = [
        (h.row_scale.to(x.dtype)[h.pattern.row_index()] * h.col_scale.to(x.dtype)[h.col.long()])[:, None]
        for h in (graph.pos, graph.neg)
    ]

    def scatter(v: Tensor) -> Tensor:
        sums = [
            torch.zeros_like(v).scatter_add_(0, row[:, None].expand(-1, v.size(1)), v[col.long()] * scale)
            for (row, col, _), scale in zip(halves, scales, strict=True)
        ]
        return (1 - LAM) * v + LAM * (ALPHA * sums[0] - BETA * sums[1])

    # One E x d message buffer and its index must fit beside everything else.
    if sum(r.numel() for r, _, _ in halves) * x.size(1) * x.element_size() < 20e9:
        found["pyg scatter"] = scatter
    index = torch.cat([torch.stack([r, c.long()]) for r, c, _ in halves], 1)
    value = torch.cat([c * s.squeeze(1).float() for (_, _, c), s in zip(halves, scales, strict=True)])
    merged = torch.sparse_coo_tensor(index, value.to(x.dtype), (n, n)).coalesce().to_sparse_csr()
    found["merged addmm"] = lambda v: torch.addmm(v, merged, v, beta=1 - LAM, alpha=LAM)
    return found


def exact_rows(graph: sbp.SignedGraph, x: Tensor, rows: Tensor) -> Tensor:
    out = (1 - LAM) * x[rows].double()
    for half, c in ((graph.pos, LAM * ALPHA), (graph.neg, -LAM * BETA)):
        for i, row in enumerate(rows.tolist()):
            col = half.col[half.rowptr[row] : half.rowptr[row + 1]].long()
            out[i] += c * half.row_scale[row] * (half.col_scale[col].double()[:, None] * x[col].double()).sum(0)
    return out


def report(**row: object) -> None:
    print(json.dumps(row), flush=True)


def measure(name: str, d: int, dtype: torch.dtype, graph: sbp.SignedGraph, both_ways: bool) -> None:
    x = torch.randn(graph.num_nodes, d, device="cuda").to(dtype)
    small = graph.num_nodes < 200_000
    rows = torch.randint(graph.num_nodes, (16,), device="cuda")
    exact = exact_rows(graph, x, rows)
    common = {"shape": name, "d": d, "dtype": str(dtype).removeprefix("torch.")}
    for label, run in methods(graph, x).items():
        try:
            error = float((run(x)[rows].double() - exact).abs().max() / exact.abs().max())
            if error > (1e-4 if dtype == torch.float32 else 3e-2):
                report(**common, method=label, error=error, note="wrong: not timed")
                continue
            us = median_us(lambda: run(x), small)  # noqa: B023
            size = x.element_size()
            gbs = (gathered_bytes(name, d, size) + streamed_bytes(name, d, size)) / us / 1e3
            report(**common, method=label, mode="forward", us=us, counted_GBs=gbs, error=error)
            if both_ways:
                leaf, grad = x.clone().requires_grad_(), torch.randn_like(x)
                us = median_us(lambda: torch.autograd.grad(run(leaf), leaf, grad), False)  # noqa: B023
                report(**common, method=label, mode="forward+backward", us=us)
        except (RuntimeError, NotImplementedError) as failure:
            report(**common, method=label, note=str(failure).splitlines()[0][:160])


def measure_steps(graph: sbp.SignedGraph, d: int, k: int) -> None:
    x = torch.randn(graph.num_nodes, d, device="cuda")
    eager = methods(graph, x)["pyg scatter"]

    def loop(step: Callable[[Tensor], Tensor]) -> Tensor:
        y = x
        for _ in range(k):
            y = step(y)
        return y

    one = lambda: sbp.signed_propagate(x, graph, **COEFS, num_steps=k, backend="native")  # noqa: E731
    ours = lambda: loop(lambda y: sbp.signed_propagate(y, graph, **COEFS, backend="native"))  # noqa: E731
    torch.testing.assert_close(one(), ours(), rtol=1e-4, atol=1e-4)
    for label, run, graphed in (
        ("steps in one launch", one, False),
        ("our loop", ours, False),
        ("our loop, CUDA graph", ours, True),
        ("pyg scatter loop", lambda: loop(eager), False),
    ):
        if graphed and k > 50:
            continue
        us = median_us(run, graphed)
        report(shape="cora", d=d, dtype="float32", method=label, mode=f"K={k}", us=us, us_per_step=us / k)


def main() -> None:
    report(shape="copy", method="device to device", GBs=copy_bandwidth())
    for name, (n, pos, neg, exponent) in SHAPES.items():
        start = time.monotonic()
        graph = sbp.SignedGraph.from_edge_index(edges(n, pos, exponent, 0), edges(n, neg, exponent, 1), n).normalize(
            "sym"
        )
        graph.prepare()
        torch.cuda.synchronize()
        report(shape=name, method="build", s=time.monotonic() - start)
        if name == "cora":
            for k in (16, 300):
                measure_steps(graph, 64, k)
        big = pos > 10_000_000
        for dtype in (torch.float32, torch.bfloat16):
            for d in (64,) if name == "reddit" else (128,) if big else (64, 128):
                measure(name, d, dtype, graph, both_ways=not big)
        if name == "arxiv":
            label = torch.randint(40, (n,), device="cuda")
            sbp_graph = sbp.SignedGraph(graph.pos, sbp.ClassBlock.from_labels(label, label < 30))
            x = torch.randn(n, 128, device="cuda")
            for what, g in (("label-SBP step", sbp_graph), ("unsigned step", sbp.SignedGraph(graph.pos))):
                us = median_us(lambda: sbp.signed_propagate(x, g, **COEFS, backend="native"), True)  # noqa: B023
                report(shape=name, d=128, dtype="float32", method=what, mode="forward", us=us)
        del graph
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
