"""The device code of the CUDA backend, run on the CPU, in the place of the backends."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.cuda import device_code
import pytest
from sbp_kernels.backends import BACKENDS


@pytest.fixture(scope="session")
def device_kernels():
    """The device code as a backend module."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    folder = Path(os.environ.get("SBP_SHIM_FOLDER", device_code.ROOT / "build/shim"))
    return device_code.load(folder)


@pytest.fixture
def backend(device_kernels, monkeypatch):
    """As in tests/conftest.py, with the device code as the one backend."""
    monkeypatch.setitem(BACKENDS, "device code", device_kernels)
    return "device code"
