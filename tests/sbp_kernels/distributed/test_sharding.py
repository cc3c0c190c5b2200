"""Sharded graphs give the results and gradients of one process, repeat bit for bit, and refuse calls that differ."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from sbp_kernels import SignedGraph, distributed, signed_pair, signed_propagate
from sbp_kernels.distributed import Partition, partition_report
from sbp_kernels.nn import SBPConv
from tests.graphs import GRAPHS, edgeless, edges, labelled
from tests.sbp_kernels.distributed import cases
from tests.sbp_kernels.distributed.processes import run


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_equal_to_one_process(world_size):
    every = cases.failures if world_size == 4 else cases.failures_without_mesh
    for rank, found in enumerate(run(every, world_size, world_size)):
        assert not found, f"rank {rank}: " + "\n".join(found)


def test_one_process_needs_no_group():
    graph = GRAPHS["sym"]()
    assert distributed.shard(graph, "rows") is graph
    x = torch.randn(23, 3)
    assert distributed.local_block(x, graph) is x
    assert run(alone, 1) == [True]


def alone():
    graph = GRAPHS["sym"]()
    mesh = dist.device_mesh.init_device_mesh("cpu", (1, 1), mesh_dim_names=("rows", "features"))
    return distributed.shard(graph, "features") is graph and distributed.shard(graph, mesh=mesh) is graph


def test_details():
    """One start of the processes for several checks, as a start takes seconds."""
    for rank, found in enumerate(run(details, 3)):
        assert not any(found.values()), f"rank {rank}: {found}"


def details():
    checks = (cases.second_order, layer, own_partition, bf16_wire, traffic, no_communication, refusals, shapes)
    return {check.__name__: check() for check in checks}


def layer():
    """`SBPConv` accepts a sharded graph."""
    graph, found = labelled(0.5), []
    torch.manual_seed(0)
    conv = SBPConv(0.7, 0.4, 0.6, learnable=("alpha", "lam"), num_steps=2, layer_norm=True)
    x, grads = torch.randn(23, 4), []
    for one in (graph, distributed.shard(graph, "rows")):
        out = conv(distributed.local_block(x, one), one)
        conv.zero_grad()
        (out * distributed.local_block(x.sin(), one)).sum().backward()
        grads.append((out.detach(), conv.alpha.grad.clone(), conv.lam.grad.clone()))
    whole, here = grads
    sharded = distributed.shard(graph, "rows")
    expected = (distributed.local_block(whole[0], sharded), *whole[1:])
    for name, a, b in zip(("out", "alpha", "lam"), expected, here, strict=True):
        if not torch.allclose(a, b, atol=1e-4):
            found.append(f"{name}: {a} {b}")
    return found


def own_partition():
    """The owner of each node is the user's choice; a rank may own none."""
    found = []
    for owner in (torch.arange(23) % 3, torch.arange(23) % 2 * 2, torch.full((23,), 1)):
        for name in ("sym", "weighted", "labels"):
            graph = GRAPHS[name]()
            sharded = distributed.shard(graph, "rows", partition=Partition.from_owner(owner, 3))
            torch.manual_seed(0)
            x = torch.randn(23, 5, dtype=torch.float64)
            own = [x.clone().requires_grad_(), distributed.local_block(x, sharded).requires_grad_()]
            outs = [signed_propagate(t, g, lam=0.5, num_steps=3) for t, g in zip(own, (graph, sharded), strict=True)]
            for out in outs:
                out.square().sum().backward()
            pairs = [(outs[0].detach(), outs[1].detach()), (own[0].grad, own[1].grad)]
            if not all(torch.allclose(distributed.local_block(a, sharded), b, atol=1e-12) for a, b in pairs):
                found.append(f"{name}, {owner.tolist()}")
    return found


def bf16_wire():
    """Halo rows may travel in 16 bits, which costs digits of those rows only; float64 is not widened."""
    graph, x = GRAPHS["sym"](), torch.randn(23, 8, generator=torch.Generator().manual_seed(0))
    sharded = distributed.shard(graph, "rows", wire_dtype=torch.bfloat16)
    own = distributed.local_block(x, sharded).requires_grad_()
    out = signed_propagate(own, sharded, lam=0.5)
    sent = sharded.traffic.halo_bytes
    out.sum().backward()
    error = float((out.detach() - distributed.local_block(signed_propagate(x, graph, lam=0.5), sharded)).abs().max())
    report = partition_report(graph, sharded.row_partition)
    expected = report.halo_bytes(dist.get_rank(), 8, torch.bfloat16)
    return (
        [] if 0.0 < error < 0.02 and sent == expected and own.grad.dtype == torch.float32 else [(error, sent, expected)]
    )


def traffic():
    """The bytes that a rank sends are those that the partition predicts, exactly."""
    found = []
    for name, owner in (("sym", None), ("weighted", torch.arange(23) % 2), ("hub", None)):
        graph = GRAPHS[name]()
        part = None if owner is None else Partition.from_owner(owner, 3)
        sharded = distributed.shard(graph, "rows", partition=part)
        report = partition_report(graph, sharded.row_partition)
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            x = distributed.local_block(torch.ones(graph.num_rows, 6, dtype=dtype), sharded).requires_grad_()
            for steps in (1, 4):
                before = sharded.traffic.halo_bytes
                out = signed_propagate(x, sharded, num_steps=steps)
                forward = sharded.traffic.halo_bytes - before
                out.sum().backward()
                both = sharded.traffic.halo_bytes - before
                predicted = [report.halo_bytes(dist.get_rank(), 6, dtype, steps, backward=b) for b in (False, True)]
                if [forward, both] != predicted:
                    found.append(f"{name} {dtype} {steps}: {[forward, both]} {predicted}")
        if report.halo_rows[dist.get_rank()] != sharded.halo_rows:
            found.append(f"{name}: {report}")
    return found


