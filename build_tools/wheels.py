"""python build_tools/wheels.py: build the sdist and the wheel, check them, and run them in empty environments.

The wheel is built from the sdist, against the torch of this environment, with the CUDA kernels if SBP_BUILD_CUDA=1 or
torch is a CUDA build with nvcc. auditwheel gives it the oldest manylinux tag that its symbols allow; it leaves torch's
libraries out, because torch has loaded them before the extension is. torch-abi-audit checks that only the stable ABI of
libtorch and CPython is used.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# libtorch is found through torch, the C++ runtime of g++ is part of every manylinux system.
TORCH_LIBRARIES = ("libc10*", "libtorch*", "libcudart*", "libcuda*")
PROGRAM = """
import sys, torch, warnings
warnings.simplefilter("error", RuntimeWarning)
import sbp_kernels as s
assert "CPU kernels" in s.show_config(), s.show_config()
torch.manual_seed(0)
pos, neg = torch.randint(50, (2, 400)), torch.randint(50, (2, 200))
graph = s.SignedGraph.from_edge_index(pos, neg, num_nodes=50).normalize("sym")
x = torch.randn(50, 24, requires_grad=True)
results = []
for backend in ("native", "reference"):
    y = s.signed_propagate(x, graph, lam=0.5, num_steps=3, layer_norm=True, backend=backend)
    results.append((y, *torch.autograd.grad(y.square().sum(), x)))
for ours, theirs in zip(*results):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}: native equals reference")
"""


def run(*command: str | Path, **options: object) -> None:
    """Run a program and raise SystemExit with its command line if it fails."""
    print("+", *command, flush=True)
    if subprocess.run([str(part) for part in command], check=False, **options).returncode:  # type: ignore[call-overload]
        raise SystemExit(f"failed: {' '.join(str(part) for part in command)}")


def build(out: Path) -> tuple[Path, Path]:
    """Return the sdist and the wheel that was built from it."""
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {"SBP_BUILD_NATIVE": "1"}
    plain = out / "plain"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", plain, cwd=ROOT, env=environment)
    (sdist,), (wheel,) = plain.glob("*.tar.gz"), plain.glob("*.whl")
    return sdist.rename(out / sdist.name), wheel


def repair(wheel: Path, out: Path) -> Path:
    """Return the wheel with a manylinux tag, or unchanged where there is no auditwheel (it exists for Linux only)."""
    if shutil.which("auditwheel") is None:
        print("no auditwheel: the wheel keeps its platform tag")
        return wheel.rename(out / wheel.name)
    excluded = [word for name in TORCH_LIBRARIES for word in ("--exclude", name)]
    run("auditwheel", "repair", *excluded, "--wheel-dir", out, wheel)
    (repaired,) = out.glob("*.whl")
    return repaired


def audit(wheel: Path, out: Path) -> None:
    """Print what torch-abi-audit finds in the extension; SystemExit unless it is of the stable ABI."""
    if shutil.which("torch-abi-audit") is None:
        print("no torch-abi-audit: the ABI is not checked")
        return
    with zipfile.ZipFile(wheel) as archive:
        library = next(name for name in archive.namelist() if name.endswith(".so"))
        path = archive.extract(library, out / "plain")
    done = subprocess.run(["torch-abi-audit", path], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="")
    if done.returncode or "STABLE" not in done.stdout:
        raise SystemExit("the extension uses more than the stable ABI of torch")


def sizes(files: Sequence[Path]) -> str:
    """Return a Markdown table of the files and of the largest members of wheels."""
    lines = ["| file | MB |", "|---|--:|"]
    for file in files:
        lines.append(f"| `{file.name}` | {file.stat().st_size / 1e6:.2f} |")
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as archive:
                members = sorted(archive.infolist(), key=lambda m: -m.file_size)[:2]
            lines += [f"| · `{m.filename}`, unpacked | {m.file_size / 1e6:.2f} |" for m in members]
    return "\n".join(lines)


def check(wheel: Path, python: str, torch: str, out: Path) -> None:
    """Install the wheel beside a torch in an empty environment and compare its kernels with the reference."""
    folder = out / "environment"
    shutil.rmtree(folder, ignore_errors=True)
    # With PYTHONPATH, pip would take a checkout on it for an installed package.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run(python, "-m", "venv", folder, env=environment)
    run(folder / "bin/pip", "install", "--quiet", torch, wheel, env=environment)
    run(folder / "bin/python", "-c", PROGRAM, cwd=out, env=environment)
    shutil.rmtree(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Build, repair, audit and run; return 0, or raise SystemExit with the command that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build/wheels", help="default: build/wheels")
    parser.add_argument("--python", action="append", help="an interpreter to test with, repeatable; default: this one")
    parser.add_argument("--torch", action="append", help='e.g. "torch==2.10.0", repeatable; default: the newest')
    parser.add_argument("--only-check", action="store_true", help="build nothing; run the wheel that is in --out")
    args = parser.parse_args(argv)
    if not args.only_check:
        sdist, plain = build(args.out)
        wheel = repair(plain, args.out)
        audit(wheel, args.out)
        print(sizes([sdist, wheel]))
    wheel = next(args.out.glob("*.whl"))
    for python in args.python or [sys.executable]:
        for torch in args.torch or ["torch"]:
            check(wheel, python, torch, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
