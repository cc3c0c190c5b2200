"""A slice of `python -m tests.soak`, and threads and processes that share a graph."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sbp_kernels import SignedGraph, signed_propagate

from .calls import SCENARIOS, features, graph_of
from .memory import soak


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_memory_stays_flat(name):
    reading = soak(name, SCENARIOS[name][0](), 400, windows=8)
    assert reading.flat, reading.line()


def results(graph: SignedGraph, x: torch.Tensor) -> list[torch.Tensor]:
    leaf = x.clone().requires_grad_()
    y = signed_propagate(leaf, graph, beta=0.3, lam=0.5, num_steps=2)
    return [y.detach(), torch.autograd.grad(y.square().sum(), leaf)[0]]


def test_eight_threads_on_a_fresh_graph_give_the_same_bits():
    """Nothing is cached on the graph when they start, so that they build what is cached at the same time."""
    x = features(3, 400)
    want = results(graph_of(5, 400).normalize("sym"), x)
    for _ in range(30):
        graph, start, got = graph_of(5, 400).normalize("sym"), threading.Barrier(8), []

        def work(graph=graph, start=start, got=got) -> None:
            start.wait(10)
            got.append(results(graph, x))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8
        assert all(torch.equal(a, b) for one in got for a, b in zip(one, want, strict=True))


class Steps(Dataset):
    """Each item is a step, computed where it is asked for."""

    def __init__(self, graph: SignedGraph) -> None:
        self.graph = graph

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return signed_propagate(features(index), self.graph, lam=0.5)


@pytest.mark.parametrize("used", [False, True], ids=["fork before the first use", "fork after it"])
def test_workers_of_a_data_loader(used):
    graph = graph_of(1)
    if used:
        signed_propagate(features(), graph)
    want = [signed_propagate(features(k), graph_of(1), lam=0.5) for k in range(8)]
    loader = DataLoader(Steps(graph), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert all(torch.equal(got, expected) for got, expected in zip(loader, want, strict=True))