def no_communication():
    """Linear steps on divided features send nothing; LayerNorm sends two float64 numbers a row, each way."""
    graph = labelled(0.5)
    sharded = distributed.shard(graph, "features")
    x = distributed.local_block(torch.randn(23, 8), sharded).requires_grad_()
    signed_propagate(x, sharded, lam=0.5, num_steps=5).sum().backward()
    silent = sharded.traffic.total
    signed_propagate(x, sharded, lam=0.5, num_steps=5, layer_norm=True).sum().backward()
    return [] if silent == 0 and sharded.traffic.total == 2 * 5 * 2 * 23 * 8 else [silent, sharded.traffic]


def refusals():
    """Each call differs on rank 1, and raises on every rank before its features travel."""
    rank, graph, found = dist.get_rank(), GRAPHS["sym"](), []
    sharded = distributed.shard(graph, "rows")
    norm = distributed.shard(graph, "features")
    x = distributed.local_block(torch.randn(23, 4), sharded)
    odd = rank == 1
    calls = {
        "features": lambda: signed_propagate(x[:, : 3 if odd else 4], sharded),
        "type": lambda: signed_propagate(x.double() if odd else x, sharded),
        "steps": lambda: signed_propagate(x, sharded, num_steps=2 if odd else 1),
        "coefficients": lambda: signed_propagate(x, sharded, alpha=0.5 if odd else 1.0),
        "residual": lambda: signed_propagate(x, sharded, residual=x if odd else None),
        "gradient": lambda: signed_propagate(x.clone().requires_grad_(odd), sharded),
        "rows": lambda: signed_propagate(x[1:] if odd else x, sharded),
        "operation": lambda: signed_pair(x, sharded) if odd else signed_propagate(x, sharded),
        "LayerNorm": lambda: signed_propagate(torch.zeros(23, 2), norm, lam=2.0 if odd else 1.0, layer_norm=True),
        "graph": lambda: distributed.shard(GRAPHS["row" if odd else "sym"](), "rows"),
        "partition": lambda: distributed.shard(graph, "rows", partition=Partition([0, 9 + odd, 20, 23])),
        "world size": lambda: distributed.shard(graph, "rows", partition=Partition.contiguous(23, 4)),
        "nodes": lambda: distributed.shard(graph, "rows", partition=Partition.contiguous(22, 3)),
        "layout": lambda: distributed.shard(graph, "columns"),
        "kind": lambda: distributed.shard(edges(3, 3, 3, 0), "rows"),
    }
    for name, call in calls.items():
        before = sharded.traffic.total + norm.traffic.total
        try:
            call()
            found.append(f"{name}: accepted")
        except ValueError as error:
            if "got" not in str(error) and "refused" not in str(error):
                found.append(f"{name}: {error}")
        if sharded.traffic.total + norm.traffic.total != before:
            found.append(f"{name}: has sent features")
    try:
        torch.func.jvp(lambda t: signed_propagate(t, sharded), (x,), (x,))
        found.append("forward mode: accepted")
    except NotImplementedError:
        pass
    return found


def shapes():
    """No features, fewer nodes than ranks, one sign only, and a graph without edges."""
    found = []
    for graph in (GRAPHS["sym"](), edgeless(1), GRAPHS["only neg"](), edgeless(5), GRAPHS["duplicates"]()):
        sharded = distributed.shard(graph, "rows")
        for width in (0, 1):
            x = distributed.local_block(torch.ones(graph.num_rows, width), sharded)
            if signed_propagate(x, sharded, num_steps=2).shape != x.shape:
                found.append(f"{graph} {width}")
    return found


def test_partitions():
    graph = SignedGraph.from_edge_index(edges(4000, 300, 300, 0), edges(2000, 300, 300, 1), 300)
    for size in (1, 3, 7):
        part = Partition.by_edges(distributed.row_degree(graph), size)
        report = partition_report(graph, part)
        assert sum(report.nodes) == 300 and sum(report.edges) == 6000 and report.imbalance < 1.05
        assert sum(report.sent_rows) == sum(report.halo_rows)
        assert torch.equal(torch.cat([part.nodes(rank) for rank in range(size)]), torch.arange(300))
        assert "edge cut" in str(report)
    owner = torch.randint(5, (300,), generator=torch.Generator().manual_seed(0))
    part = Partition.from_owner(owner, 6)
    assert torch.equal(part.owners(part.positions(torch.arange(300))), owner)
    assert part.size(5) == 0 and all(
        torch.equal(owner[part.nodes(rank)].unique(), torch.tensor([rank])) for rank in (0, 4)
    )


@pytest.mark.parametrize("owner", [torch.zeros(3), torch.zeros(3, 1, dtype=torch.int64), torch.tensor([0, 2]), "x"])
def test_bad_owners(owner):
    with pytest.raises(ValueError, match="owner must"):
        Partition.from_owner(owner, 2)


def test_metis_cuts_fewer_edges():
    pytest.importorskip("pymetis")
    # Four dense blocks whose nodes are interleaved.
    source, target = edges(8000, 64, 64, 0)
    block = torch.arange(8000) % 4
    inside = torch.stack([source * 4 + block, target * 4 + block])
    graph = SignedGraph.from_edge_index(inside, edges(60, 256, 256, 1), 256)
    metis = partition_report(graph, Partition.metis(graph, 4))
    plain = partition_report(graph, Partition.contiguous(256, 4))
    assert metis.edge_cut < 0.1 < plain.edge_cut and metis.imbalance < 1.2
