"""A `SignedGraph` from whatever PyG takes for an adjacency, kept for the next call with the same tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import is_sparse

from ..csr import CSR
from ..graph import SignedGraph
from .edges import Edges, Size, list_edges, read_edges, values_of, with_loops
from .kept import recall


def adjacency(
    edge_index: Any,
    edge_weight: Tensor | None = None,
    *,
    size: Size = None,
    flow: str = "source_to_target",
    self_loops: float | None = None,
    normalize: str | None = None,
    keep: bool = True,
) -> SignedGraph:
    r"""One adjacency, weights of any sign, as the positive half of a graph: \( Y_i = \sum_{e: j \to i} w_e X_j \).

    The graph is kept as long as its tensors live and stay as they are, so that the next layer or epoch neither
    sorts nor normalises again. Weights that require a gradient stay differentiable: only their pattern is kept.
    Under torch.compile other tensors compile anew, up to its recompile limit, and a change of the same ones in place
    raises RuntimeError. Weights that require a gradient do not compile.

    Args:
        edge_index: int `[2, num_edges]`, `EdgeIndex`, torch sparse COO, CSR or CSC, or `SparseTensor`; a sparse
            matrix is PyG's `adj_t` (row = target) and brings its values.
        edge_weight: floating `[num_edges]`; 1 if absent. Not read beside a sparse matrix, as in PyG.
        size: number of nodes, or (sources, targets); read off the edges if absent.
        flow: PyG's; "target_to_source" turns all edges round.
        self_loops: weight of the loops to add, by PyG's rule for this kind of adjacency; none if absent.
        normalize: "sym" or "row" (by degrees of absolute weights, see `CSR.normalize`), "mean" (by the number of
            edges of a row), or None.
        keep: False for weights that are used once, such as gates: then, too, only their pattern is kept.

    Raises:
        ValueError: the arguments are no adjacency, or none of that size.
    """
    options = (size, flow, self_loops, normalize)
    edge_weight = None if is_sparse(edge_index) else edge_weight
    if not keep or _learns(edge_index) or _learns(edge_weight):
        if torch.compiler.is_dynamo_compiling():
            raise NotImplementedError("edge weights that learn or change are not implemented under torch.compile")
        return _build(options, edge_index, edge_weight, often=True)
    return recall(_build, options, edge_index, edge_weight)


def signed_adjacency(
    pos_edge_index: Any,
    neg_edge_index: Any = None,
    pos_edge_weight: Tensor | None = None,
    neg_edge_weight: Tensor | None = None,
    *,
    size: Size = None,
    flow: str = "source_to_target",
    normalize: str | None = None,
    joint: bool = False,
) -> SignedGraph:
    """Positive and negative edges, each as in `adjacency`, as the two halves of one graph, kept as there.

    Weights are strengths (usually >= 0). Without `neg_edge_index`, edges of negative weight are the negative ones;
    weights that require a gradient are then split anew in every call, unlike in `adjacency`. With `joint`, both
    halves are normalised by the degrees of the whole graph.
    """
    sources = (pos_edge_index, pos_edge_weight, neg_edge_index, neg_edge_weight)
    options = (size, flow, normalize, joint)
    if any(map(_learns, sources)):
        return _build_pair(options, *sources)
    return recall(_build_pair, options, *sources)


def gcn_edges(
    edge_index: Any,
    edge_weight: Tensor | None = None,
    *,
    size: int,
    flow: str = "source_to_target",
    self_loops: float | None = None,
    normalize: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """PyG's `gcn_norm` with degrees of absolute weights: edges and weights in PyG's order, kept like a graph.

    Of a sparse matrix, too, an edge list. Without `normalize`, the edges and weights alone.
    """
    options = (size, flow, self_loops, normalize, dtype)
    edge_weight = None if is_sparse(edge_index) else edge_weight
    if _learns(edge_index) or _learns(edge_weight):
        return _build_gcn(options, edge_index, edge_weight)
    return recall(_build_gcn, options, edge_index, edge_weight)


def _build_edges(options: tuple[Any, ...], edge_index: Any) -> tuple[Edges, SignedGraph]:
    edges = read_edges(edge_index, *options)
    return edges, SignedGraph(CSR._trusted(edges.pattern))


def _build(options: tuple[Any, ...], edge_index: Any, edge_weight: Tensor | None, often: bool = False) -> SignedGraph:
    edges, graph = recall(_build_edges, options[:-1], edge_index)
    weight = values_of(edge_index) if is_sparse(edge_index) else edge_weight
    if weight is None and options[-1] is None:
        return graph
    weighted = SignedGraph(_normalize(edges.weigh(weight, often=often), options[-1]))
    weighted._plans = graph._plans
    return weighted


def _build_gcn(options: tuple[Any, ...], edge_index: Any, edge_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    size, flow, self_loops, normalize, dtype = options
    edges, _ = list_edges(edge_index, size, flow)
    weight = values_of(edge_index) if is_sparse(edge_index) else edge_weight
    given = edges.size(1)
    if self_loops is not None:
        edges, origin = with_loops(edges, torch.arange(given, device=edges.device), size, edge_index)
        if weight is not None:
            weight = torch.cat([weight, weight.new_full((1,), self_loops)]).index_select(0, origin % (given + 1))
    weight = torch.ones(edges.size(1), dtype=dtype, device=edges.device) if weight is None else weight.to(dtype)
    if weight is edge_weight:
        # What is kept must not keep its source alive.
        weight = weight.clone()
    if normalize:
        source, target = edges
        degree = weight.new_zeros(size).index_add(0, target, torch.where(weight < 0, -weight, weight))
        scale = torch.where(degree > 0, degree, 1.0).rsqrt() * (degree > 0)
        weight = scale[source] * weight * scale[target]
    return (edges if flow == "source_to_target" else edges.flip(0)), weight


def _build_pair(
    options: tuple[Any, ...], pos: Any, pos_weight: Tensor | None, neg: Any, neg_weight: Tensor | None
) -> SignedGraph:
    size, flow, normalize, joint = options
    each = None if joint else normalize
    if neg is None:
        edges, size = list_edges(pos, size, flow)
        weight = values_of(pos) if is_sparse(pos) else pos_weight
        if weight is None:
            raise ValueError("give neg_edge_index, or weights whose sign says which edges are negative")
        split = SignedGraph.from_edge_weight(edges, weight, size=size)
        halves = [_normalize(half, each) for half in (split.pos, split.neg)]
    else:
        if size is None:
            sizes = [list_edges(half, None, flow)[1] for half in (pos, neg)]
            size = tuple(map(max, *sizes))
        weighted = ((pos, pos_weight), (neg, neg_weight))
        halves = [adjacency(i, w, size=size, flow=flow, normalize=each).pos for i, w in weighted]  # type: ignore[misc]
    graph = SignedGraph(*halves)
    return graph.normalize(normalize, joint=True) if joint and normalize is not None else graph


def _normalize(matrix: Any, mode: str | None) -> CSR:
    if mode == "mean":
        return matrix.scaled(1.0 / matrix.rowptr.diff().clamp(min=1).double(), None)
    return matrix if mode is None else matrix.normalize(mode)


def _learns(part: Any) -> bool:
    return isinstance(part, Tensor) and part.requires_grad
