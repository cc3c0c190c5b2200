"""Build a `SignedGraph` from any adjacency that PyG accepts, and cache it for the next call with the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.utils import is_sparse

from ..adjacency.csr import CSR
from ..graph import SignedGraph
from .autodiff import differentiable
from .compiled import deferrable, lookup, lookup_graph, raise_if_compiling, raise_if_recorded
from .edges import Edges, Size, check_options, check_weight, list_edges, sort_edges, sparse_values


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
    r"""Return one adjacency as the positive half of a graph, \( Y_i = \sum_{e: j \to i} w_e X_j \), with any weights.

    The graph is cached until one of its tensors changes or dies, so that the next layer or epoch neither sorts nor
    normalizes again. Weights that require a gradient, or that torch.func or forward mode differentiates, stay
    differentiable: only the sparsity pattern is cached then. The cache does not detect a write through `.data`, NumPy
    or another process: call `clear_cache` after it.
    Under torch.compile, other tensors cause a recompilation, up to its recompile limit, and an in-place change of the
    same tensors raises RuntimeError. Weights that require a gradient do not compile.

    Args:
        edge_index: int `[2, num_edges]`, `EdgeIndex`, torch sparse COO, CSR or CSC, or `SparseTensor`; a sparse
            matrix is PyG's `adj_t` (row = target) and brings its values.
        edge_weight: floating `[num_edges]`; 1 if absent. Ignored if `edge_index` is a sparse matrix, as in PyG.
        size: number of nodes, or (sources, targets); inferred from the edges if absent.
        flow: as in PyG; "target_to_source" reverses all edges.
        self_loops: weight of the self-loops to add, by PyG's rule for this kind of adjacency; None adds none.
        normalize: "sym" or "row" (by degrees of absolute weights, see `CSR.normalize`), "mean" (by the number of
            edges of a row), or None.
        keep: False for weights that are used once, such as gates: only the sparsity pattern is cached then.

    Raises:
        ValueError: the arguments are not an adjacency of that size.
        NotImplementedError: the edges differ between the entries of `torch.func.vmap`; or torch.jit.trace or
            torch.export records the call, which would make the edges constants of the program.
    """
    raise_if_recorded()
    check_options(size, flow, self_loops, normalize)
    if not isinstance(keep, bool):
        raise ValueError(f"keep must be True or False, got {keep!r}")
    return find_graph(edge_index, edge_weight, (_size_pair(size), flow, self_loops, normalize), keep)


def layer_adjacency(
    edge_index: Any,
    edge_weight: Tensor | None = None,
    *,
    size: int,
    flow: str,
    self_loops: float | None = None,
    normalize: str | None = None,
    keep: bool = True,
) -> Any:
    """Return `adjacency` for a layer; in code that was compiled several times, return a `Deferred`."""
    return find_graph(edge_index, edge_weight, ((size, size), flow, self_loops, normalize), keep, lookup_graph)


def find_graph(
    edge_index: Any, edge_weight: Any, options: tuple[Any, ...], keep: bool = True, find: Callable[..., Any] = lookup
) -> Any:
    """Return `adjacency` for valid options ((sources, targets) or None, flow, self_loops, normalize)."""
    edge_weight = None if is_sparse(edge_index) else edge_weight
    if not keep or differentiable(edge_index) or differentiable(edge_weight):
        raise_if_compiling()
        return _build(options, edge_index, edge_weight, every_step=True)
    return find(_build, options, edge_index, edge_weight)


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
    """Return positive and negative edges as the two halves of one graph; both are read and cached as by `adjacency`.

    Weights are strengths (usually >= 0). Without `neg_edge_index`, edges of negative weight form the negative half;
    weights that require a gradient are then split in every call, unlike in `adjacency`. With `joint`, both
    halves are normalized by the degrees of the whole graph.
    """
    raise_if_recorded()
    check_options(size, flow, None, normalize)
    if not isinstance(joint, bool):
        raise ValueError(f"joint must be True or False, got {joint!r}")
    if neg_edge_index is None and neg_edge_weight is not None:
        raise ValueError("neg_edge_weight needs neg_edge_index")
    sources = (pos_edge_index, pos_edge_weight, neg_edge_index, neg_edge_weight)
    return find_signed_graph((_size_pair(size), flow, normalize, joint), *sources)


def find_signed_graph(options: tuple[Any, ...], *sources: Any) -> SignedGraph:
    """Return `signed_adjacency` for valid options ((sources, targets) or None, flow, normalize, joint)."""
    return (
        _build_pair(options, *sources) if any(map(differentiable, sources)) else lookup(_build_pair, options, *sources)
    )


def layer_signed_adjacency(
    pos_edge_index: Any, neg_edge_index: Any, size: tuple[int, int], flow: str, mode: Any
) -> Any:
    """Return `signed_adjacency` without weights; in code that was compiled several times, return a `Deferred`."""
    sources = (pos_edge_index, None, neg_edge_index, None)
    options = (size, flow, mode, False)
    if any(map(differentiable, sources)):
        return _build_pair(options, *sources)
    return lookup_graph(_build_pair, options, *sources)


def _build_edges(options: tuple[Any, ...], edge_index: Any) -> tuple[Edges, SignedGraph]:
    edges = sort_edges(edge_index, *options)
    return edges, SignedGraph(CSR._trusted(edges.pattern))


@deferrable
def _build(
    options: tuple[Any, ...], edge_index: Any, edge_weight: Tensor | None, every_step: bool = False
) -> SignedGraph:
    edges, graph = lookup(_build_edges, options[:-1], edge_index)
    weight = sparse_values(edge_index) if is_sparse(edge_index) else edge_weight
    if weight is None and options[-1] is None:
        return graph
    weighted = SignedGraph(_normalize(edges.to_csr(weight, every_step=every_step), options[-1]))
    weighted._bins = graph._bins
    return weighted


@deferrable
def _build_pair(
    options: tuple[Any, ...], pos: Any, pos_weight: Tensor | None, neg: Any, neg_weight: Tensor | None
) -> SignedGraph:
    size, flow, normalize, joint = options
    each = None if joint else normalize
    if neg is None:
        edges, size = list_edges(pos, size, flow)
        weight = sparse_values(pos) if is_sparse(pos) else pos_weight
        if weight is None:
            raise ValueError("give neg_edge_index, or weights whose sign says which edges are negative")
        weight = check_weight(weight, edges.size(1), edges.device)
        split = SignedGraph.from_edge_weight(edges, weight, size=size)
        halves = [_normalize(half, each) for half in (split.pos, split.neg)]
    else:
        if size is None:
            sizes = [list_edges(half, None, flow)[1] for half in (pos, neg)]
            size = tuple(map(max, *sizes))
        weighted = ((pos, pos_weight), (neg, neg_weight))
        halves = [find_graph(edges, weight, (size, flow, None, each)).pos for edges, weight in weighted]
    graph = SignedGraph(*halves)
    return graph.normalize(normalize, joint=True) if joint and normalize is not None else graph


def _normalize(matrix: Any, mode: str | None) -> CSR:
    if mode == "mean":
        return matrix.scaled(1.0 / matrix.pattern._rowptr.diff().clamp(min=1).double(), None)
    return matrix if mode is None else matrix.normalize(mode)


def _size_pair(size: Size) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else None if size is None else tuple(size)  # type: ignore[return-value]
