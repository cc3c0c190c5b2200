"""Measure the peak memory that a call allocates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.autograd.profiler import profile


def peak_extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Return the peak number of bytes in tensors that the call allocates, results included."""
    if device.type == "cuda":
        return _peak_cuda(call, device)
    return _peak_cpu(call)


def _peak_cuda(call: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    del result
    return peak - before


def _peak_cpu(call: Callable[[], object]) -> int:
    # The profiler records every allocation of torch's CPU allocator, including temporaries inside an operation.
    with _quiet_stderr(), profile(profile_memory=True) as prof:
        result = call()
    del result
    events = [e for e in prof.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide the messages that the profiler's C++ code prints at each start and stop."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
