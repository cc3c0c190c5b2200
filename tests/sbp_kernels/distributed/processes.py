"""Run a function in several processes that form a gloo group on this machine."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run(function: Callable[..., Any], world_size: int, *args: Any) -> list[Any]:
    """Return what `function(*args)` returns on each rank."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_worker, (world_size, free_port(), folder, function, args), nprocs=world_size)
        return [torch.load(Path(folder) / str(rank), weights_only=False) for rank in range(world_size)]


def free_port() -> int:
    """Return a port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def join_group(rank: int, world_size: int, port: int) -> None:
    """Make this process one of a gloo group on this machine, with one thread."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size, timeout=timedelta(seconds=30))


def _worker(rank: int, world_size: int, port: int, folder: str, function: Callable[..., Any], args: Any) -> None:
    join_group(rank, world_size, port)
    try:
        torch.save(function(*args), Path(folder) / str(rank))
        dist.barrier()
    finally:
        dist.destroy_process_group()
