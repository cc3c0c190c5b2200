"""`python tests/sanitizers/run.py`: build the extension with sanitizers in a separate folder and run the fuzzer."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("build_tools", "csrc", "sbp_kernels", "python", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")
# -g1: function names and lines, without the types that make up most of the compile time of -g.
FLAGS = "-g1 -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
SANITIZERS = {
    # CPython and torch never free their globals, so leaks are not reported. The fuzzer requests huge allocations, which
    # must fail as without sanitizers.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:halt_on_error=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:abort_on_error=1",
}
# Texts that a sanitizer prints. They also reveal errors in child processes whose exit status is lost.
REPORTS = ("AddressSanitizer", "runtime error: ", "UndefinedBehaviorSanitizer")


def copy(folder: Path) -> None:
    """Bring `folder` up to date with the sources; unchanged files keep their times, so that ninja skips them."""
    names = [name for name in COPIED if (ROOT / name).exists()]
    wanted = {path for name in names for path in files(ROOT / name, ROOT)}
    present = {path for name in names for path in files(folder / name, folder)}
    for path in present - wanted:
        (folder / path).unlink()
    for path in wanted:
        source, target = ROOT / path, folder / path
        if path not in present or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def files(top: Path, root: Path) -> set[Path]:
    """Return the files under `top` relative to `root`, without compiled ones."""
    found = [top] if top.is_file() else top.rglob("*")
    skipped = (".so", ".pyc")
    return {path.relative_to(root) for path in found if path.is_file() and path.suffix not in skipped}


def runtime_libraries() -> str:
    """Return LD_PRELOAD for a Python that was not built with sanitizers itself."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        asked = [os.environ.get("CC", "gcc"), f"-print-file-name={name}"]
        path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if not os.path.isabs(path):
            raise SystemExit(f"{asked[0]} has no {name}; install the sanitizer libraries of this compiler")
        found.append(path)
    return ":".join(found)


def build(folder: Path) -> None:
    env = os.environ | {"SBP_CXXFLAGS": FLAGS, "SBP_BUILD_NATIVE": "1", "SBP_BUILD_CUDA": "0"}
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\nthe build with {FLAGS} failed with exit status {done.returncode}")


def passes(folder: Path, *arguments: str) -> bool:
    """Run Python on the copy under the sanitizers; print its output as it comes."""
    paths = os.pathsep.join([str(folder), str(folder / "python")])
    env = os.environ | SANITIZERS | {"PYTHONPATH": paths, "LD_PRELOAD": runtime_libraries()}
    print("running python", " ".join(arguments), flush=True)
    command = [sys.executable, *arguments]
    reported = False
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode(errors="replace")
            reported |= any(report in text for report in REPORTS)
            print("   ", text, end="", flush=True)
    print(f"    exit status {process.returncode}{', with a report of a sanitizer' if reported else ''}", flush=True)
    return process.returncode == 0 and not reported


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python tests/sanitizers/run.py", description=__doc__)
    parser.add_argument("--calls", type=int, default=50_000, help="how many calls the fuzzer makes")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same calls")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/sanitize", help="where to build")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    begun = time.monotonic()
    copy(folder)
    build(folder)
    print(f"built {folder} with {FLAGS} in {time.monotonic() - begun:.0f} s", flush=True)
    loaded = (
        "import sbp_kernels.backends._extension as library; print(library.__file__); assert library.NOT_LOADED is None"
    )
    fuzz = ("--calls", options.calls, "--seed", options.seed, "--jobs", options.jobs, "--out", folder / "out")
    clean = [
        passes(folder, "-c", loaded),
        passes(folder, "-m", "tests.sbp_kernels.backends.raw_calls"),
        passes(folder, "-m", "tests.fuzz", *map(str, fuzz)),
    ]
    print("clean" if all(clean) else "NOT clean, see above")
    return int(not all(clean))


if __name__ == "__main__":
    sys.exit(main())
