"""Wrong values for an argument: constants, and changes of the value that a valid call has there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Change = Callable[[Any], Any]


class Subclass(Tensor):
    """A tensor of a class of its own."""


def _inside(number: float) -> Change:
    """The first entry replaced by a number."""

    def change(value: Tensor) -> Tensor:
        out = value.detach().clone()
        out.reshape(-1)[:1] = number
        return out

    return change


def _quantized(v: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13 deprecates quantized tensors, and still makes them
        return torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)


CONSTANTS: dict[str, Any] = {
    "None": None,
    "text": "yes",
    "no text": "",
    "list": [1.0, 2.0],
    "no list": [],
    "pair": (1, 2),
    "dict": {"a": 1},
    "complex": 1j,
    "-1": -1,
    "0": 0,
    "1": 1,
    "7": 7,
    "-5": -5,
    "0.5": 0.5,
    "1.5": 1.5,
    "-0.25": -0.25,
    "2**40": 2**40,
    "2**63": 2**63,
    "10**400": 10**400,
    "1e300": 1e300,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "True": True,
    "False": False,
    "object": object(),
    "class": torch.nn.LayerNorm,
    "module": torch.nn.Linear(2, 2),
    "bytes": b"ab",
    "numpy int": np.int64(2),
    "numpy float": np.float32(0.5),
    "numpy nan": np.float64("nan"),
    "numpy array": np.ones(3),
    "ellipsis": ...,
    "float scalar": torch.tensor(0.5),
    "int scalar": torch.tensor(2),
    "complex scalar": torch.tensor(1j),
    "nan scalar": torch.tensor(float("nan")),
    "bool scalar": torch.tensor(True),
    "one vector": torch.tensor([0.5]),
    "three vector": torch.ones(3),
    "empty vector": torch.ones(0),
    "quantized scalar": _quantized(torch.ones(())),
    "sparse vector": torch.ones(1).to_sparse(),
    "meta scalar": torch.ones((), device="meta"),
    "sparse": torch.eye(3).to_sparse(),
}
CHANGES: dict[str, Change] = {
    "as list": lambda v: v.tolist(),
    "as numpy": lambda v: v.detach().numpy(),
    "int64": lambda v: v.detach().to(torch.int64),
    "int32": lambda v: v.detach().to(torch.int32),
    "int8": lambda v: v.detach().to(torch.int8),
    "bool": lambda v: v.detach().to(torch.bool),
    "complex64": lambda v: v.detach().to(torch.complex64),
    "float32": lambda v: v.detach().to(torch.float32),
    "float64": lambda v: v.detach().to(torch.float64),
    "float16": lambda v: v.detach().to(torch.float16),
    "float8": lambda v: v.detach().to(torch.float8_e4m3fn),
    "meta": lambda v: v.to("meta"),
    "sparse coo": lambda v: v.detach().to_sparse(),
    "sparse csr": lambda v: v.detach().to_sparse_csr(),
    "one more": lambda v: torch.cat([v.detach(), v.detach()[:1]]),
    "one fewer": lambda v: v.detach()[:-1],
    "empty": lambda v: v.detach()[:0],
    "no columns": lambda v: v.detach()[:, :0],
    "one more column": lambda v: torch.cat([v.detach(), v.detach()[:, :1]], 1),
    "extra dimension": lambda v: v.detach()[None],
    "flat": lambda v: v.detach().reshape(-1),
    "first": lambda v: v.detach().reshape(-1)[0],
    "nan inside": _inside(float("nan")),
    "inf inside": _inside(float("inf")),
    "-1 inside": _inside(-1),
    "huge inside": _inside(2**40),
    "10**6 inside": _inside(10**6),
    "requires grad": lambda v: v.detach().clone().requires_grad_(),
    "zero strides": lambda v: v.detach().reshape(-1)[:1].reshape([1] * v.dim()).expand(v.shape),
    "efficient zeros": lambda v: torch._efficientzerotensor(v.shape, dtype=v.dtype),
    "negative bit": lambda v: torch._neg_view(-v.detach()),
    "transposed": lambda v: v.detach().T,
    "transposed twice": lambda v: v.detach().T.contiguous().T,
    "subclass": lambda v: v.detach().clone().as_subclass(Subclass),
    "parameter": lambda v: torch.nn.Parameter(v.detach().clone()),
    "nested": lambda v: torch.nested.nested_tensor([v.detach(), v.detach()]),
    "quantized": lambda v: _quantized(v.detach().float()),
    "same": lambda v: v,
}
NAMES = ("same", *CONSTANTS, *(name for name in CHANGES if name != "same"))


def wrong(name: str, valid: Any) -> Any:
    """The wrong value of this name; raises if the valid value cannot be changed so."""
    return CONSTANTS[name] if name in CONSTANTS else CHANGES[name](valid)


# Which of these values an argument of a kind may take. Everything else must be refused.
_SAME = {"same"}
_VIEWS = {"same", "zero strides", "negative bit", "transposed twice", "subclass"}
_GRAD = {"requires grad", "parameter"}
_FLOATS = {"float32", "float64", "float16"}
_SIZES = {"0", "1", "7", "-1"}
_TRUTH = {"True", "False", "0", "1"}
_NUMBERS = {"0", "1", "-1", "7", "-5", "0.5", "1.5", "-0.25", "True", "False", "numpy int", "numpy float"}
_SCALARS = {"float scalar", "int scalar", "nan scalar", "one vector", "bool scalar"}
_LARGE = {"2**40", "2**63", "1e300"}
MAY: dict[str, set[str]] = {
    "features": _VIEWS
    | _GRAD
    | _FLOATS
    | {"nan inside", "inf inside", "-1 inside", "huge inside", "10**6 inside"}
    | {"no columns", "one more column", "efficient zeros"},
    "residual": _VIEWS
    | _GRAD
    | _FLOATS
    | {"nan inside", "inf inside", "-1 inside", "huge inside", "10**6 inside"}
    | {"None", "efficient zeros"},
    "strength": _NUMBERS | _SCALARS | _LARGE | _SAME,
    "step": {"0", "1", "0.5", "True", "False", "numpy float", *_SCALARS, "same"},
    "count": {"0", "1", "7", "True", "False", "numpy int", "same", "int scalar"},
    "norm": {"True", "False", "same"},
    "backend": {"None", "same"},
    "graph": _SAME,
    "half": {"None", "same"},
    "index": _VIEWS | {"int32", "int64", "empty", "no columns", "one more column", "efficient zeros"},
    "weights": _VIEWS | _GRAD | _FLOATS | {"None", "-1 inside", "huge inside", "10**6 inside", "efficient zeros"},
    "scales": _VIEWS | _FLOATS | {"None", "-1 inside", "huge inside", "10**6 inside", "efficient zeros"},
    "nodes": {"None", "7", "same", "numpy int", "int scalar"},
    "size": {"None", "same"},
    "columns": {"None", "7", "same", "numpy int", "int scalar"},
    "rowptr": _VIEWS | {"int64"},
    "fill": _NUMBERS | {"float scalar", "int scalar", "one vector", "bool scalar", "1e300", "2**40", "2**63", "same"},
    "mode": _SAME,
    "flag": _TRUTH | {"same"},
    "group": _VIEWS | {"int64", "efficient zeros", "empty", "one fewer", "one more"},
    "block": _VIEWS | _GRAD | _FLOATS | {"-1 inside", "huge inside", "10**6 inside", "efficient zeros", "transposed"},
    "labels": _VIEWS | {"int64", "efficient zeros", "10**6 inside"},
    "known": _VIEWS | {"bool", "efficient zeros"},
    "nodes of mean": {"0", "1", "7", "True", "False", "numpy int", "same", "int scalar"},
    "sign": {"1", "-1", "True", "same"},
    "temperature": {"0.5", "1", "1.5", "7", "2**40", "2**63", "1e300", "True", "numpy int", "numpy float", "same"},
    "device": _SAME,
    "x0": _VIEWS
    | _GRAD
    | _FLOATS
    | {"-1 inside", "10**6 inside", "no columns", "one more column", "efficient zeros", "one more", "one fewer"}
    | {"empty", "transposed", "huge inside"},
    "needed weights": _VIEWS | _GRAD | _FLOATS | {"-1 inside", "huge inside", "10**6 inside", "efficient zeros"},
}
