"""Compile the .cu files by nvcc alone, which works with CPU and CUDA builds of torch.

setup.py uses this module, and so do the tests that read the machine code.
    TORCH_CUDA_ARCH_LIST  e.g. "9.0" or "8.0;9.0+PTX"; default: all architectures from 8.0, plus PTX
    CUDA_HOME             the toolkit; default: that of nvcc
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
DEFAULT_ARCHS = "8.0;8.6;8.9;9.0;10.0;12.0+PTX"
FLAGS = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden", "-DUSE_CUDA", "--compress-mode=size"]
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020A000000000000", "-DTORCH_STABLE_ONLY", "-DPy_LIMITED_API=0x030A0000"]


def find_nvcc() -> str | None:
    """Return the nvcc of CUDA_HOME, else the one on PATH, else that of /usr/local/cuda, else None."""
    asked = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = (
        [Path(asked) / "bin/nvcc"] if asked else [Path(shutil.which("nvcc") or "-"), Path("/usr/local/cuda/bin/nvcc")]
    )
    return next((str(path) for path in candidates if path.exists()), None)


def cuda_home() -> Path:
    """Return the toolkit's folder as nvcc reports it, because the nvcc on PATH may be a link or a script."""
    dry = subprocess.run(
        [str(find_nvcc()), "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True, check=True
    )
    top = re.search(r"^#\$ TOP=(.*)$", dry.stderr, re.MULTILINE)
    assert top is not None, dry.stderr
    return Path(top.group(1).strip()).resolve()


def architectures() -> list[str]:
    """Return `-gencode` arguments for TORCH_CUDA_ARCH_LIST, or for those of the default list that nvcc supports."""
    wanted = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(",", ";").replace(" ", ";").strip(";")
    known = subprocess.run([str(find_nvcc()), "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    out: list[str] = []
    for entry in filter(None, (wanted or DEFAULT_ARCHS).split(";")):
        number, _, ptx = entry.partition("+")
        match = re.fullmatch(r"(\d+)\.(\d+)([af]?)", number)
        if match is None:
            raise SystemExit(f'TORCH_CUDA_ARCH_LIST must list numbers such as "9.0" or "9.0+PTX", got {entry!r}')
        arch = "".join(match.groups())
        if f"compute_{arch.rstrip('af')}" not in known.split():
            if wanted:
                raise SystemExit(f"TORCH_CUDA_ARCH_LIST names {number}, which {find_nvcc()} does not know")
            continue
        out.append(f"-gencode=arch=compute_{arch},code=sm_{arch}")
        if ptx:
            out.append(f"-gencode=arch=compute_{arch},code=compute_{arch}")
    return out


def command(
    source: Path, target: Path, archs: list[str], include: list[str], more: list[str] | None = None
) -> list[str]:
    includes = [f"-I{path}" for path in include]
    return [
        str(find_nvcc()),
        *FLAGS,
        *STABLE_ABI,
        *archs,
        *includes,
        *(more or []),
        "-c",
        str(source),
        "-o",
        str(target),
    ]


def compile_all(folder: Path, include: list[str], jobs: int | None = None) -> list[str]:
    """Compile every changed .cu file into `folder` and return the paths of all objects."""
    folder.mkdir(parents=True, exist_ok=True)
    archs = architectures()
    headers = b"".join(
        p.read_bytes() for p in sorted([*HERE.rglob("*.cuh"), *HERE.rglob("*.h"), *HERE.parent.glob("*.h")])
    )

    def compiled(source: Path) -> str:
        mark = hashlib.sha256(headers + source.read_bytes() + repr((archs, FLAGS, include)).encode()).hexdigest()[:12]
        target = folder / f"{source.stem}_{mark}.o"
        if not target.exists():
            part = target.with_suffix(".part.o")
            subprocess.run(command(source, part, archs, include), check=True)
            part.rename(target)
        return str(target)

    # The files that take longest come first, so that no core starts one of them last.
    sources = sorted(HERE.rglob("*.cu"), key=lambda p: "row_pass" not in p.name)
    with ThreadPoolExecutor(jobs or int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))) as pool:
        return list(pool.map(compiled, sources))


def link_arguments() -> list[str]:
    """Return link arguments for the static CUDA runtime, so that the binary loads without a CUDA installation."""
    folders = [
        p for p in (cuda_home() / "lib64", cuda_home() / "lib", cuda_home() / "targets/x86_64-linux/lib") if p.exists()
    ]
    return [*(f"-L{p}" for p in folders), "-lcudart_static", "-lrt", "-ldl", "-lpthread"]
