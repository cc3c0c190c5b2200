"""Peak memory that a call takes on top of what was there before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.autograd.profiler import profile


def peak_extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors alive at the worst moment of the call, its results included."""
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
    # The profiler hears of every allocation from torch's CPU allocator itself, so it also sees
    # the temporaries inside an op (a mode that looks at an op's outputs does not).
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
    """Hide the lines that the profiler's C++ code writes at each start and stop."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
