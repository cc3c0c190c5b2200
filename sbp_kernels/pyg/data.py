"""Conversion between the data objects of PyG and `SignedGraph`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from ..adjacency.checks import check_tensor, describe
from ..adjacency.class_block import ClassBlock
from ..adjacency.csr import CSR
from ..adjacency.similarity import Similarity
from ..graph import SignedGraph

_NEGATIVES = ("edges", "labels", "features", None)


def from_data(
    data: Data,
    *,
    negatives: str | None = "edges",
    normalize: str | None = None,
    joint: bool = False,
    add_self_loops: bool = False,
) -> SignedGraph:
    """Return the signed graph of a PyG `Data`, of a batch of disjoint graphs, or of a sampled batch.

    `negatives` names the source of the negative half:

    - `"edges"`: from `pos_edge_index` and `neg_edge_index` (strengths in `pos_edge_weight`, `neg_edge_weight`)
      if the data has them; else from the signs of `edge_weight`, else of `edge_attr`, on `edge_index`.
    - `"labels"`: Label-SBP, `ClassBlock.from_labels(y, train_mask)`; `edge_index` is the positive half.
    - `"features"`: Feature-SBP, `Similarity(x)`; `edge_index` is the positive half.
    - None: there is no negative half; `edge_index` is the positive half.

    Args:
        data: the source of the tensors and of `num_nodes`; the graph is on their device.
        negatives: as above.
        normalize, joint: `SignedGraph.normalize`; None leaves the weights as they are.
        add_self_loops: add the missing self-loops to the positive half, before normalizing.

    Raises:
        ValueError: the data lacks a tensor that `negatives` needs; the message names it.
        NotImplementedError: labels or features of a batch of several graphs: nodes of different graphs would repel.
    """
    check_options(negatives, normalize, joint, add_self_loops)
    check_kind(Data, data)
    if negatives == "edges":
        graph = _graph_by_signs(data, data.num_nodes, None, add_self_loops)
    else:
        graph = SignedGraph(_positive_edges(data), None if negatives is None else _implicit(data, negatives))
        graph = graph.add_self_loops() if add_self_loops else graph
    return graph if normalize is None else graph.normalize(normalize, joint=joint)


def from_hetero_data(
    data: HeteroData,
    *,
    negatives: str | None = "edges",
    normalize: str | None = None,
    joint: bool = False,
    add_self_loops: bool = False,
) -> dict[tuple[str, str, str], SignedGraph]:
    """Return one signed graph per relation of a `HeteroData`, bipartite if its two node types differ.

    The rules are those of `from_data`, applied to the tensors of each relation; `negatives` is `"edges"` or None.
    Self-loops are added if both node types are the same. `HeteroConv` accepts the dictionary as its
    `edge_index_dict`, with `SBPConv` or other layers that accept a graph.
    """
    check_options(negatives, normalize, joint, add_self_loops)
    check_kind(HeteroData, data)
    if negatives not in ("edges", None):
        raise ValueError(f'negatives of a relation must be "edges" or None, got {describe(negatives)}')
    graphs = {}
    for kind in data.edge_types:
        store = data[kind]
        size, loops = store.size(), add_self_loops and kind[0] == kind[2]
        if negatives == "edges":
            graph = _graph_by_signs(store, None, size, loops)
        else:
            graph = SignedGraph(CSR.from_edge_index(_edges_of(store), _weight(store), size=size))
            graph = graph.add_self_loops() if loops else graph
        graphs[kind] = graph if normalize is None else graph.normalize(normalize, joint=joint)
    return graphs


def to_data(graph: SignedGraph, **attributes: Any) -> Data:
    r"""Return the graph as a PyG `Data`: `edge_index` and signed `edge_weight`, which every loader of PyG supports.

    The weights are the entries of \( A^+ \) and of \( -A^- \), degree normalization included.

    Args:
        graph: square, its halves sparse or absent.
        attributes: further attributes of the `Data`, such as `x` and `y`.

    Raises:
        ValueError: the graph has an implicit half, is bipartite, or has a weight < 0, which would change its half.
    """
    if not isinstance(graph, SignedGraph):
        raise ValueError(f"graph must be a SignedGraph, got {type(graph).__name__}")
    taken = {"edge_index", "edge_weight", "num_nodes"} & set(attributes)
    if taken:
        raise ValueError(f"attributes must not be those of the graph itself, got {', '.join(sorted(taken))}")
    if graph.num_rows != graph.num_cols:
        raise ValueError(f"a Data holds a square graph, got {graph.num_rows}x{graph.num_cols}")
    edges, weights = [], []
    for name, sign, half in (("pos", 1.0, graph.pos), ("neg", -1.0, graph.neg)):
        if half is None:
            continue
        if not isinstance(half, CSR):
            raise ValueError(f"a Data holds sparse halves, got {name}={half!r}")
        row, col, value = half.pattern.row_index(), half.col.long(), _entry_values(half)
        if bool((value < 0).any()):
            raise ValueError(f"weights of the {name} half must be >= 0 here, got {float(value.detach().min())}")
        edges.append(torch.stack([col, row]))
        weights.append(sign * value)
    return Data(edge_index=torch.cat(edges, 1), edge_weight=torch.cat(weights), num_nodes=graph.num_nodes, **attributes)


def check_options(negatives: Any, normalize: Any, joint: Any, add_self_loops: Any) -> None:
    """Raise ValueError unless `from_data` accepts these options."""
    if not isinstance(negatives, (str, type(None))) or negatives not in _NEGATIVES:
        raise ValueError(f'negatives must be "edges", "labels", "features" or None, got {describe(negatives)}')
    if not isinstance(normalize, (str, type(None))) or normalize not in ("sym", "row", None):
        raise ValueError(f'normalize must be "sym", "row" or None, got {describe(normalize)}')
    for name, value in (("joint", joint), ("add_self_loops", add_self_loops)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {describe(value)}")


def check_kind(kind: type, data: object) -> None:
    if not isinstance(data, kind):
        raise ValueError(f"data must be a {kind.__name__}, got {type(data).__name__}")


def _edges_of(store: Any) -> Tensor:
    edge_index = store.get("edge_index")
    if not isinstance(edge_index, Tensor):
        raise ValueError(f"the data needs an edge_index, got {describe(edge_index)} beside {sorted(store.keys())}")
    return edge_index


def _graph_by_signs(store: Any, num_nodes: int | None, size: tuple[int, int] | None, self_loops: bool) -> SignedGraph:
    """Build a graph from two edge lists, or from one with signed weights; `store` is a `Data` or one relation."""
    if "pos_edge_index" in store and "neg_edge_index" in store:
        if "n_id" in store:
            raise ValueError(
                "a sampled batch keeps pos_edge_index and neg_edge_index of the whole graph; "
                "sample from ToSignedGraph()(data), which has one edge_index with signed weights"
            )
        graph = SignedGraph.from_edge_index(
            store.pos_edge_index,
            store.neg_edge_index,
            num_nodes,
            pos_edge_weight=store.get("pos_edge_weight"),
            neg_edge_weight=store.get("neg_edge_weight"),
            size=size,
        )
        return graph.add_self_loops() if self_loops else graph
    weight = _weight(store)
    if weight is None:
        raise ValueError(
            "the data has no signs: it needs pos_edge_index and neg_edge_index, or edge_weight, or edge_attr; "
            f'else choose negatives "labels", "features" or None; got {sorted(store.keys())}'
        )
    edges = _edges_of(store)
    if self_loops:
        # Loops are added before the edges are sorted, so that the edges are sorted only once.
        edges, weight = _add_loops(edges, weight, size[0] if size is not None else num_nodes or 0)
    return SignedGraph.from_edge_weight(edges, weight, num_nodes, size=size)


def _add_loops(edge_index: Tensor, weight: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Add a self-loop of weight 1 to every node without a positive one, as `SignedGraph.add_self_loops` does."""
    num_nodes = int(edge_index.max()) + 1 if num_nodes is None else num_nodes
    loops = torch.arange(num_nodes, device=edge_index.device)
    has_loop = (edge_index[0] == edge_index[1]) & (weight.detach() >= 0)
    if bool(has_loop.any()):
        missing = torch.ones_like(loops, dtype=torch.bool).index_fill(0, edge_index[0, has_loop], False)
        loops = loops[missing]
    return torch.cat([edge_index, loops.expand(2, -1)], 1), torch.cat([weight, weight.new_ones(loops.numel())])


