"""The compiled code under the sanitizers of the compiler; `make sanitize` makes more calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PARALLEL = HERE.parents[1] / "csrc/cpu/parallel.h"
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C++ compiler on Linux"),
]


def share(folder: Path, header: str, repeats: int) -> subprocess.CompletedProcess[str]:
    """Compile sharing.cpp with this text of parallel.h and run it under the thread sanitizer."""
    (folder / "parallel.h").write_text(header)
    program = folder / "sharing"
    flags = ["-fsanitize=thread", "-g1", "-O1", "-std=c++17", "-pthread", "-Wall", "-Werror", f"-I{folder}"]
    subprocess.run([str(COMPILER), *flags, str(HERE / "sharing.cpp"), "-o", str(program)], check=True)
    env = os.environ | {"TSAN_OPTIONS": "halt_on_error=1"}
    return subprocess.run([str(program), str(repeats)], env=env, capture_output=True, text=True, timeout=120)


def test_work_sharing_under_the_thread_sanitizer(tmp_path):
    done = share(tmp_path, PARALLEL.read_text(), repeats=20)
    assert done.returncode == 0 and done.stdout.endswith(" 0 failed\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("correct", "wrong", "message"),
    [
        ("std::atomic<int64_t> next", "int64_t next", "data race"),
        ("piece + 1 == pieces ? num_rows : ", "", "rows not done exactly once"),
        ("piece = share.next++) {", "++piece) {", "data race"),
    ],
)
def test_wrong_work_sharing_is_found(tmp_path, correct, wrong, message):
    header = PARALLEL.read_text()
    assert header.count(correct) == 1
    done = share(tmp_path, header.replace(correct, wrong), repeats=2)
    assert done.returncode != 0 and message in done.stdout + done.stderr


def test_fuzz_calls_under_the_address_and_undefined_behaviour_sanitizers():
    command = [sys.executable, str(HERE / "run.py"), "--calls", "2000", "--seed", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\nclean\n"), done.stdout[-20_000:]
