"""Build the C++ extension; pyproject.toml has everything else about the package.

Build flags (environment variables):
    SBP_BUILD_NATIVE=0|1  skip the extension, or fail if it cannot be built; default: skip it if it cannot be built
    SBP_BUILD_CUDA=0|1    leave out the CUDA sources, or fail without them; default: build with nvcc and a CUDA torch
    TORCH_CUDA_ARCH_LIST, CUDA_HOME, MAX_JOBS: as in torch's extension builds
    SBP_CXXFLAGS          extra compiler flags, e.g. "-g -O1 -fsanitize=address"
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent / "build_tools"))
from backend import MIN_TORCH, add_installed_packages, has_compiler, release

# pip builds in an isolated environment, but the extension needs the torch that the user has installed.
add_installed_packages()
# One binary works with every torch >= MIN_TORCH and every CPython >= 3.10.
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
    """Return the arguments for setup() that build the extension, or {} if it cannot be built."""
    wanted = os.environ.get("SBP_BUILD_NATIVE", "auto")
    if wanted == "0":
        notice("SBP_BUILD_NATIVE=0")
        return {}
    if not has_compiler():
        return skip(wanted, "there is no C++ compiler on PATH, nor in CXX")
    try:
        import torch
        from torch.utils.cpp_extension import CppExtension
    except ImportError as error:
        return skip(wanted, f"torch is not importable ({error}); install torch >= 2.10 first")
    if release(torch.__version__) < MIN_TORCH:
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
    """Return the compiled CUDA objects and link arguments; two empty lists if not requested or not buildable."""
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
        """A build_ext that installs the package without the extension if the compiler fails."""

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
