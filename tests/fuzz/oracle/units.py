"""What one rounding costs in each storage type and in the type that sums run in."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..inputs.tensors import DTYPES

# Second-order terms, which the analysis leaves out.
SLACK = 1.1


class Unit(NamedTuple):
    """What one rounding costs in the accumulation and in the storage type, and where these end."""

    acc: float
    store: float
    acc_tiny: float
    store_tiny: float
    acc_max: float
    store_max: float

    @staticmethod
    def of(dtype: str) -> Unit:
        store = torch.finfo(DTYPES[dtype])
        acc = torch.finfo(torch.float64 if dtype == "float64" else torch.float32)
        # float64 has the oracle's own roundings as well. Kernels may flush subnormal numbers, but not those of float16.
        own = 2.0 if dtype == "float64" else 1.0
        tiny = 2.0**-24 if dtype == "float16" else store.tiny
        narrow = store.bits == 16
        return Unit(
            own * acc.eps / 2, store.eps / 2 if narrow else 0.0, 4 * acc.tiny, 4 * tiny, acc.max / 8, store.max * 0.99
        )


UNITS = {name: Unit.of(name) for name in DTYPES}
