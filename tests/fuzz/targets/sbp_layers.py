"""`SBPConv` and `ContraNorm`, which PyG does not have, against the dense oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sbp_kernels.nn import ContraNorm, SBPConv

from ..inputs.choices import Reader
from ..inputs.graphs import Spec
from ..inputs.tensors import DTYPES, Array, tensor
from ..oracle.checks import Problem, compare
from ..oracle.halves import labels
from ..oracle.units import UNITS
from ..oracle.value import Coefficients, Expected, Norm, propagate
from ..oracle.world import World, draw_edges


def decode(r: Reader) -> Spec:
    spec: Spec = {
        "op": "sbp",
        "function": r.one_of(("SBPConv", "ContraNorm")),
        "negatives": r.one_of(("edges", "labels", "features", None)),
        "rows": r.between(1, 24),
        "edges": r.between(0, 60),
        "seed": r.seed(),
        "dtype": r.one_of(tuple(DTYPES)),
        "width": r.between(1, 40),
        "steps": r.between(1, 4),
        "norm": r.chance(30),
        "loops": r.chance(60),
        "normalize": r.one_of(("sym", "row", None)),
        "learnable": r.one_of(((), ("alpha",), ("alpha", "beta", "lam"))),
        "values": [r.one_of((1.0, 0.5, -0.5, 2.0)), r.one_of((1.0, 0.25, 0.0)), r.one_of((0.5, 1.0, 0.1))],
        "temperature": r.one_of((1.0, 2.0)),
        "again": r.chance(30),
    }
    return spec


def _half(spec: Spec, seed: int, loops: bool) -> Spec:
    return {
        "kind": "edges",
        "edges": spec["edges"],
        # PyG replaces loops that are there, also where there are several.
        "pattern": "loop-free",
        "seed": seed,
        "weight": None,
        "weight_type": "float32",
        "grad": False,
        "index": "int64",
        "make": "edge_index",
        "columns": "int32",
        "norm": spec["normalize"],
        "loops": loops,
        "fill": 1.0,
        "scales": False,
    }


def _world(spec: Spec) -> tuple[World, dict[str, Any]]:
    """The graph that the layer should make, and what to give the layer for its negative half."""
    n, seed, given = spec["rows"], spec["seed"], {}
    neg: Spec | None = None
    if spec["negatives"] == "edges":
        neg = _half(spec, seed + 1, False)
        row, col = draw_edges(neg, n, n)
        given["neg_edge_index"] = torch.from_numpy(np.stack([col, row]))
    elif spec["negatives"] == "labels":
        neg = {"kind": "labels", "seed": seed, "classes": 3, "stride": 1, "known": 0.5, "over": "all"}
        rng = np.random.default_rng(seed)
        given["y"] = torch.from_numpy(rng.integers(0, 3, n))
        given["known"] = torch.from_numpy(rng.random(n) < 0.5)
        labels(neg, n)
    elif spec["negatives"] == "features":
        shape = {"width": 4, "dtype": spec["dtype"], "sign": -1, "temperature": spec["temperature"], "grad": False}
        neg = {"kind": "similarity", "seed": seed, **shape}
        given["x0"] = tensor(seed, (n, 4), spec["dtype"], "normal")[0]
    pos = _half(spec, seed, spec["loops"])
    graph = {"rows": n, "cols": n, "builder": "halves", "threads": 1, "moves": [], "pos": pos, "neg": neg}
    return World(graph), given


def check(spec: Spec) -> Problem | None:
    x, x64 = tensor(spec["seed"] + 7, (spec["rows"], spec["width"]), spec["dtype"], "normal")
    if spec["function"] == "ContraNorm":
        return _contra_norm(spec, x, x64)
    world, given = _world(spec)
    names = ("alpha", "beta", "lam")
    layer = SBPConv(
        **dict(zip(names, spec["values"], strict=True)),
        learnable=spec["learnable"],
        num_steps=spec["steps"],
        layer_norm=spec["norm"],
        add_self_loops=spec["loops"],
        normalize=spec["normalize"],
        temperature=spec["temperature"],
    )
    row, col = draw_edges(world.spec["pos"], spec["rows"], spec["rows"])
    edge_index = torch.from_numpy(np.stack([col, row]))
    # Parameters are float32.
    values = [float(np.float32(v)) if n in spec["learnable"] else v for n, v in zip(names, spec["values"], strict=True)]
    coefficients = Coefficients(*values, bool(spec["learnable"]))
    want = propagate(
        x64, world.dense(False), coefficients, None, spec["steps"], Norm() if spec["norm"] else None, spec["dtype"]
    )
    for _ in range(1 + spec["again"]):
        wrong, _ = compare(layer(x, edge_index, **given), want, x.dtype)
        if wrong:
            return Problem("wrong layer", f"SBPConv with {spec['negatives']}", wrong)
    return None


def _contra_norm(spec: Spec, x: torch.Tensor, x64: Array) -> Problem | None:
    """(1 + s) X - s P X with P the softmax of the products of rows of unit length."""
    scale, temperature, unit = abs(spec["values"][0]), spec["temperature"], UNITS[spec["dtype"]]
    got = ContraNorm(scale, temperature, normalize=spec["loops"])(x)
    rows = x64 / np.maximum(np.linalg.norm(x64, axis=1, keepdims=True), 1e-12) if spec["loops"] else x64
    logits = rows @ rows.T / temperature
    part = np.exp(logits - logits.max(1, keepdims=True))
    part /= part.sum(1, keepdims=True)
    size = (1 + scale) * np.abs(x64) + scale * (part @ np.abs(x64))
    # Rows of unit length may be rounded to the type of x; a logit's error is a relative error of its weight.
    rounding = max(unit.store, unit.acc) * 4 + unit.acc * (x64.shape[1] + 12)
    entries = 2.2 * rounding * (np.abs(rows) @ np.abs(rows).T).max(initial=0.0) / temperature
    bound = (entries + unit.acc * (len(x64) + 40) + 3 * unit.store) * size + unit.store_tiny
    wrong, _ = compare(got, Expected((1 + scale) * x64 - scale * (part @ x64), 1.2 * bound), x.dtype)
    return Problem("wrong layer", "ContraNorm", wrong) if wrong else None
