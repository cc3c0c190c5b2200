"""Both signs of a graph as one list of edges, for a backend that reads that faster than two halves."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from .csr import CSR

if TYPE_CHECKING:
    from .graph import SignedGraph


def merged(graph: SignedGraph, acc_dtype: torch.dtype, kernels: ModuleType) -> Any:
    """The list, `kernels.merge_signs` of both halves, made at the first use and kept; None where halves are read.

    Halves are read by backends without lists, and where they are not both sparse, learn, or serve one call only.
    """
    if not graph._lasts or not hasattr(kernels, "merge_signs"):
        return None
    made, found = graph._merged.get(acc_dtype, (None, None))
    if made is not None and graph.weightless:
        return found
    # What a trace computes is a part of its graph, not a value; torch.compile finds what was prepared for it. It would
    # not see someone write to weights, so those are read from their halves.
    if torch.compiler.is_dynamo_compiling() or torch.compiler.is_exporting():
        return found if graph.weightless else None
    stamp = _stamp(graph)
    if made is None or made != stamp:
        found, pos, neg = None, graph.pos, graph.neg
        if stamp is not None and isinstance(pos, CSR) and isinstance(neg, CSR):
            found = kernels.merge_signs(*(half.prepare(acc_dtype, kernels) for half in (pos, neg)), acc_dtype)
        graph._merged[acc_dtype] = (stamp, found)
    return found


def _stamp(graph: SignedGraph) -> tuple[Any, ...] | None:
    """What changes when someone writes to edge weights; None where they learn, or tell nobody."""
    halves = [half for half in (graph.pos, graph.neg) if isinstance(half, CSR)]
    stamps = tuple(half.stamp() for half in halves)
    return None if None in stamps or any(half.learns() for half in halves) else stamps
