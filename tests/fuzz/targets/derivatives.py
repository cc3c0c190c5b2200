"""Derivatives of a call in every mode of torch, held against those of its formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inputs.graphs import Spec
from ..inputs.tensors import DTYPES, tensor
from ..oracle.algebra import Exact, Majorant
from ..oracle.checks import Inputs, Problem, compare, compute, title_of
from ..oracle.formula import CallFormula
from ..oracle.formula_modes import FORMULA_MODES
from ..oracle.halves import EdgeModel, SimilarityModel
from ..oracle.modes import LEAF_MODES, MODES, RESULT_FIRST, SECOND_ORDER
from ..oracle.units import SLACK, UNITS
from ..oracle.value import Expected, propagate
from ..oracle.world import World

# By how much the majorant is inflated to see what its intermediate values do to it.
STEP = 2.0**-20


@dataclass
class Arguments:
    """What a call is differentiated by: names, the package's tensors, and their values in float64."""

    names: list[str]
    given: list[Tensor]
    exact: list[Tensor]
    replaced: bool

    def add(self, name: str, value: Tensor) -> None:
        self.names.append(name)
        self.given.append(value)
        self.exact.append(value.detach().cpu().double())


def arguments(call: Spec, world: World, inputs: Inputs) -> Arguments:
    """The arguments that the call names and has; x if it has none of them."""
    leaf = call["mode"] in LEAF_MODES
    found = Arguments([], [], [], not leaf)
    wanted = call["wrt"]
    if "x" in wanted:
        found.add("x", inputs.x)
    if "residual" in wanted and inputs.residual is not None:
        found.add("residual", inputs.residual)
    for name in ("alpha", "beta", "lam"):
        if name in wanted and isinstance(inputs.options.get(name), Tensor):
            found.add(name, inputs.options[name])
    if call["mode"] not in ("jacrev", "jacfwd", "hessian", "vmap"):
        _add_weights(found, wanted, world, leaf)
    module = inputs.options.get("layer_norm")
    if leaf and "lam" not in wanted and isinstance(module, torch.nn.LayerNorm):
        for name, parameter in (("norm_weight", module.weight), ("norm_bias", module.bias)):
            if parameter is not None:
                found.add(name, parameter)
    if not found.names or (call["mode"] in ("jacrev", "jacfwd", "hessian") and found.names[0] != "x"):
        found = Arguments([], [], [], not leaf)
        found.add("x", inputs.x)
    return found


def _add_weights(found: Arguments, wanted: Sequence[str], world: World, leaf: bool) -> None:
    pos, neg = (None if model is None else model.param for model in world.models)
    if leaf and pos is not None and pos is neg:
        if "pos" in wanted or "neg" in wanted:
            found.add("weights", pos)
        return
    for name, model in zip(("pos", "neg"), world.models, strict=True):
        if name not in wanted or model is None:
            continue
        if leaf and model.param is not None:
            found.add(name, model.param)
        elif not leaf and _replaceable(model):
            half = getattr(world.graph, name)
            value = half.x0 if isinstance(model, SimilarityModel) else half.weight
            found.add(name, torch.ones(half.num_edges) if value is None else value)


def _replaceable(model: Any) -> bool:
    """Whether `with_weights` may give this half other weights that the model knows what to do with."""
    if isinstance(model, SimilarityModel):
        return True
    return isinstance(model, EdgeModel) and model.norm is None and model.param is None


