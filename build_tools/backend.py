"""The build backend: setuptools, with torch as a build requirement where none is installed.

The extension compiles against torch's headers. An isolated build sees the torch of the environment that installs the
package (`add_installed_packages`); only without one, `pip install .` fetches a torch for the build. The binary uses
PyTorch's stable ABI, so the torch of the build need not be the torch that runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import sys
import sysconfig
from importlib import metadata
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

MIN_TORCH = (2, 10)
COMPILERS = ("c++", "g++", "clang++", "cl")


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return setuptools' requirements, and torch if the extension can be built and no usable torch is installed."""
    return build_meta.get_requires_for_build_wheel(config_settings) + torch_requirement()


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Return the same requirements for `pip install -e .`."""
    return build_meta.get_requires_for_build_editable(config_settings) + torch_requirement()


def torch_requirement() -> list[str]:
    """Return ["torch>=2.10"], or [] if a usable torch is installed or the extension will not be built."""
    if os.environ.get("SBP_BUILD_NATIVE") == "0" or not has_compiler():
        return []
    add_installed_packages()
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = "0"
    return [] if release(version) >= MIN_TORCH else [f"torch>={MIN_TORCH[0]}.{MIN_TORCH[1]}"]


def has_compiler() -> bool:
    """Return whether there is a C++ compiler: that of CXX, or one with a usual name on PATH."""
    named = os.environ.get("CXX", "").split()
    return any(shutil.which(name) is not None for name in (named[:1] or COMPILERS))


def release(version: str) -> tuple[int, int]:
    """Return the major and minor number of a version."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def add_installed_packages() -> None:
    """Append the packages of the installing environment to `sys.path`, which pip's isolated build leaves out."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    # None in a virtual environment that hides it.
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    sys.path += [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
