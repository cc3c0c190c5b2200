"""If a rank is killed, all others end within a timeout, with a sentence that names it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sbp_kernels import distributed, signed_propagate
from tests.graphs import labelled
from tests.sbp_kernels.distributed.processes import free_port, join_group


@pytest.mark.parametrize(
    ("layout", "killed", "backward"), [("rows", 1, False), ("features", 2, True), ("rows", 0, True)]
)
def test_names_the_killed_rank(tmp_path, layout, killed, backward):
    context, port = mp.get_context("spawn"), free_port()
    arguments = (3, port, str(tmp_path), layout, killed, backward)
    processes = [context.Process(target=work, args=(rank, *arguments)) for rank in range(3)]
    for process in processes:
        process.start()
    end = time.monotonic() + 100
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        process.kill()
    assert processes[killed].exitcode == -signal.SIGKILL
    for rank in {0, 1, 2} - {killed}:
        seconds, message = (tmp_path / str(rank)).read_text().split(" ", 1)
        assert float(seconds) < 25.0
        if killed == 0:
            # The store of the group was in the killed process.
            assert message.startswith(f"rank {rank} has lost the store of its process group") and "rank 0" in message
        else:
            assert message == f"rank {rank} has lost rank {killed}, which has ended or does not answer"


def work(rank: int, world_size: int, port: int, folder: str, layout: str, killed: int, backward: bool) -> None:
    join_group(rank, world_size, port)
    graph = labelled(0.5)
    sharded = distributed.shard(graph, layout)
    x = distributed.local_block(torch.randn(23, 6), sharded).requires_grad_()
    dist.barrier()
    start = time.monotonic()
    try:
        for step in range(1000):
            out = signed_propagate(x, sharded, lam=0.5, num_steps=2, layer_norm=True)
            if rank == killed and step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if backward:
                out.sum().backward()
    except RuntimeError as error:
        (Path(folder) / str(rank)).write_text(f"{time.monotonic() - start} {error}")
