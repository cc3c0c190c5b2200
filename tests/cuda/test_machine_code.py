"""Tests of the machine code of the kernels: registers, spills, load widths, atomics. They need nvcc, but no GPU."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

ROOT = Path(os.environ.get("SBP_ROOT", Path(__file__).parents[2]))
_spec = importlib.util.spec_from_file_location("cuda_build", ROOT / "csrc/cuda/nvcc_build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)
# One architecture; a release build compiles the same sources for the others.
ARCH = os.environ.get("SBP_MACHINE_CODE_ARCH", "90")
# Compiling the kernels takes 40 seconds.
pytestmark = pytest.mark.slow
ATOMIC = re.compile(r"\b(ATOM|ATOMS|ATOMG|RED|REDS|REDG)\b")


def find_tool(name: str) -> str | None:
    """cuobjdump or nvdisasm: the toolkit's, or the ones that come with Triton."""
    places = [shutil.which(name)]
    if build.find_nvcc():
        places.append(str(build.cuda_home() / "bin" / name))
    triton = importlib.util.find_spec("triton")
    for folder in (triton.submodule_search_locations or []) if triton else []:
        places.append(str(Path(folder) / "backends/nvidia/bin" / name))
    places += (os.environ.get("SBP_CUDA_TOOLS", "") and [str(Path(os.environ["SBP_CUDA_TOOLS"]) / name)]) or []
    return next((p for p in places if p and Path(p).exists()), None)


def short(mangled: str) -> str:
    """The kernel and its template arguments, from a mangled name."""
    demangled = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout.strip()
    return re.sub(r"sbp::device::|void |\(.*$|\(int\)", "", demangled)


@pytest.fixture(scope="session")
def kernels(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """Return the resource usage and the machine code of every kernel."""
    if build.find_nvcc() is None:
        pytest.skip("no nvcc (set CUDA_HOME)")
    dump, disassemble = find_tool("cuobjdump"), find_tool("nvdisasm")
    if dump is None or disassemble is None:
        pytest.skip("no cuobjdump and nvdisasm (they come with the CUDA toolkit and with Triton)")
    folder = tmp_path_factory.mktemp("cubin")
    include = [str(Path(torch.__file__).parent / "include")]

    def look_into(source: Path) -> dict[str, tuple[str, str]]:
        cubin = folder / f"{source.stem}.cubin"
        command = build.command(source, cubin, [f"-arch=sm_{ARCH}"], include, ["-cubin"])
        command.remove("-c")
        subprocess.run(command, check=True)
        usage = subprocess.run([dump, "-res-usage", str(cubin)], capture_output=True, text=True, check=True)
        resources = dict(re.findall(r"Function (\S+?):\s*\n\s*(REG:.*)", usage.stdout + usage.stderr))
        # nvdisasm writes one section of code per kernel.
        code = subprocess.run([disassemble, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
        sections = re.split(r"\n\.text\.(\S+?):\n", code)[1:]
        return {short(name): (resources[name], body) for name, body in zip(sections[::2], sections[1::2], strict=True)}

    # launch.cu has no kernel.
    sources = sorted(p for p in (ROOT / "csrc/cuda").rglob("*.cu") if p.stem != "launch")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {name: found for file in pool.map(look_into, sources) for name, found in file.items()}


def number(resources: str, what: str) -> int:
    return int(re.search(rf"\b{what}:(\d+)", resources).group(1))


def row_kernels(kernels: dict) -> dict:
    return {k: v for k, v in kernels.items() if k.startswith("row_pass_kernel")}


def test_every_variant_was_compiled(kernels):
    names = row_kernels(kernels)
    for storage in ("float", "double", "sbp::device::bf16", "fp16"):
        for index in ("int", "long"):
            mine = [
                n for n in names if n.startswith(f"row_pass_kernel<{storage.removeprefix('sbp::device::')}, {index},")
            ]
            epilogues = {n.rstrip(">").split(", ")[-1] for n in mine}
            assert epilogues >= {"Identity", "Pair", "Dot"}, (storage, index, epilogues)
            assert storage == "double" or "LayerNorm" in epilogues


def test_no_kernel_spills(kernels):
    for name, (resources, code) in kernels.items():
        assert number(resources, "STACK") == 0 and number(resources, "LOCAL") == 0, f"{name}: {resources}"
        assert not re.search(r"\b(STL|LDL)\b", code), f"{name} touches local memory"


def test_vector_kernels_load_sixteen_bytes(kernels):
    """Every variant cut in 16-byte vectors has at least as many 128-bit loads in flight as rows in a batch."""
    seen = 0
    for name, (_, code) in row_kernels(kernels).items():
        storage, _, vec, *_ = name.split("<", 1)[1].split(", ")
        if int(vec) * {"float": 4, "double": 8}.get(storage, 2) == 16:
            loads = len(re.findall(r"\bLDG\.E\.128", code))
            assert loads >= 4, f"{name}: {loads} loads of 128 bits"
            seen += 1
    assert seen >= 24


def test_no_atomic_instruction(kernels):
    """No sum depends on the order of threads. Only the grid barrier of multi_step_kernel may use atomics."""
    for name, (_, code) in kernels.items():
        if not name.startswith("multi_step_kernel"):
            assert not ATOMIC.search(code), f"{name}: {ATOMIC.search(code).group(0)}"


def test_registers_leave_room_for_enough_warps(kernels):
    """With one 16-byte load per lane, the forward pass has 32 warps of 64 registers per multiprocessor; else 16."""
    for name, (resources, _) in row_kernels(kernels).items():
        _, _, _, tile, epilogue = name.split("<", 1)[1].rstrip(">").split(", ")
        limit = 64 if tile == "1" and epilogue in ("Identity", "LayerNorm") else 128
        assert number(resources, "REG") <= limit, f"{name}: {resources}"
