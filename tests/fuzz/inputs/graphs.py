"""Strategies of signed graphs: what bytes say about a graph, as a dictionary that builds it again."""

from __future__ import annotations

from typing import Any

from .choices import Reader, spread, table

Spec = dict[str, Any]

SIZES = table(
    *((n, 12) for n in range(2, 12)),
    (1, 8),
    (0, 6),
    *((n, 3) for n in range(12, 34)),
    (48, 4),
    (64, 4),
    (65, 4),
    (100, 3),
    (150, 1),
    (250, 1),
    (400, 1),
)
PATTERNS = table(("random", 110), ("duplicates", 30), ("hub", 30), ("loops", 25), ("symmetric", 25), ("chain", 20))
# Mean number of edges of a node.
DEGREES = (2, 1, 3, 0, 5, 12)
WEIGHTS = table(
    (None, 110),
    ("positive", 50),
    ("signed", 40),
    ("some zeros", 15),
    ("unit", 10),
    ("tiny", 8),
    ("denormal", 6),
    ("large", 8),
)
EXTREME = ("tiny", "denormal", "large")
WEIGHT_TYPES = table(("float32", 90), ("float64", 80), ("bfloat16", 40), ("float16", 40))
KINDS = table(("edges", 176), ("labels", 22), ("block", 14), ("mean", 12), ("similarity", 18), (None, 14))
BUILDERS = table(("halves", 150), ("pair", 60), ("signed", 46))
MAKERS = table(("edge_index", 180), ("csr", 76))
JOINT = table((None, 170), ("sym", 43), ("row", 43))
NORMS = table((None, 140), ("sym", 60), ("row", 56))


def graph_spec(data: bytes) -> Spec:
    """Decode the bytes of a graph."""
    r = Reader(data)
    rows = r.pick(SIZES)
    cols = r.pick(SIZES) if r.chance(15) else rows
    builder = r.pick(BUILDERS)
    threads = 2 if r.chance(3) else 1
    spec: Spec = {"rows": rows, "cols": cols, "builder": builder, "threads": threads}
    spec["moves"] = [r.one_of(("pickle", "copy", "to", "prepare", "with_weights", "transpose twice"))] * r.chance(12)
    if builder == "halves":
        spec["pos"] = _half(r, rows, cols)
        spec["neg"] = _half(r, rows, cols)
        if spec["pos"] is None and spec["neg"] is None:
            spec["pos"] = _edges(Reader(b""), rows, cols)
    elif builder == "pair":
        spec["pos"], spec["neg"] = _edges(r, rows, cols), _edges(r, rows, cols)
        for half in (spec["pos"], spec["neg"]):
            half.update(make="edge_index", scales=False)
        spec["joint"] = r.pick(JOINT)
        if any(half["weight"] in EXTREME for half in (spec["pos"], spec["neg"])):
            # Degrees of the other half would make entries of 1e144 of them.
            spec["joint"] = None
        norm = spec["pos"]["norm"] or spec["neg"]["norm"]
        for half in (spec["pos"], spec["neg"]):
            # Joint degrees need both halves as they are.
            half.update(norm=norm, loops=half["loops"] and not spec["joint"])
    else:
        spec["signed"] = _edges(r, rows, cols)
        spec["signed"]["weight"] = spec["signed"]["weight"] or r.one_of(("unit signs", "signed"))
        spec["signed"].update(make="edge_index", scales=False, loops=False)
    return spec


def _edges(r: Reader, rows: int, cols: int) -> Spec:
    mean = r.one_of(DEGREES)
    edges = min(mean * max(rows, cols), 4000) if rows and cols else 0
    spec: Spec = {
        "kind": "edges",
        "edges": edges,
        "pattern": r.pick(PATTERNS),
        "seed": r.seed(),
        "weight": r.pick(WEIGHTS),
        "weight_type": r.pick(WEIGHT_TYPES),
        "grad": r.chance(30),
        "index": "int32" if r.chance(10) else "int64",
        "make": r.pick(MAKERS),
        "columns": "int64" if r.chance(25) else "int32",
        "norm": r.pick(NORMS),
        "loops": r.chance(20) and rows == cols,
        "fill": r.one_of((1.0, 2.0, 0.5)),
        "scales": r.chance(10),
    }
    if spec["scales"]:
        spec.update(make="csr", norm=None, loops=False)
    if spec["weight"] in EXTREME:
        # Only where degrees bring them back to one: the sum of products of such weights would overflow.
        spec.update(norm=spec["norm"] or "row", weight_type="float64", grad=False, loops=False, scales=False)
    return spec


def _half(r: Reader, rows: int, cols: int) -> Spec | None:
    kind = r.pick(KINDS)
    if kind is None:
        return None
    if kind == "edges" or rows != cols:
        return _edges(r, rows, cols)
    spec: Spec = {"kind": kind, "seed": r.seed()}
    if kind == "labels":
        spec["classes"] = r.one_of((3, 2, 1, 7))
        spec["stride"] = 120 if r.chance(25) else 1
        spec["known"] = r.one_of((0.5, 1.0, 0.2, 0.0))
        spec["over"] = r.one_of(("all", "labelled"))
    elif kind == "block":
        spec["groups"] = r.one_of((2, 1, 3, 9, 40))
        spec["dtype"] = r.one_of(("float64", "float32", "bfloat16", "float16"))
    elif kind == "similarity":
        spec["width"] = r.pick(spread(0, 12))
        spec["dtype"] = r.pick(WEIGHT_TYPES)
        spec["sign"] = r.one_of((-1, 1))
        spec["temperature"] = r.one_of((1.0, 0.5, 5.0))
        spec["grad"] = r.chance(25)
    return spec
