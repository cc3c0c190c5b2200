"""The same bits every time, whatever the number of threads."""

from __future__ import annotations

import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from tests.graphs import edges


def test_100_runs_and_any_number_of_threads(backend, threads):
    n, num_edges, width = 2000, 40_000, 70
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(5, (n,), generator=generator)
    weight = torch.rand(num_edges, generator=generator).requires_grad_()
    alpha = torch.tensor(1.1, requires_grad=True)
    beta = torch.tensor(0.7, requires_grad=True)
    x = torch.randn(n, width, generator=generator).requires_grad_()
    upstream = torch.randn(n, width, generator=generator)
    sparse = CSR.from_edge_index(edges(num_edges, n, n, 0), weight, n)
    graphs = [
        SignedGraph(sparse, CSR.from_edge_index(edges(num_edges, n, n, 1), num_nodes=n)),
        SignedGraph(sparse, ClassBlock.from_labels(y, y < 4)),
    ]

    def run(graph: SignedGraph) -> list[torch.Tensor]:
        out = signed_propagate(x, graph, alpha=alpha, beta=beta, lam=0.5, layer_norm=True, backend=backend)
        return [out, *torch.autograd.grad(out, [x, weight, alpha, beta], upstream)]

    # Plain torch promises the same bits for one number of threads only.
    compiled = backend != "reference"
    for graph in graphs:
        threads(1)
        want = run(graph)
        for count in (1, 2) if compiled else (1,):
            threads(count)
            for _ in range(100 if compiled else 3):
                for got, bits in zip(run(graph), want, strict=True):
                    assert torch.equal(got, bits)