def _positive_edges(data: Data) -> CSR:
    weight = _weight(data)
    if weight is not None and bool((weight < 0).any()):
        raise ValueError(f'edge weights must be >= 0 unless negatives="edges", got {float(weight.detach().min())}')
    return CSR.from_edge_index(_edges_of(data), weight, data.num_nodes)


def _implicit(data: Data, negatives: str) -> ClassBlock | Similarity:
    if isinstance(data, Batch) and data.num_graphs > 1:
        raise NotImplementedError(
            f"negatives={negatives!r} in a batch of {data.num_graphs} graphs would repel across graphs"
        )
    names = ("y", "train_mask") if negatives == "labels" else ("x",)
    for name in names:
        if data.get(name) is None:
            raise ValueError(f"negatives={negatives!r} needs data.{name}, got {sorted(data.keys())}")
    return ClassBlock.from_labels(data.y, data.train_mask) if negatives == "labels" else Similarity(data.x)


def _weight(store: Any) -> Tensor | None:
    """Return `edge_weight`, else `edge_attr`, one number per edge; integers (such as ratings) become floating."""
    name = "edge_weight" if store.get("edge_weight") is not None else "edge_attr"
    weight = store.get(name)
    if weight is None:
        return None
    check_tensor(name, weight)
    if weight.is_complex() or weight.is_quantized:
        raise ValueError(f"{name} must be real, got {describe(weight)}")
    if weight.dim() == 2 and weight.size(1) == 1:
        weight = weight.squeeze(1)
    if weight.dim() != 1:
        raise ValueError(f"{name} must hold one number per edge, got shape {tuple(weight.shape)}")
    return weight if weight.is_floating_point() else weight.to(torch.get_default_dtype())


def _entry_values(half: CSR) -> Tensor:
    """Return the value of every entry, the product of its weight and scales: `[num_edges]`."""
    scales = [(half.row_scale, half.pattern.row_index()), (half.col_scale, half.col.long())]
    value = half.weight
    for scale, index in scales:
        if scale is not None:
            value = scale.index_select(0, index) * (1.0 if value is None else value)
    value = torch.ones(half.num_edges, device=half.device) if value is None else value
    return value.to(torch.get_default_dtype())
