"""The pair of adjacencies that signed propagation works on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .checks import check_edges, check_values
from .csr import CSR
from .degrees import degree, degree_scales
from .implicit import ClassBlock
from .merged import LEARNT, Kept, merged
from .pattern import Pattern
from .similarity import Similarity

Adjacency = CSR | ClassBlock | Similarity
# A plan may be None.
_NOT_MADE = object()


class SignedGraph:
    """Two adjacencies over the same nodes: `pos` attracts, `neg` repels. Either may be absent.

    On the CPU the first step over two sparse halves with fixed weights keeps both as one list of edges, 8 bytes
    each (12 for float64 features) and 16 a row; the first backward pass another one unless the graph is symmetric.
    It is made for a ratio alpha : beta, and anew after many steps of another; until then these, learnt coefficients
    and torch.compile read one of their own.
    Scales must not be written to after the first step.

    Args:
        pos, neg: `CSR`, `ClassBlock` or `Similarity`, of one shape and on one device.
    """

    __slots__ = (
        "_lasts",
        "_merged",
        "_plans",
        "_symmetric",
        "_transposed",
        "device",
        "neg",
        "num_cols",
        "num_rows",
        "pos",
        "weightless",
    )

    def __init__(self, pos: Adjacency | None = None, neg: Adjacency | None = None) -> None:
        for name, half in (("pos", pos), ("neg", neg)):
            if half is not None and not isinstance(half, (CSR, ClassBlock, Similarity)):
                raise ValueError(f"{name} must be a CSR, ClassBlock or Similarity, got {type(half).__name__}")
        if pos is None and neg is None:
            raise ValueError("a SignedGraph needs pos, neg or both, got neither")
        if pos is not None and neg is not None:
            a, b = (pos.num_rows, pos.num_cols), (neg.num_rows, neg.num_cols)
            if a != b:
                raise ValueError(f"pos and neg must have one shape, got {a[0]}x{a[1]} and {b[0]}x{b[1]}")
            if pos.device != neg.device:
                raise ValueError(f"pos and neg must be on one device, got {pos.device} and {neg.device}")
        half = pos if pos is not None else neg
        assert half is not None
        self.pos, self.neg = pos, neg
        self.num_rows, self.num_cols, self.device = half.num_rows, half.num_cols, half.device
        # Nothing in it can learn, now or later: known once, as small graphs feel every question asked in a call.
        self.weightless = all(half is None or (isinstance(half, CSR) and half.weightless) for half in (pos, neg))
        self._transposed: SignedGraph | None = None
        self._symmetric = False
        # By backend; of this graph's edges and of the transposed ones.
        self._plans: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        # By whether they have the signs' factors, and accumulation type. A graph made for one use keeps none.
        self._merged: tuple[dict[torch.dtype, Kept], dict[torch.dtype, Kept]] = ({}, {})
        self._lasts = True

    @staticmethod
    def from_edge_index(
        pos_edge_index: Tensor,
        neg_edge_index: Tensor,
        num_nodes: int | None = None,
        *,
        pos_edge_weight: Tensor | None = None,
        neg_edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> SignedGraph:
        """Build from positive and negative edges apart, PyG `SignedConv`'s arguments.

        `edge_index` is `[2, num_edges]`, sources in row 0 and targets in row 1; weights are the
        strengths of the edges (both halves usually >= 0). `size=(num_sources, num_targets)` makes
        a bipartite graph.
        """
        if num_nodes is None and size is None:
            highest = [int(e.max()) for e in (pos_edge_index, neg_edge_index) if e.numel()]
            num_nodes = max(highest, default=-1) + 1
        return SignedGraph(
            CSR.from_edge_index(pos_edge_index, pos_edge_weight, num_nodes, size=size),
            CSR.from_edge_index(neg_edge_index, neg_edge_weight, num_nodes, size=size),
        )

    @staticmethod
    def from_edge_weight(
        edge_index: Tensor,
        edge_weight: Tensor,
        num_nodes: int | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> SignedGraph:
        """Build from one `edge_index` with signed weights: an edge of weight w < 0 repels with |w|.

        Weights that are all +1 or -1 are not stored. Weights that require a gradient keep it; their
        signs are read once, here.
        """
        source, target, num_sources, num_targets = check_edges(edge_index, num_nodes, size)
        check_values("edge_weight", edge_weight, source.numel(), "num_edges", edge_index.device)
        negative = edge_weight.detach() < 0
        unit = not edge_weight.requires_grad and bool((edge_weight.abs() == 1).all())

        # As rows below the positive ones, the negative edges are sorted in the same go.
        both, order = Pattern.from_coo(target + num_targets * negative, source, 2 * num_targets, num_sources)
        pos, neg = both.split(num_targets)
        weight = None if unit else edge_weight
        return SignedGraph(
            CSR._sorted(pos, weight, order[: pos.num_edges]), CSR._sorted(neg, weight, order[pos.num_edges :], -1.0)
        )

    @staticmethod
    def from_labels(edge_index: Tensor, y: Tensor, known: Tensor, softmax_over: str = "all") -> SignedGraph:
        """Label-SBP's graph: the edges attract, `ClassBlock.from_labels(y, known)` repels."""
        return SignedGraph(
            CSR.from_edge_index(edge_index, num_nodes=y.numel()), ClassBlock.from_labels(y, known, softmax_over)
        )

    @property
    def num_nodes(self) -> int:
        """Number of rows (of targets, in a bipartite graph)."""
        return self.num_rows

    @property
    def T(self) -> SignedGraph:
        """Both halves transposed; kept, unless weights or features take a gradient. A symmetric graph is its own."""
        if self._symmetric:
            return self
        if self._transposed is not None and self.weightless:
            return self._transposed
        pos, neg = (None if half is None else half.T for half in (self.pos, self.neg))
        if pos is self.pos and neg is self.neg:
            # Marked, not referred to: a graph that refers to itself stays until the garbage collector comes.
            self._symmetric = True
            return self
        if self._transposed is not None and self._transposed.pos is pos and self._transposed.neg is neg:
            return self._transposed
        transposed = SignedGraph(pos, neg)
        transposed._plans = self._plans[::-1]
        kept = not any(half is not None and half.learns() for half in (self.pos, self.neg))
        transposed._lasts = self._lasts and kept
        if kept:
            self._transposed = transposed
        return transposed

    def prepare(self) -> SignedGraph:
        """Build the transpose now rather than in the first backward pass; return the graph."""
        _ = self.T
        return self

    def plan(self, kernels: ModuleType) -> Any:
        """How this backend shares out the rows, made at the first use; other weights leave it as it is."""
        plan = self._plans[0].get(kernels.__name__, _NOT_MADE)
        if plan is _NOT_MADE:
            pos, neg = (half.rowptr if isinstance(half, CSR) else None for half in (self.pos, self.neg))
            plan = self._plans[0][kernels.__name__] = kernels.row_plan(pos, neg)
        return plan

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles make their own of all that is kept here.
        return SignedGraph, (self.pos, self.neg)

    def _prepare(self, acc_dtype: torch.dtype, kernels: ModuleType) -> bool:
        for graph in (self, self.T):
            graph.plan(kernels)
            merged(graph, acc_dtype, kernels, LEARNT)
            for half in (graph.pos, graph.neg):
                if half is not None:
                    half.prepare(acc_dtype, kernels)
        return True

    # While torch.compile traces, this runs for real: sorting and what it caches depend on data. The mark is
    # all that torch.compiler.assume_constant_result makes, which imports the compiler, and Triton: a second.
    _prepare._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def with_weights(self, pos_weight: Tensor | None, neg_weight: Tensor | None) -> SignedGraph:
        """The same graph with other edge weights, or another x0; None keeps those there are."""
        pos, neg = _reweigh(self.pos, pos_weight), _reweigh(self.neg, neg_weight)
        if pos is self.pos and neg is self.neg:
            return self
        graph = SignedGraph(pos, neg)
        graph._plans = self._plans
        return graph

    def _for_one_use(self, pos_weight: Tensor | None, neg_weight: Tensor | None) -> SignedGraph:
        """`with_weights` that the next call will not see again: nothing is made to be kept."""
        graph = self.with_weights(pos_weight, neg_weight)
        if graph is not self:
            graph._lasts = False
        return graph

    def add_self_loops(self, fill_value: float = 1.0) -> SignedGraph:
        """Add the missing self-loops to the positive half, which must be sparse."""
        if not isinstance(self.pos, CSR):
            raise ValueError(f"add_self_loops needs sparse positive edges, got {self.pos!r}")
        return SignedGraph(self.pos.add_self_loops(fill_value), self.neg)

    def normalize(self, mode: str, *, joint: bool = False) -> SignedGraph:
        r"""Scale the sparse halves by degrees of absolute weights (see `CSR.normalize`).

        Each half by its own degrees; with `joint=True` both by the degrees of the whole graph,
        \( d_i = \sum_j |A^+_{ij}| + |A^-_{ij}| \), which needs two sparse halves.
        """
        if not joint:
            scale = lambda half: half.normalize(mode) if isinstance(half, CSR) else half  # noqa: E731
            return SignedGraph(scale(self.pos), scale(self.neg))
        if not isinstance(self.pos, CSR) or not isinstance(self.neg, CSR):
            raise ValueError("joint degrees need two sparse halves")
        rows, cols = (degree(self.pos, dim) + degree(self.neg, dim) for dim in (0, 1))
        return SignedGraph(*(half.scaled(*degree_scales(half, mode, rows, cols)) for half in (self.pos, self.neg)))

    def to(self, device: torch.device | str) -> SignedGraph:
        """The same graph on another device."""
        move = lambda half: None if half is None else half.to(device)  # noqa: E731
        return SignedGraph(move(self.pos), move(self.neg))

    def __repr__(self) -> str:
        return f"SignedGraph(pos={self.pos!r}, neg={self.neg!r})"


def _reweigh(half: Adjacency | None, weight: Tensor | None) -> Adjacency | None:
    return half if weight is None or half is None or isinstance(half, ClassBlock) else half.with_weight(weight)
