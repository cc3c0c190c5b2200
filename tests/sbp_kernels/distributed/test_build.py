"""Graphs built from a file by several processes are those of one process."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from sbp_kernels import distributed, signed_propagate
from sbp_kernels.distributed import Partition, build
from tests.graphs import edges
from tests.sbp_kernels.distributed.processes import run

NODES = 37


@pytest.fixture
def files(tmp_path):
    """Return a folder with edges (some twice), and with weights of both signs and of one magnitude."""
    index = edges(300, NODES, NODES, 0)
    index[:, 250:] = index[:, 200:250]
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, generator=generator)
    np.save(tmp_path / "edges.npy", index.int().numpy())
    np.save(tmp_path / "weight.npy", weight.numpy())
    np.save(tmp_path / "sign.npy", weight.sign().numpy())
    np.save(tmp_path / "empty.npy", np.zeros((2, 0), dtype=np.int64))
    return tmp_path


def test_same_graph_as_one_process(files):
    for rank, found in enumerate(run(differences, 3, files)):
        assert not found, f"rank {rank}: {found}"


def differences(folder: Path) -> list[str]:
    found, x = [], torch.randn(NODES, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    build._CHUNK = 40
    partitions = (None, Partition.from_owner(torch.arange(NODES) % 2, 3))
    for weight, loops, mode, part in product((None, "weight", "sign"), (False, True), (None, "sym", "row"), partitions):
        name = f"{weight} {loops} {mode} {part}"
        path = None if weight is None else folder / f"{weight}.npy"
        options = {"edge_weight": path, "add_self_loops": loops, "normalize": mode}
        sharded = distributed.from_edge_file(folder / "edges.npy", NODES, partition=part, **options)
        file = build._open(folder / "edges.npy", path)
        graph = build._whole(file, NODES, loops, mode)
        own = [x.clone().requires_grad_(), distributed.local_block(x, sharded).requires_grad_()]
        outs = [signed_propagate(t, g, lam=0.5, num_steps=2) for t, g in zip(own, (graph, sharded), strict=True)]
        for out in outs:
            out.square().sum().backward()
        for whole, here in ((outs[0].detach(), outs[1].detach()), (own[0].grad, own[1].grad)):
            if not torch.allclose(distributed.local_block(whole, sharded), here, rtol=1e-11, atol=1e-11):
                found.append(name)
    empty = distributed.from_edge_file(folder / "empty.npy", NODES)
    block = distributed.local_block(x, empty)
    if not torch.equal(signed_propagate(block, empty, lam=0.5), 0.5 * block):
        found.append("no edges")
    return found + refusals(folder)


def refusals(folder: Path) -> list[str]:
    """A wrong value in the share of one rank is an error on all of them."""
    found = []
    odd = dist.get_rank() == 1
    calls = {
        "nodes": lambda: distributed.from_edge_file(folder / "edges.npy", 5 if odd else NODES),
        "too few": lambda: distributed.from_edge_file(folder / "edges.npy", NODES - 1),
        "mode": lambda: distributed.from_edge_file(folder / "edges.npy", NODES, normalize="sym" if odd else "row"),
        "no edges": lambda: distributed.from_edge_file(folder / "weight.npy", NODES),
        "weights": lambda: distributed.from_edge_file(folder / "edges.npy", NODES, edge_weight=folder / "edges.npy"),
        "size": lambda: distributed.from_edge_file(
            folder / "edges.npy", NODES, partition=Partition.contiguous(NODES, 2)
        ),
    }
    for name, call in calls.items():
        try:
            call()
            found.append(f"{name}: accepted")
        except ValueError as error:
            if "got" not in str(error):
                found.append(f"{name}: {error}")
    return found


def test_one_process(files):
    graph = distributed.from_edge_file(files / "edges.npy", NODES, edge_weight=files / "sign.npy", normalize="sym")
    assert graph.pos.weightless and graph.pos.num_edges + graph.neg.num_edges == 300
    with pytest.raises(ValueError, match=r"edges must lie in \[0, 9\), got values from 0 to 36"):
        distributed.from_edge_file(files / "edges.npy", 9)
