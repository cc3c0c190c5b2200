"""What was built and what can run here."""

from __future__ import annotations

import platform

import torch

from .backends import native
from .backends._extension import NOT_LOADED
from .backends.triton import ops as triton_ops


def show_config() -> str:
    """Return versions, the compiled parts, and what the CPU kernels picked for this processor, as text.

    `SBP_CPU_ISA` (avx512, avx2, baseline) limits the instruction set; `SBP_CPU_TRAITS` replaces traits of the
    processor, such as "prefetch_to=1,pack_degree=32". Both are read once per process.
    """
    if NOT_LOADED is None:
        compiled = f"CPU kernels: {torch.ops.sbp.cpu_isa()}; threads: {torch.get_num_threads()}; {native.cuda_archs()}"
        processor = [f"cpu       {torch.ops.sbp.cpu_traits()}"]
    else:
        compiled, processor = f"not available ({NOT_LOADED})", []
    lines = [
        f"python    {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"torch     {torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        f"native    {compiled}",
        *processor,
        f"triton    {triton_ops.status()}",
        "reference always available",
    ]
    return "\n".join(lines)
