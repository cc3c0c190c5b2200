"""Strategies of calls: what bytes say about one call on a graph, as a dictionary that makes it again."""

from __future__ import annotations

from .choices import Reader, table
from .graphs import Spec
from .tensors import TAME, WILD

OPS = table(("propagate", 216), ("pair", 30), ("write", 8), ("overlap", 2))
WIDTHS = table(
    *((d, 7) for d in range(1, 18)),
    (0, 5),
    *((d, 2) for d in range(18, 36)),
    *((d, 1) for d in (47, 48, 49, 63, 64, 65, 79, 80, 96, 113, 127, 128, 129, 131, 135, 136, 143, 144, 151, 160)),
    *((d, 1) for d in (191, 192, 200, 250, 255, 256, 257, 261, 265, 271, 272, 300, 384, 385, 391, 401, 512, 600)),
    ("any", 30),
)
TYPES = table(("float32", 100), ("float64", 66), ("bfloat16", 50), ("float16", 40))
VALUES = table(("normal", 120), ("integers", 20), *((v, 10) for v in TAME[2:]), *((v, 10) for v in WILD))
TAME_VALUES = table(("normal", 150), *((v, 16) for v in TAME[1:]))
LAYOUTS = table(
    ("contiguous", 140),
    ("transposed", 20),
    ("strided columns", 16),
    ("strided rows", 14),
    ("offset", 16),
    ("padded rows", 16),
    ("one row", 7),
    ("one column", 7),
    ("zero strides", 7),
    ("efficient zeros", 6),
    ("negative bit", 7),
    ("inference", 7),
)
# Layouts of tensors that autograd differentiates.
LEAF_LAYOUTS = table(
    ("contiguous", 150), *((v, 15) for v in ("transposed", "strided columns", "offset", "padded rows"))
)
STEPS = table((1, 130), (2, 44), (3, 34), (5, 20), (4, 14), (0, 14))
STRENGTHS = table(
    (1.0, 60), (0.5, 60), (0.0, 25), (-0.7, 25), (0.3, 30), (2.0, 20), (1e-3, 10), (100.0, 8), (-1.0, 10), (1e-30, 4)
)
SIZES_OF_STEP = table((1.0, 50), (0.5, 70), (0.1, 40), (0.9, 40), (0.0, 20), (1 / 3, 36))
NUMBERS = table(("float", 150), ("int", 8), ("numpy float64", 8), ("numpy float32", 8), ("tensor", 60), ("vector", 22))
TAME_NUMBERS = table(("float", 128), ("tensor", 100), ("vector", 28))
SCALARS = table(("float32", 120), ("float64", 80), ("bfloat16", 28), ("float16", 28))
STATES = table(("last", 200), ("all", 16), ("list", 20), ("tensor", 20))
NORMS = table((None, 180), ("flag", 44), ("module", 32))
BACKENDS = table((None, 190), ("native", 26), ("reference", 40))
# Transforms of torch.func take 5 to 15 ms, ten times as long as a value or a gradient, so they are rare.
MODES = table(
    ("value", 182),
    ("reverse", 40),
    ("jvp", 6),
    ("dual", 4),
    ("double", 10),
    ("vjp", 3),
    ("grad", 2),
    ("forward over reverse", 2),
    ("reverse over forward", 1),
    ("jacrev", 1),
    ("jacfwd", 1),
    ("hessian", 1),
    ("vmap", 2),
    ("batched", 1),
)
# Modes that differentiate an entry at a time.
SMALL = ("jacrev", "jacfwd", "hessian")
TRANSFORMS = ("jvp", "vjp", "grad", "forward over reverse", "reverse over forward", "vmap", *SMALL)


def call_spec(data: bytes, graph: Spec) -> Spec:
    """Decode the bytes of a call on a graph."""
    r = Reader(data)
    op = r.pick(OPS)
    if op == "write":
        return {
            "op": op,
            "half": r.one_of(("pos", "neg")),
            "how": r.one_of(("multiply", "copy", "fill")),
            "by": r.byte(),
        }
    if op == "overlap":
        return {"op": op}
    mode = r.pick(MODES)
    spec: Spec = {"op": op, "mode": mode, "seed": r.seed(), "dtype": r.pick(TYPES), "width": _width(r)}
    tame = mode != "value"
    spec["values"] = r.pick(TAME_VALUES if tame else VALUES)
    spec["layout"] = r.pick(LEAF_LAYOUTS if tame else LAYOUTS)
    spec["transposed"] = r.chance(15)
    backend = r.pick(BACKENDS)
    spec["backend"], spec["context"] = backend, backend is not None and r.chance(30)
    if op == "propagate":
        _propagation(r, spec, graph)
    if tame:
        _limit(spec, graph)
        names = ["x"]
        if op == "propagate":
            names += ["residual"] * (spec["residual"] is not None)
            names += [n for n in ("alpha", "beta", "lam") if spec[n][0] in ("tensor", "vector")]
        names += ["pos", "neg"]
        bits = r.byte() or 128
        spec["wrt"] = [n for i, n in enumerate(names) if bits >> (7 - i) & 1] or ["x"]
    return spec


def _width(r: Reader) -> int:
    width = r.pick(WIDTHS)
    return r.between(0, 600) if width == "any" else width


def _propagation(r: Reader, spec: Spec, graph: Spec) -> None:
    square = graph["rows"] == graph["cols"]
    tame = spec["mode"] != "value"
    spec["steps"] = r.pick(STEPS) if square else 1
    spec["residual"] = r.pick(LEAF_LAYOUTS if tame else LAYOUTS) if r.chance(40) else None
    numbers = TAME_NUMBERS if tame else NUMBERS
    kinds = [r.pick(numbers) for _ in range(3)]
    if r.chance(60):
        kinds = ["float"] * 3
    for name, kind in zip(("alpha", "beta", "lam"), kinds, strict=True):
        value = r.pick(SIZES_OF_STEP if name == "lam" else STRENGTHS)
        if kind == "int":
            value = int(value)
        spec[name] = [kind, value, r.pick(SCALARS)]
    if not square and spec["residual"] is None:
        spec["lam"] = ["float", 1.0, "float32"]
    spec["norm"] = r.pick(NORMS)
    if spec["norm"] == "module":
        spec["eps"] = r.one_of((1e-5, 1e-12, 0.0, 0.1))
        spec["affine"] = r.one_of((True, False, "no bias"))
    # What of the states is returned: the last one, all of them, or a sum.
    states = r.pick(STATES) if square and not tame else "last"
    spec["autocast"] = (
        states == "last" and spec["dtype"] == "float32" and not tame and spec["norm"] != "module" and r.chance(3)
    )
    spec["states"] = states
    if states in ("list", "tensor"):
        spec["gamma"] = [r.one_of((1.0, 0.5, -0.3, 2.0, -1.0)) for _ in range(spec["steps"] + 1)]


def _limit(spec: Spec, graph: Spec) -> None:
    """Keep the modes that take a pass an entry on few entries."""
    nodes = max(graph["rows"], graph["cols"], 1)
    if spec["mode"] in SMALL:
        spec["width"] = min(spec["width"], max(40 // nodes, 1))
        if nodes > 40:
            spec["mode"] = "reverse"
    elif spec["mode"] in ("vmap", "batched"):
        spec["width"] = min(spec["width"], 40)
