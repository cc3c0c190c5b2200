"""How the .cu files are compiled: by nvcc alone, against a CPU or a CUDA build of torch alike.

Used by setup.py, by the tests that read the machine code, and by the check on a GPU.
    TORCH_CUDA_ARCH_LIST  e.g. "9.0" or "8.0;9.0+PTX"; default: every generation from 8.0 on, plus PTX
    CUDA_HOME             the toolkit; default: where nvcc is
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
    """The compiler of CUDA_HOME, or the one on the path, or where toolkits usually are."""
    asked = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = (
        [Path(asked) / "bin/nvcc"] if asked else [Path(shutil.which("nvcc") or "-"), Path("/usr/local/cuda/bin/nvcc")]
    )
    return next((str(path) for path in candidates if path.exists()), None)


def cuda_home() -> Path:
    """Where the toolkit is, as nvcc itself says: the nvcc on the path may be a link or a script."""
    dry = subprocess.run(
        [str(find_nvcc()), "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True, check=True
    )
    top = re.search(r"^#\$ TOP=(.*)$", dry.stderr, re.MULTILINE)
    assert top is not None, dry.stderr
    return Path(top.group(1).strip()).resolve()


def architectures() -> list[str]:
    """`-gencode` arguments for TORCH_CUDA_ARCH_LIST; of the default list, what this toolkit knows."""
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
    """Compile every .cu file here into `folder`; unchanged ones are kept. The paths of the objects."""
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

    # The longest first, so that no core is left with one at the end.
    sources = sorted(HERE.rglob("*.cu"), key=lambda p: "row_pass" not in p.name)
    with ThreadPoolExecutor(jobs or int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))) as pool:
        return list(pool.map(compiled, sources))


def link_arguments() -> list[str]:
    """The CUDA runtime goes into the binary, so that it loads where there is none."""
    folders = [
        p for p in (cuda_home() / "lib64", cuda_home() / "lib", cuda_home() / "targets/x86_64-linux/lib") if p.exists()
    ]
    return [*(f"-L{p}" for p in folders), "-lcudart_static", "-lrt", "-ldl", "-lpthread"]
