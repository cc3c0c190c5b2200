"""What identifies a graph: for ranks that must have the same one, and for work that resumes."""

from __future__ import annotations

from typing import Any

import torch

from ..adjacency.class_block import ClassBlock
from ..adjacency.csr import CSR
from ..graph import SignedGraph


def fingerprint(graph: SignedGraph) -> str:
    """Return the sizes and checksums of both halves."""
    return f"{_half(graph.pos)} and {_half(graph.neg)}"


def _half(half: Any) -> str:
    if isinstance(half, CSR):
        pattern, weight = half.pattern, half.weight
        # Six digits, as machines differ in the order of sums.
        given = (weight, half._row_scale, half._col_scale)
        values = ["1" if t is None else f"{float(t.detach().double().sum()):.6g}" for t in given]
        place = torch.arange(1, half.num_edges + 1, device=half.device)
        text = f"CSR {half.shape} {half.num_edges} {int(pattern._rowptr.sum())} {int((pattern._col * place).sum())}"
        return f"{text} {None if weight is None else weight.dtype} {values}"
    if isinstance(half, ClassBlock):
        place = torch.arange(1, half.num_nodes + 1, device=half.device)
        groups = half._groups.values.double()
        groups = groups if groups.dim() == 1 else groups.sum(1)
        return f"ClassBlock {half.num_nodes} {half.num_groups} {float((groups * place).sum()):.6g}"
    return type(half).__name__ if half is None else repr(half)
