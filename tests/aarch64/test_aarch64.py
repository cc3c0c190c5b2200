"""The CPU code on 64-bit Arm: a cross compiler builds it, and its row kernels run in an emulator.

Both are packages of Debian: g++-aarch64-linux-gnu and qemu-user.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
# The libraries of the cross compiler, for the emulator.
LIBRARIES = "/usr/aarch64-linux-gnu"
FLAGS = [
    "-std=c++17", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wno-psabi", "-Werror",
    f"-I{CSRC}",
]  # fmt: skip
ISA = sorted(CSRC.glob("cpu/isa/*.cpp"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None or EMULATOR is None, reason="needs g++-aarch64-linux-gnu and qemu-user"),
]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("aarch64") / "row_kernels"
    run(COMPILER, *FLAGS, "-O2", HERE / "row_kernels.cpp", *ISA, "-o", found)
    return found


@pytest.mark.parametrize("isa", ["neon", "baseline"])
def test_row_kernels(program, isa):
    shown = run(EMULATOR, "-L", LIBRARIES, "-E", f"SBP_CPU_ISA={isa}", program)
    assert shown.strip().lower() == f"{isa}: 0 failed"


@pytest.mark.parametrize("source", sorted(CSRC.glob("*.cpp")) + sorted(CSRC.glob("cpu/*.cpp")), ids=lambda p: p.name)
def test_the_extension_compiles(source):
    from torch.utils.cpp_extension import include_paths

    # As system headers, whose warnings do not count.
    headers = [f"-isystem{path}" for path in (*include_paths(), sysconfig.get_path("include"))]
    abi = ["-DTORCH_TARGET_VERSION=0x020A000000000000", "-DTORCH_STABLE_ONLY", "-DPy_LIMITED_API=0x030A0000"]
    run(COMPILER, *FLAGS, *abi, *headers, "-DTORCH_EXTENSION_NAME=_C", "-fsyntax-only", source)
