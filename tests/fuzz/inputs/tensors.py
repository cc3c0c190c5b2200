"""Feature tensors of every type, kind of value and memory layout, made from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Values that derivative modes use: finite, and small enough that nothing overflows.
TAME = ("normal", "integers", "zeros", "mixed", "constant", "offset")
WILD = ("nan", "infinite", "special", "huge", "tiny", "subnormal")


def numbers(rng: np.random.Generator, shape: tuple[int, ...], values: str, dtype: torch.dtype) -> Array:
    """Return float64 numbers of the kind `values`, sized for `dtype`."""
    normal = rng.standard_normal(shape)
    info = torch.finfo(dtype)
    if values == "normal":
        return normal
    if values == "integers":
        return rng.integers(-4, 5, shape).astype(np.float64)
    if values == "zeros":
        return np.where(rng.random(shape) < 0.7, 0.0, normal)
    if values == "mixed":
        return normal * 10.0 ** rng.integers(-3, 3, shape)
    if values == "constant":
        return np.broadcast_to(normal[..., :1], shape).copy() if shape and shape[-1] else normal
    if values == "offset":
        return 100.0 + normal
    if values == "huge":
        return normal * float(info.max) / 64
    if values == "tiny":
        return normal * float(info.tiny) * 4
    if values == "subnormal":
        return normal * float(info.tiny) / 4
    return _not_finite(rng, normal, values, float(info.max))


def _not_finite(rng: np.random.Generator, normal: Array, values: str, largest: float) -> Array:
    where = rng.random(normal.shape)
    if values == "nan":
        return np.where(where < 0.1, np.nan, normal)
    signed = np.where(normal < 0, -np.inf, np.inf)
    if values == "infinite":
        return np.where(where < 0.1, signed, normal)
    out = np.where(where < 0.05, signed, normal)
    out = np.where((where >= 0.05) & (where < 0.1), np.nan, out)
    out = np.where((where >= 0.1) & (where < 0.2), -0.0, out)
    return np.where((where >= 0.2) & (where < 0.25), np.sign(normal) * largest / 2, out)


def _strided_columns(t: Tensor) -> Tensor:
    wide = t.new_full((t.size(0), 2 * t.size(1) + 1), torch.nan)
    wide[:, 1::2] = t
    return wide[:, 1::2]


def _strided_rows(t: Tensor) -> Tensor:
    tall = t.new_full((3 * t.size(0), t.size(1)), torch.nan)
    tall[::3] = t
    return tall[::3]


def _offset(t: Tensor) -> Tensor:
    """A view that starts one element into its storage, so off every alignment."""
    flat = t.new_full((t.numel() + 3,), torch.nan)
    flat[1 : 1 + t.numel()] = t.reshape(-1)
    return flat[1 : 1 + t.numel()].view(t.shape)


def _padded(t: Tensor) -> Tensor:
    """Rows longer than the features that are read."""
    wide = t.new_full((t.size(0), t.size(1) + 5), torch.nan)
    wide[:, 2 : 2 + t.size(1)] = t
    return wide[:, 2 : 2 + t.size(1)]


def _inference(t: Tensor) -> Tensor:
    with torch.inference_mode():
        return t.clone()


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.T.contiguous().T,
    "strided columns": _strided_columns,
    "strided rows": _strided_rows,
    "offset": _offset,
    "padded rows": _padded,
    "one row": lambda t: t[:1].expand(t.size(0), -1) if t.size(0) else t,
    "one column": lambda t: t[:, :1].expand(-1, t.size(1)) if t.size(1) else t,
    "zero strides": lambda t: t.reshape(-1)[:1].reshape(1, 1).expand(t.shape) if t.numel() else t,
    "efficient zeros": lambda t: torch._efficientzerotensor(t.shape, dtype=t.dtype, device=t.device),
    "negative bit": lambda t: torch._neg_view(-t),
    "inference": _inference,
}


def tensor(
    seed: int, shape: tuple[int, int], dtype: str, values: str, layout: str = "contiguous", device: str = "cpu"
) -> tuple[Tensor, Array]:
    """Return the tensor of a seed, and its values in float64."""
    rng = np.random.default_rng(seed)
    kind = DTYPES[dtype]
    plain = torch.from_numpy(numbers(rng, shape, values, kind)).to(kind)
    out = LAYOUTS[layout](plain.to(device) if device != "cpu" else plain)
    if layout == "efficient zeros":
        return out, np.zeros(shape)
    same = out is plain or layout in ("transposed", "strided columns", "strided rows", "offset", "padded rows")
    return out, (plain if same else out.detach().cpu().clone()).double().numpy()