class Derivative:
    """One call to be differentiated."""

    def __init__(self, call: Spec, world: World) -> None:
        self.call, self.world, self.inputs = call, world, Inputs(call, world)
        self.args = arguments(call, world, self.inputs)
        self.formula = CallFormula(call, world, self.inputs, self.args.names, self.args.replaced)
        shape = (self.inputs.rows, call["width"])
        if call["op"] == "pair":
            shape = (2, *shape)  # type: ignore[assignment]
        rng = np.random.default_rng(call["seed"] + 3)
        draw = lambda shape, dtype: torch.from_numpy(rng.standard_normal(shape)).to(dtype)  # noqa: E731
        self.cotangent = draw(shape, DTYPES[self.inputs.dtype])
        self.tangents = [draw(tuple(a.shape), a.dtype) for a in self.args.given]

    def package(self, *args: Tensor) -> Tensor:
        """The package's call with other arguments."""
        named = dict(zip(self.args.names, args, strict=True))
        inputs = self.inputs
        inputs.x = named.get("x", inputs.x)
        inputs.residual = named.get("residual", inputs.residual)
        inputs.options.update({n: named[n] for n in ("alpha", "beta", "lam") if n in named})
        world = self.world
        if self.args.replaced and ("pos" in named or "neg" in named):
            world = _Other(world.graph.with_weights(named.get("pos"), named.get("neg")))  # type: ignore[assignment]
        results = compute(self.call, world, inputs)
        return results[0] if len(results) == 1 else torch.stack(results)

    def got(self) -> list[Tensor]:
        device = self.world.device
        leaf = self.call["mode"] in LEAF_MODES
        args = [a if a.requires_grad == leaf else a.detach().requires_grad_(leaf) for a in self.args.given]
        return MODES[self.call["mode"]](
            self.package, args, self.cotangent.to(device), [t.to(device) for t in self.tangents]
        )

    def _evaluate(self, alg: Exact | Majorant, scale: float) -> list[Tensor]:
        """The mode of the formula; of its majorant, at the arguments' magnitudes times `scale`."""
        size = isinstance(alg, Majorant)
        change = lambda t: (t.double().abs() * scale if size else t.double()).requires_grad_()  # noqa: E731
        args = [change(a) for a in self.args.exact]
        mode = FORMULA_MODES[self.call["mode"]]
        return mode(self.formula.bind(alg), args, change(self.cotangent), [change(t) for t in self.tangents])

    def want(self) -> list[Expected]:
        exact, trace = self._evaluate(Exact(), 1.0), []
        if self.formula.nonlinear:
            plain = Exact()
            self.formula.bind(plain)(*self.args.exact)
            trace = plain.trace
            base = Majorant(trace)
            self.formula.bind(base)(*(a.abs() for a in self.args.exact))
            low, high = (self._evaluate(Majorant(trace, s, base.constants), s) for s in (1.0, 1.0 + STEP))
            sizes = [torch.maximum((b - a) / STEP, a) for a, b in zip(low, high, strict=True)]
        else:
            sizes = self._evaluate(Majorant([]), 1.0)
        out = [self._expected(i, *pair) for i, pair in enumerate(zip(exact, sizes, strict=True))]
        types = self.dtypes(len(sizes))
        if self.call["mode"] not in RESULT_FIRST:
            # The result itself, times the cotangents, is stored as well.
            size = self.formula.bind(Majorant(trace))(*(a.abs() for a in self.args.exact))
            sizes, types = [*sizes, 16 * size], [*types, DTYPES[self.inputs.dtype]]
        if any(not bool((size <= torch.finfo(t).max / 8).all()) for size, t in zip(sizes, types, strict=True)):
            # Features between the steps may have overflowed; what is made of them may be anything.
            for want in out:
                want.loose = np.ones(want.value.shape, bool)
        return out

    def _expected(self, index: int, value: Tensor, size: Tensor) -> Expected:
        unit = UNITS[self.inputs.dtype]
        steps = self.call.get("steps", 1)
        terms = 8.0 + (2 * self.call["width"] + 12) * (self.inputs.norm is not None)
        entries = 0.0
        for half in self.world.dense(False):
            if half is not None:
                terms += max(half.terms.max(initial=0.0), half.col_terms.max(initial=0.0))
                entries += half.entry_error + half.entry_units * unit.acc
        sums = 0 if set(self.args.names) <= {"x", "residual"} else self.call["width"] + 64
        coarse = [float(torch.finfo(a.dtype).eps) for a in self.args.given]
        narrow = max([unit.store, *(eps for eps in coarse if eps > 4 * unit.acc)])
        mode = self.call["mode"]
        # The result itself takes one pass over the steps; a derivative two, which meet at each step; a second one six.
        passes = 1 if index == 0 and mode in RESULT_FIRST else 6 if mode in SECOND_ORDER else 2
        share = unit.acc * (passes * (steps * terms + 8) + sums) + passes * steps * entries
        share += narrow * (steps if passes == 1 else passes * (2 * steps + 1))
        size64, value64 = size.detach().numpy(), value.detach().numpy()
        tiny = max([unit.store_tiny, *(4 * torch.finfo(a.dtype).tiny for a in self.args.given)])
        bound = SLACK * share * size64 + tiny * (1 + terms)
        return Expected(value64, bound)

    def dtypes(self, count: int) -> list[torch.dtype]:
        """The type of each result."""
        own, args = DTYPES[self.inputs.dtype], [a.dtype for a in self.args.given]
        by_mode = {
            "double": [own, *args, *args, own],
            "jvp": [own, own],
            "dual": [own, own],
            "grad": args,
            "forward over reverse": [*args, *args],
            "reverse over forward": args,
            "jacrev": [own],
            "jacfwd": [own],
            "hessian": [own],
        }
        return by_mode.get(self.call["mode"], [own, *args])[:count]


class _Other:
    """A world with another graph."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.device = graph, "cpu"


def check_derivative(call: Spec, world: World) -> tuple[Problem | None, float]:
    if call["mode"] == "vmap":
        return _check_vmap(call, world)
    derivative = Derivative(call, world)
    title, names = title_of(call, world), " ".join(derivative.args.names)
    try:
        results = derivative.got()
    except NotImplementedError:
        # A second derivative through the features of a Similarity is not to be had.
        learnable = any(
            isinstance(m, SimilarityModel) and n in derivative.args.names
            for n, m in zip(("pos", "neg"), world.models, strict=True)
        )
        if learnable and call["mode"] in SECOND_ORDER:
            return None, 0.0
        raise
    worst = 0.0
    wanted = derivative.want()
    dtypes = derivative.dtypes(len(wanted))
    for index, (got, want, dtype) in enumerate(zip(results, wanted, dtypes, strict=True)):
        wrong, ratio = compare(got, want, dtype)
        if wrong:
            return Problem("wrong derivative", title, f"result {index} of {names}: {wrong}"), ratio
        worst = max(worst, ratio)
    return None, worst


def _check_vmap(call: Spec, world: World) -> tuple[Problem | None, float]:
    inputs = Inputs(call, world)
    shape = (inputs.cols, call["width"])
    batch = [tensor(call["seed"] + 10 + i, shape, inputs.dtype, call["values"]) for i in range(3)]
    names = ["pos", "neg"]
    derivative = Derivative({**call, "wrt": ["x"], "mode": "jvp"}, world)
    got = torch.func.vmap(derivative.package)(torch.stack([x for x, _ in batch]).to(world.device))
    halves = world.dense(call["transposed"])
    for i, (_, x64) in enumerate(batch):
        inputs.x64 = x64
        if call["op"] == "pair":
            continue
        want = propagate(x64, halves, inputs.coefficients, inputs.residual64, call["steps"], inputs.norm, inputs.dtype)
        wrong, _ = compare(got[i], want, DTYPES[inputs.dtype])
        if wrong:
            return Problem("wrong value", title_of(call, world), f"sample {i}: {wrong}"), np.inf
    return None, float(len(names) * 0)
