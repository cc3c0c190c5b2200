"""The pair of adjacencies that signed propagation works on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .adjacency.base import Adjacency
from .adjacency.checks import check_edges, check_tensor, check_values, describe
from .adjacency.class_block import ClassBlock
from .adjacency.csr import CSR
from .adjacency.normalization import degree, degree_scales
from .adjacency.similarity import Similarity
from .adjacency.sparsity import SparsityPattern
from .backends.interface import Backend
from .merged_csr import MergedCache
from .transforms import needs_derivative, outside, plain

# The protocol last: a check of its members takes 20 times as long.
_CLASSES = (CSR, ClassBlock, Similarity, Adjacency)


class SignedGraph:
    """Two adjacencies over the same nodes: `pos` attracts, `neg` repels. Either may be absent.

    On the CPU the first step over two sparse halves with fixed weights merges both into one CSR, of 8 bytes an edge
    (12 for float64 features) and 16 a row; so does the first backward pass unless the graph is symmetric. The merged
    CSR carries the ratio alpha : beta and is rebuilt after many steps of another.
    `torch.save` and pickle store the two halves; what is loaded is checked as by the constructors.
    `torch.load(weights_only=True)` knows these classes once `sbp_kernels` is imported.

    Args:
        pos, neg: `CSR`, `ClassBlock` or `Similarity`, of one shape and on one device.

    Raises:
        ValueError: the halves do not fit together.
    """

    __slots__ = (
        "__weakref__",
        "_bins",
        "_device",
        "_neg",
        "_num_cols",
        "_num_rows",
        "_pos",
        "_symmetric",
        "_transposed",
        "_weightless",
        "merged",
    )

    def __init__(self, pos: Adjacency | None = None, neg: Adjacency | None = None) -> None:
        for name, half in (("pos", pos), ("neg", neg)):
            if half is not None and not isinstance(half, _CLASSES):
                raise ValueError(f"{name} must be a CSR, ClassBlock or Similarity, got {type(half).__name__}")
        if pos is None and neg is None:
            raise ValueError("a SignedGraph needs pos, neg or both, got neither")
        if pos is not None and neg is not None:
            a, b = (pos.num_rows, pos.num_cols), (neg.num_rows, neg.num_cols)
            if a != b:
                raise ValueError(f"pos and neg must have one shape, got {a[0]}x{a[1]} and {b[0]}x{b[1]}")
            if pos.device != neg.device:
                raise ValueError(f"pos and neg must be on one device, got {pos.device} and {neg.device}")
        self._pos, self._neg, one = pos, neg, neg if pos is None else pos
        self._num_rows, self._num_cols, self._device = one.num_rows, one.num_cols, one.device  # type: ignore[union-attr]
        # Neither half has edge weights or x0. Cached, because this check is measurable on small graphs.
        self._weightless = all(half is None or (isinstance(half, CSR) and half.weightless) for half in (pos, neg))
        self._transposed: SignedGraph | None = None
        self._symmetric = False
        # Degree bins by backend, of this graph and of its transpose.
        self._bins: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        # None if the halves are not both sparse, and for a graph that serves one call only.
        self.merged = MergedCache.of(pos, neg)

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

        `edge_index` is `[2, num_edges]`, sources in row 0 and targets in row 1; weights are the strengths of the
        edges (usually >= 0). `size=(num_sources, num_targets)` makes a bipartite graph.
        """
        pos, neg = (pos_edge_index, pos_edge_weight), (neg_edge_index, neg_edge_weight)
        if num_nodes is None and size is None:
            edges = {"pos_edge_index": pos_edge_index, "neg_edge_index": neg_edge_index}
            num_nodes = max(check_edges(index, None, None, name)[2] for name, index in edges.items())
        return SignedGraph(*(CSR.from_edge_index(*half, num_nodes, size=size) for half in (pos, neg)))

    @staticmethod
    def from_edge_weight(
        edge_index: Tensor,
        edge_weight: Tensor,
        num_nodes: int | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> SignedGraph:
        """Build from one `edge_index` with signed weights: an edge of weight w < 0 repels with |w|.

        Weights that are all +1 or -1 are not stored. The signs of weights that require a gradient are read once, here.
        """
        source, target, num_sources, num_targets = check_edges(edge_index, num_nodes, size)
        check_tensor("edge_weight", edge_weight)
        check_values("edge_weight", edge_weight, source.numel(), "num_edges", edge_index.device)
        with outside():
            negative = plain(edge_weight) < 0
            unit = not needs_derivative(edge_weight) and bool((edge_weight.abs() == 1).all())
            # One sort for both signs: the negative edges get rows below the positive ones.
            row = target + num_targets * negative
            both, order = SparsityPattern.from_coo(row, source, 2 * num_targets, num_sources)
            pos, neg = both.split(num_targets)
        weight, cut = None if unit else edge_weight, pos.num_edges
        return SignedGraph(CSR._sorted(pos, weight, order[:cut]), CSR._sorted(neg, weight, order[cut:], -1.0))

    @staticmethod
    def from_labels(edge_index: Tensor, y: Tensor, known: Tensor, softmax_over: str = "all") -> SignedGraph:
        """Return Label-SBP's graph: the edges attract, `ClassBlock.from_labels(y, known)` repels."""
        labels = ClassBlock.from_labels(y, known, softmax_over)
        return SignedGraph(CSR.from_edge_index(edge_index, num_nodes=y.numel()), labels)

    pos = property(lambda self: self._pos, doc="The adjacency that attracts, or None.")
    neg = property(lambda self: self._neg, doc="The adjacency that repels, or None.")
    num_rows = num_nodes = property(lambda self: self._num_rows, doc="Number of rows (of targets, if bipartite).")
    num_cols = property(lambda self: self._num_cols, doc="Number of columns (of sources, if bipartite).")
    device = property(lambda self: self._device, doc="Where both halves are.")
    weightless = property(lambda self: self._weightless, doc="Whether neither half has edge weights or an x0.")

    @property
    def T(self) -> SignedGraph:
        """Both halves transposed; cached, unless weights or x0 need a derivative. A symmetric graph is its own."""
        if self._symmetric:
            return self
        if self._transposed is not None and self._weightless:
            return self._transposed
        pos, neg = (None if half is None else half.T for half in (self._pos, self._neg))
        if pos is self._pos and neg is self._neg:
            # A flag, as a graph that refers to itself lives until the garbage collector runs.
            self._symmetric = True
            return self
        if self._transposed is not None and self._transposed._pos is pos and self._transposed._neg is neg:
            return self._transposed
        transposed = SignedGraph(pos, neg)
        transposed._bins = self._bins[::-1]
        fixed = not any(half is not None and half.requires_derivative() for half in (self._pos, self._neg))
        if self.merged is None or not fixed:
            transposed.merged = None
        self._transposed = transposed if fixed else self._transposed
        return transposed

    def prepare(self) -> SignedGraph:
        """Build the transpose now rather than in the first backward pass; return the graph."""
        _ = self.T
        return self

    def degree_bins(self, kernels: Backend) -> Any:
        """Return the rows binned by degree as this backend wants them; computed once, as weights do not matter."""
        bins, name = self._bins[0], kernels.__name__
        if name not in bins:
            rows = (half.pattern._rowptr if isinstance(half, CSR) else None for half in (self._pos, self._neg))
            bins[name] = kernels.degree_bins(*rows)
        return bins[name]

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles share no cache.
        return SignedGraph, (self._pos, self._neg)

    def _prepare(self, acc_dtype: torch.dtype, kernels: Backend) -> bool:
        for graph in (self, self.T):
            graph.degree_bins(kernels)
            if graph.merged is not None:
                graph.merged.plain(acc_dtype, kernels)
            for half in (graph.pos, graph.neg):
                if half is not None:
                    half.prepare(acc_dtype, kernels)
        return True

    # While torch.compile traces, this runs for real: sorting and what it caches depend on data. The mark is
    # all that torch.compiler.assume_constant_result makes, which imports the compiler, and Triton: a second.
    _prepare._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def with_weights(self, pos_weight: Tensor | None, neg_weight: Tensor | None) -> SignedGraph:
        """Return the graph with other edge weights (in the order of `CSR.col`), x0 or block; None for a half's own.

        Raises ValueError for weights that the half's constructor would refuse, or where a half has none.
        """
        for name, half, weight in (("pos", self._pos, pos_weight), ("neg", self._neg, neg_weight)):
            if weight is not None and not hasattr(half, "with_weight"):
                kind = "is absent" if half is None else f"is a {type(half).__name__}, which has none"
                raise ValueError(f"{name}_weight needs a half with weights, but {name} {kind}")
        halves = ((self._pos, pos_weight), (self._neg, neg_weight))
        return self._reweighed(*(half if w is None else half.with_weight(w) for half, w in halves))  # type: ignore

    def _reweighed(self, pos: Adjacency | None, neg: Adjacency | None) -> SignedGraph:
        """Return the graph of these halves, which have the patterns of its own."""
        if pos is self._pos and neg is self._neg:
            return self
        graph = SignedGraph(pos, neg)
        graph._bins = self._bins
        return graph

    def _with_temporary_weights(self, pos_weight: Tensor | None, neg_weight: Tensor | None) -> SignedGraph:
        """Return the graph with other weights for one call: no merged CSR is cached for it."""
        halves = ((self._pos, pos_weight), (self._neg, neg_weight))
        graph = self._reweighed(*(half if w is None else half._with_weight(w) for half, w in halves))  # type: ignore[union-attr]
        if graph is not self:
            graph.merged = None
        return graph

    def add_self_loops(self, fill_value: float = 1.0) -> SignedGraph:
        """Add the missing self-loops to the positive half, which must be sparse."""
        if not isinstance(self._pos, CSR):
            raise ValueError(f"add_self_loops needs sparse positive edges, got {self.pos!r}")
        return SignedGraph(self.pos.add_self_loops(fill_value), self.neg)

    def normalize(self, mode: str, *, joint: bool = False) -> SignedGraph:
        r"""Scale the sparse halves by degrees of absolute weights (see `CSR.normalize`).

        Each half by its own degrees; with `joint=True` both by the degrees of the whole graph,
        \( d_i = \sum_j |A^+_{ij}| + |A^-_{ij}| \), which needs two sparse halves.
        """
        if not isinstance(joint, bool):
            raise ValueError(f"joint must be True or False, got {describe(joint)}")
        if not joint:
            halves = (self._pos, self._neg)
            return SignedGraph(*(half.normalize(mode) if isinstance(half, CSR) else half for half in halves))
        if not isinstance(self._pos, CSR) or not isinstance(self._neg, CSR):
            raise ValueError(f"joint degrees need two sparse halves, got {self!r}")
        rows, cols = (degree(self.pos, dim) + degree(self.neg, dim) for dim in (0, 1))
        return SignedGraph(*(half.scaled(*degree_scales(half, mode, rows, cols)) for half in (self._pos, self._neg)))

    def to(self, device: torch.device | str) -> SignedGraph:
        """Return the same graph on another device."""
        return SignedGraph(*(None if half is None else half.to(device) for half in (self._pos, self._neg)))

    def __repr__(self) -> str:
        return f"SignedGraph(pos={self.pos!r}, neg={self.neg!r})"


torch.serialization.add_safe_globals([SignedGraph])
