"""`python -m sbp_kernels`: print the report of the environment that an issue needs.

Only the standard library is imported at the top, and every probe is guarded: the report also works where torch or the
extension does not import.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "triton", "numpy", "scipy", "torch-geometric", "torch-geometric-signed-directed", "setuptools")
VARIABLES = (
    *("SBP_BUILD_NATIVE", "SBP_BUILD_CUDA", "SBP_CXXFLAGS", "SBP_CPU_ISA", "SBP_CPU_TRAITS"),
    *("TORCH_CUDA_ARCH_LIST", "CUDA_HOME", "CXX"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET", "TRITON_CACHE_DIR"),
)


def guarded(probe: Callable[[], str]) -> str:
    """Return what a probe returns, or the error that it raised, on one line."""
    try:
        return probe()
    except (Exception, SystemExit) as error:
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())}"


def package(name: str) -> str:
    """Return the version of an installed distribution, or "not installed"."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def source() -> str:
    """Return the version of the imported package and its folder."""
    return f"{importlib.import_module('sbp_kernels').__version__} in {Path(__file__).parent}"


def system() -> str:
    """Return the operating system, its C library and the architecture."""
    libc = " ".join(platform.libc_ver())
    return f"{platform.system()} {platform.release()} {platform.machine()} {libc}".strip()


def processor() -> str:
    """Return the model of the processor and the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores} cores"


def first_line(*command: str, containing: str = "") -> str:
    """Return the first line that a program prints with `containing` in it, or "not found" without the program."""
    if shutil.which(command[0]) is None:
        return "not found"
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return next(line.strip() for line in lines if containing in line)


def nvcc() -> str:
    """Return the release of the CUDA compiler on PATH."""
    return first_line("nvcc", "--version", containing="release")


def kernels() -> str:
    """Return `show_config()`: what was compiled, and what can run here."""
    return "\n" + importlib.import_module("sbp_kernels.config").show_config()


def variables() -> str:
    """Return the environment variables that the package or its build read, if they are set."""
    return ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "none set"


def main() -> int:
    """Print the report; return 0, whatever the probes found."""
    gpu = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    probes: dict[str, Callable[[], str]] = {
        "sbp_kernels": source,
        "python": lambda: " ".join(sys.version.split()),
        "system": system,
        "processor": processor,
        "GPU": lambda: first_line(*gpu),
        "C++ compiler": lambda: first_line(os.environ.get("CXX", "c++"), "--version"),
        "nvcc": nvcc,
        **{name: lambda name=name: package(name) for name in PACKAGES},  # type: ignore[misc]
        "variables": variables,
        "kernels": kernels,
    }
    width = max(map(len, probes))
    for name, probe in probes.items():
        text = guarded(probe)
        print(f"{name:{width}}  {text}" if not text.startswith("\n") else f"\n{name}{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
