"""Build the device code for the CPU (see shim.h) and load it as a backend: `native.py` with other operators."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("SBP_ROOT", HERE.parents[1]))
CUDA = ROOT / "csrc/cuda"
# The folder of the library, which is rebuilt when a source changes.
FOLDER = Path(os.environ.get("SBP_SHIM_FOLDER", ROOT / "build/shim"))
SANITIZE = os.environ.get("SBP_SHIM_SANITIZE", "")
# Degree bins so low that graphs of 23 nodes have rows in all: a group of lanes, a warp, a block, a hub in chunks.
BINS = (3, 6, 12)


def build(folder: Path) -> Path:
    """Compile the shim and every .cu file with the C++ compiler and return the path of the library."""
    sources = [*sorted(CUDA.rglob("*.cu")), HERE / "shim.cpp"]
    flags = ["-std=c++17", "-O1", "-fPIC", "-g1", "-Wno-unknown-pragmas", "-Wno-psabi"]
    flags += ["-DTORCH_TARGET_VERSION=0x020A000000000000", "-DTORCH_STABLE_ONLY"]
    flags += [f"-I{Path(torch.__file__).parent / 'include'}", f"-I{CUDA}", f"-I{ROOT / 'csrc'}"]
    sanitize = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"] if SANITIZE else []
    texts = b"".join(
        p.read_bytes()
        for p in sorted([*CUDA.rglob("*.[ch]*"), *HERE.glob("shim.*"), Path(__file__), *ROOT.glob("csrc/*.*")])
    )
    mark = hashlib.sha256(texts + repr((flags, sanitize, torch.__version__)).encode()).hexdigest()[:16]
    library = folder / f"shim_{mark}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> str:
        target = folder / f"{mark}_{source.name}.o"
        command = [os.environ.get("CXX", "g++"), *flags, *sanitize, "-include", str(HERE / "shim.h")]
        subprocess.run([*command, "-x", "c++", "-c", str(source), "-o", str(target)], check=True)
        return str(target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    torch_libraries = Path(torch.__file__).parent / "lib"
    link = [f"-L{torch_libraries}", "-ltorch_cpu", f"-Wl,-rpath,{torch_libraries}"]
    subprocess.run(
        [os.environ.get("CXX", "g++"), "-shared", *sanitize, *objects, *link, "-o", str(library)], check=True
    )
    for path in objects:
        os.remove(path)
    return library


def load() -> types.ModuleType:
    """Return a copy of the backend `native` whose operators are the device code on the CPU, with low degree bins."""
    torch.ops.load_library(str(build(FOLDER)))
    spec = importlib.util.spec_from_file_location(
        "sbp_kernels.backends.device_code", ROOT / "sbp_kernels/backends/native.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    module._ops = torch.ops.sbp_shim
    module._spmm, module._spmm_norm = module._ops.signed_spmm.default, module._ops.signed_spmm_norm.default
    module._BINNED, module._SUB_WARP, module._WARP, module._BLOCK = ("cpu",), *BINS
    module._MERGED = ()
    return module
