"""Both signs of a graph as one list of edges, for a backend that reads that faster than two halves."""

from __future__ import annotations

from ctypes import c_float
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling, is_exporting

from .adjacency.csr import CSR

if TYPE_CHECKING:
    from .graph import SignedGraph

Coefs = tuple[float, float, float]
Signs = tuple[float, float]
# Coefficients that come as a tensor.
LEARNT: Coefs = (0.0, 0.0, 0.0)
# Steps of other ratios before the list is made anew, which takes as long as two or three narrow ones.
_PATIENCE = 32


# The list, and the coefficients (r, p, q) to call it with, which in a trace are floats.
Found = tuple[Any, Tensor | Coefs]


class Kept(NamedTuple):
    """A list, and what it was made from."""

    coefs: Coefs  # of the last call
    found: Found | None  # None where halves are read
    factors: Signs  # of both signs' edges in the list
    stamp: Any  # of the weights
    others: int = 0  # steps of other ratios since


def merged(
    graph: SignedGraph, acc_dtype: torch.dtype, kernels: ModuleType, coefs: Coefs, coef: Tensor | None = None
) -> Found | None:
    """The list, `kernels.merge_signs` of both halves, and what to call it with; None where halves are read.

    Made at the first use and kept. Edges have the ratio p : q in their factors, so that a step multiplies once a row.
    With `LEARNT` coefficients, or in a trace, which may vary them, they have not; nor for a ratio that is seldom.
    Halves are read by backends without lists, and where they are not both sparse, learn, or serve one call only.
    """
    if not graph._lasts or not hasattr(kernels, "merge_signs"):
        return None
    if is_dynamo_compiling():
        # It would not see someone write to weights, so those are read from their halves.
        kept = graph._merged[False].get(acc_dtype) if graph._weightless else None
        return None if kept is None or kept.found is None else (kept.found[0], coefs if coef is None else coef)
    if coef is not None:
        found = merged(graph, acc_dtype, kernels, LEARNT)
        return None if found is None else (found[0], coef)
    known = coefs is not LEARNT
    kept = graph._merged[known].get(acc_dtype)
    if kept is None or kept.coefs != coefs or not graph._weightless:
        # What is computed while exporting is a part of the exported graph, not a value to keep.
        if is_exporting():
            return None
        graph._merged[known][acc_dtype], found = _renewed(kept, graph, acc_dtype, kernels, coefs)
        return found
    return kept.found


def _renewed(
    kept: Kept | None, graph: SignedGraph, acc_dtype: torch.dtype, kernels: ModuleType, coefs: Coefs
) -> tuple[Kept, Found | None]:
    """What is kept from now on, and what this call reads."""
    stamp = _stamp(graph)
    if kept is not None and kept.stamp != stamp:
        kept = None
    if kept is not None and kept.coefs == coefs:
        return kept, kept.found
    r, p, q = coefs
    factors, left = _relative(p, q, acc_dtype)
    if kept is not None and kept.found is None and kept.stamp is not None:
        # Backends and halves that are never merged: no tensor of coefficients is made.
        return kept._replace(coefs=coefs), None
    if kept is not None and kept.factors != factors and kept.others < _PATIENCE:
        own = torch.tensor(coefs, dtype=torch.float64, device=graph.device)
        return kept._replace(others=kept.others + 1), merged(graph, acc_dtype, kernels, LEARNT, own)
    if kept is not None and kept.factors == factors:
        edges = None if kept.found is None else kept.found[0]
    else:
        edges, pos, neg = None, graph._pos, graph._neg
        if stamp is not None and isinstance(pos, CSR) and isinstance(neg, CSR):
            edges = kernels.merge_signs(*(half.prepare(acc_dtype, kernels) for half in (pos, neg)), factors, acc_dtype)
    found = None if edges is None else (edges, torch.tensor((r, *left), dtype=torch.float64, device=graph.device))
    return Kept(coefs, found, factors, stamp), found


def _relative(p: float, q: float, acc_dtype: torch.dtype) -> tuple[Signs, Signs]:
    """Coefficients as factors relative to the stronger sign, and what is left.

    Rounded as kernels round them, so that a step has the same bits wherever the factors are applied, and steps of
    several sizes share a list. A sign that is not read leaves the other one's edges as they are.
    """
    if p == 0.0 or q == 0.0:
        return (1.0, 1.0), (p, q)
    common = p if abs(p) >= abs(q) else q
    factors = p / common, q / common
    if acc_dtype != torch.float64:
        factors = c_float(factors[0]).value, c_float(factors[1]).value
    return factors, (common, common)


def _stamp(graph: SignedGraph) -> tuple[Any, ...] | None:
    """What changes when someone writes to edge weights; None where they learn, or tell nobody."""
    halves = [half for half in (graph._pos, graph._neg) if isinstance(half, CSR)]
    stamps = tuple(half.stamp() for half in halves)
    return None if None in stamps or any(half.learns() for half in halves) else stamps
