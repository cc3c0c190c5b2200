"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels.backends import BACKENDS


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend in turn; one that cannot run here is skipped with its own reason."""
    reason = BACKENDS[request.param].unsupported(torch.zeros(1, 1))
    if reason is not None:
        pytest.skip(f"{request.param}: {reason}")
    return request.param


@pytest.fixture
def threads():
    """Let a test change the number of threads; put it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
