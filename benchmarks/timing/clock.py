"""Time calls with the CPU's clock or with CUDA events."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def clock(call: Callable[[], object], inner: int, device: torch.device, warm: int = 0) -> float:
    """Return the seconds per call over `inner` consecutive calls, after `warm` untimed ones."""
    for _ in range(warm):
        call()
    if device.type == "cuda":
        return _clock_cuda(call, inner, device)
    start = time.perf_counter()
    for _ in range(inner):
        call()
    return (time.perf_counter() - start) / inner


def _clock_cuda(call: Callable[[], object], inner: int, device: torch.device) -> float:
    # Events are recorded on the current device, so that must be the device of the tensors.
    with torch.cuda.device(device):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(inner):
            call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3 / inner
