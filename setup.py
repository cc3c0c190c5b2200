"""Builds the C++ extension; everything else about the package stands in pyproject.toml.

Build flags (environment variables):
    SBP_BUILD_NATIVE=0  skip the extension (1: fail rather than skip it when it cannot be built)
    SBP_BUILD_CUDA=0|1  leave out or demand the CUDA sources; default: where nvcc and a CUDA torch are
    TORCH_CUDA_ARCH_LIST, CUDA_HOME, MAX_JOBS: as torch's own builds take them
    SBP_CXXFLAGS        extra compiler flags, e.g. "-g -O1 -fsanitize=address"
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup

# pip builds in an isolated environment; the torch that matters is the one the user has installed.
sys.path += [path for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")} if path not in sys.path]

MIN_TORCH = (2, 10)
# One binary for every torch from MIN_TORCH on and every CPython from 3.10 on.
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020A000000000000", "-DTORCH_STABLE_ONLY", "-DPy_LIMITED_API=0x030A0000"]
OPTIMIZE = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-Wno-psabi",
    "-Wno-maybe-uninitialized",
]


def notice(reason: str, lost: str = "compiled kernels", left: str = "The pure-PyTorch backend still works") -> None:
    text = f"sbp-kernels: installing WITHOUT {lost}: {reason}. {left}."
    print("=" * 79, text, "=" * 79, sep="\n", file=sys.stderr)


def native_extension() -> dict:
    """Arguments for setup() that build the extension, or none of them where it cannot be built."""
    wanted = os.environ.get("SBP_BUILD_NATIVE", "auto")
    if wanted == "0":
        notice("SBP_BUILD_NATIVE=0")
        return {}
    try:
        import torch
        from torch.utils.cpp_extension import CppExtension
    except ImportError as error:
        return skip(wanted, f"torch is not importable ({error}); install torch >= 2.10 first")
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < MIN_TORCH:
        return skip(wanted, f"torch {torch.__version__} is older than {MIN_TORCH[0]}.{MIN_TORCH[1]}")
    extension = CppExtension(
        "sbp_kernels._C",
        sorted(str(path) for path in Path("csrc").rglob("*.cpp")),
        extra_compile_args=OPTIMIZE + STABLE_ABI + os.environ.get("SBP_CXXFLAGS", "").split(),
        extra_link_args=os.environ.get("SBP_CXXFLAGS", "").split(),
        py_limited_api=True,
    )
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": forgiving_build(strict=wanted == "1")},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def cuda_objects(folder: Path) -> tuple[list[str], list[str]]:
    """The compiled CUDA sources and how to link them; nothing where they are not wanted or cannot be built."""
    import torch
    from torch.utils.cpp_extension import include_paths

    wanted = os.environ.get("SBP_BUILD_CUDA", "auto")
    if wanted == "0" or (wanted != "1" and torch.version.cuda is None):
        return [], []
    spec = importlib.util.spec_from_file_location("cuda_build", "csrc/cuda/nvcc_build.py")
    cuda = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cuda)
    reason = "no nvcc was found; set CUDA_HOME"
    if cuda.find_nvcc() is not None:
        try:
            return cuda.compile_all(folder, include_paths()), cuda.link_arguments()
        except subprocess.CalledProcessError as error:
            reason = f"nvcc failed with exit status {error.returncode}, see above"
    if wanted == "1":
        raise SystemExit(f"SBP_BUILD_CUDA=1, but {reason}")
    notice(reason, "CUDA kernels", "Tensors on a GPU go through other backends")
    return [], []


def skip(wanted: str, reason: str) -> dict:
    if wanted == "1":
        raise SystemExit(f"SBP_BUILD_NATIVE=1, but {reason}")
    notice(reason)
    return {}


def forgiving_build(strict: bool) -> type:
    from torch.utils.cpp_extension import BuildExtension

    class Build(BuildExtension):
        """A user without a working compiler still gets the package."""

        def build_extensions(self) -> None:
            objects, link = cuda_objects(Path(self.build_temp) / "cuda")
            self.extensions[0].extra_objects += objects
            self.extensions[0].extra_link_args += link
            super().build_extensions()

        def run(self) -> None:
            try:
                super().run()
            except Exception as error:
                if strict:
                    raise
                notice(f"the compiler failed ({error})")
                self.extensions = []

    return Build


setup(**native_extension())
