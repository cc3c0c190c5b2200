"""Fixtures that run the device code of the CUDA backend on the CPU instead of the other backends."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from sbp_kernels.backends import BACKENDS
from tests.cuda import device_code


@pytest.fixture(autouse=True)
def _one_thread():
    """Run on one thread, because on graphs this small threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def device_kernels():
    """The device code as a backend module."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    return device_code.load()


@pytest.fixture
def backend(device_kernels, monkeypatch):
    """As in tests/conftest.py, with the device code as the one backend."""
    monkeypatch.setitem(BACKENDS, "device code", device_kernels)
    return "device code"
