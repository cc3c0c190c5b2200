"""Running the calls of a case, and what is wrong with a result."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sbp_kernels import signed_pair, signed_propagate, use_backend

from ..inputs.graphs import EXTREME, Spec
from ..inputs.tensors import DTYPES, WILD, Array, tensor
from .value import Coefficients, Expected, Norm, propagate, weighted
from .world import World


class Problem(NamedTuple):
    """What went wrong: its kind, the words that group it with its like, and the details."""

    kind: str
    title: str
    detail: str = ""


class Inputs:
    """The tensors and numbers of a call, and their float64 values."""

    def __init__(self, call: Spec, world: World) -> None:
        rows, cols = (world.cols, world.rows) if call["transposed"] else (world.rows, world.cols)
        self.rows, self.cols, self.dtype = rows, cols, call["dtype"]
        size = (cols, call["width"])
        self.x, self.x64 = tensor(call["seed"], size, self.dtype, call["values"], call["layout"], world.device)
        self.residual: Tensor | None = None
        self.residual64: Array | None = None
        self.options: dict[str, Any] = {}
        self.norm: Norm | None = None
        self.coefficients = Coefficients(1.0, 1.0, 1.0)
        if call["op"] == "propagate":
            self._propagation(call, world)

    def _propagation(self, call: Spec, world: World) -> None:
        if call["residual"] is not None:
            values = call["values"] if call["mode"] == "value" else "normal"
            size = (self.rows, call["width"])
            self.residual, self.residual64 = tensor(
                call["seed"] + 1, size, self.dtype, values, call["residual"], world.device
            )
        given, exact = zip(*(number(call[name], world.device) for name in ("alpha", "beta", "lam")), strict=True)
        self.coefficients = Coefficients(*exact, any(isinstance(v, Tensor) for v in given))
        self.options = dict(zip(("alpha", "beta", "lam"), given, strict=True))
        self.options["num_steps"] = call["steps"]
        states = call.get("states", "last")
        if states == "all":
            self.options["return_all"] = True
        elif states != "last":
            gamma = call["gamma"]
            exact = torch.tensor(gamma, dtype=torch.float64, device=world.device)
            self.options["gamma"] = gamma if states == "list" else exact
        if call["norm"] == "flag":
            self.options["layer_norm"], self.norm = True, Norm()
        elif call["norm"] == "module":
            self._module(call, world.device)

    def _module(self, call: Spec, device: str) -> None:
        width, affine = call["width"], call["affine"]
        module = torch.nn.LayerNorm(
            width, call["eps"], bool(affine), affine is not False and affine != "no bias", dtype=DTYPES[self.dtype]
        ).to(device)
        rng = np.random.default_rng(call["seed"] + 2)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.from_numpy(rng.standard_normal(width)))
        exact = [None if p is None else p.detach().cpu().double().numpy() for p in (module.weight, module.bias)]
        self.options["layer_norm"], self.norm = module, Norm(call["eps"], *exact)


def number(spec: list[Any], device: str) -> tuple[Any, float]:
    """A coefficient as the caller writes it, and its value."""
    kind, value, dtype = spec
    if kind in ("tensor", "vector"):
        scalar = torch.tensor(value if kind == "tensor" else [value], dtype=DTYPES[dtype], device=device)
        return scalar, float(scalar)
    if kind == "numpy float32":
        return np.float32(value), float(np.float32(value))
    if kind == "numpy float64":
        return np.float64(value), value
    return value, float(value)


def compute(call: Spec, world: World, inputs: Inputs) -> tuple[Tensor, ...]:
    graph = world.graph.T if call["transposed"] else world.graph
    backend = call["backend"]
    inside = use_backend(backend) if call["context"] else contextlib.nullcontext()
    named = {} if call["context"] or backend is None else {"backend": backend}
    # An inference tensor cannot be saved for a backward pass.
    inference = "inference" in (call["layout"], call.get("residual"))
    with inside, torch.no_grad() if inference else contextlib.nullcontext():
        if call["op"] == "pair":
            return signed_pair(inputs.x, graph, **named)
        cast = torch.autocast(world.device, torch.bfloat16) if call["autocast"] else contextlib.nullcontext()
        with cast:
            y = signed_propagate(inputs.x, graph, residual=inputs.residual, **inputs.options, **named)
        return y.unbind() if inputs.options.get("return_all") else (y,)


def expected(call: Spec, world: World, inputs: Inputs) -> list[Expected]:
    halves = world.dense(call["transposed"])
    x, residual, dtype = inputs.x64, inputs.residual64, inputs.dtype
    if call["op"] == "pair":
        both = (Coefficients(1.0, 0.0, 1.0), Coefficients(0.0, -1.0, 1.0))
        return [propagate(x, halves, c, None, 1, None, dtype) for c in both]
    if call["autocast"]:
        dtype = "bfloat16"
        x, residual = (None if v is None else _rounded(v, dtype) for v in (x, residual))
    last = call["steps"]
    first = last if call.get("states", "last") == "last" else 0
    args = (x, halves, inputs.coefficients, residual)
    states = [propagate(*args, k, inputs.norm, dtype) for k in range(first, last + 1)]
    return [weighted(states, call["gamma"], dtype)] if "gamma" in call else states


def _rounded(value: Array, dtype: str) -> Array:
    return torch.from_numpy(value).to(DTYPES[dtype]).double().numpy()


def compare(got: Tensor, want: Expected, dtype: torch.dtype) -> tuple[str, float]:
    """What is wrong with a result, or nothing; and its worst error as a part of what is allowed."""
    if got.dtype != dtype:
        return f"has type {got.dtype}, not {dtype}", np.inf
    if tuple(got.shape) != want.value.shape:
        return f"has shape {tuple(got.shape)}, not {want.value.shape}", np.inf
    result = got.detach().resolve_neg().cpu().double().numpy()
    with np.errstate(all="ignore"):
        error = np.abs(result - want.value)
        fine = error <= want.bound
        if fine.all():
            return "", float(np.max(error / np.where(want.bound > 0, want.bound, 1.0), initial=0.0))
        kind = ~np.isfinite(result) if want.any_kind else _same_kind(result, want.value)
        fine |= ~np.isfinite(want.value) & kind
        if want.loose is not None:
            fine |= want.loose
        if fine.all():
            return "", 0.0
        where = tuple(int(i) for i in np.argwhere(~fine)[0])
        text = f"{result[where]!s} at {where}, expected {want.value[where]!s} +- {want.bound[where]:.3g}"
        return f"{text}; {int((~fine).sum())} of {fine.size} elements", np.inf


def _same_kind(a: Array, b: Array) -> Any:
    return (np.isnan(a) & np.isnan(b)) | (a == b)


def title_of(call: Spec, world: World) -> str:
    """Words that group failures which are likely to have one cause."""
    if call["op"] not in ("propagate", "pair"):
        return str(call["op"])
    words = [call["op"], call["mode"], call["backend"] or "default"]
    halves = [world.spec.get(name) or {} for name in ("pos", "neg", "signed")]
    if any(half.get("weight") in EXTREME for half in halves):
        return " ".join([*words[:2], "extreme weights"])
    if "efficient zeros" in (call["layout"], call.get("residual")):
        return " ".join([*words[:2], "efficient zeros"])
    words += [half["kind"] for half in halves if half.get("kind", "edges") != "edges"]
    if call["op"] == "propagate":
        scalars = [call[name][0] for name in ("alpha", "beta", "lam")]
        words += [f"K={min(call['steps'], 2)}{'+' * (call['steps'] > 1)}"]
        words += ["LayerNorm"] * (call["norm"] is not None) + ["residual"] * (call["residual"] is not None)
        words += ["tensor coefficients"] * any(kind in ("tensor", "vector") for kind in scalars)
        words += ["numpy coefficients"] * any(kind.startswith("numpy") for kind in scalars)
        words += ["autocast"] * call["autocast"]
    words += [call["values"]] * (call["values"] in WILD)
    return " ".join(words)


def check_value(call: Spec, world: World) -> tuple[Problem | None, float]:
    inputs = Inputs(call, world)
    results = compute(call, world, inputs)
    dtype = torch.bfloat16 if call.get("autocast") else DTYPES[inputs.dtype]
    worst = 0.0
    for got, want in zip(results, expected(call, world, inputs), strict=True):
        wrong, ratio = compare(got, want, dtype)
        if wrong:
            return Problem("wrong value", title_of(call, world), wrong), ratio
        worst = max(worst, ratio)
        if call["op"] == "propagate" and call["steps"] == 0 and _shares(got, inputs.x):
            return Problem("wrong value", "num_steps=0 returns x itself", "the result shares the memory of x"), 0.0
    return None, worst


def _shares(got: Tensor, x: Tensor) -> bool:
    if got is x:
        return True
    if got.numel() == 0 or x._is_zerotensor() or got._is_zerotensor():
        return False
    return got.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
