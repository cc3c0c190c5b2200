"""What was built and what can run here."""

from __future__ import annotations

import platform

import torch

from .backends import native
from .backends._extension import NOT_LOADED
from .backends.triton import ops as triton_ops


def show_config() -> str:
    """Return versions, the compiled parts, and the instruction set that the CPU kernels picked, as text."""
    if NOT_LOADED is None:
        compiled = f"CPU kernels: {torch.ops.sbp.cpu_isa()}; threads: {torch.get_num_threads()}; {native.cuda_archs()}"
    else:
        compiled = f"not available ({NOT_LOADED})"
    lines = [
        f"python    {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"torch     {torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        f"native    {compiled}",
        f"triton    {triton_ops.status()}",
        "reference always available",
    ]
    return "\n".join(lines)
