"""How long calls take, on the CPU's clock or the GPU's."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def clock(call: Callable[[], object], inner: int, device: torch.device, warm: int = 0) -> float:
    """Seconds per call, over `inner` calls in a row after `warm` others."""
    for _ in range(warm):
        call()
    if device.type == "cuda":
        return _clock_cuda(call, inner, device)
    start = time.perf_counter()
    for _ in range(inner):
        call()
    return (time.perf_counter() - start) / inner


def _clock_cuda(call: Callable[[], object], inner: int, device: torch.device) -> float:
    # Events lie on the current stream of the current device: make that the tensors' own.
    with torch.cuda.device(device):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(inner):
            call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3 / inner
