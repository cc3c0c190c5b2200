"""A PyG transform that adds to a data object a signed graph which is always up to date."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from ..graph import SignedGraph
from .autodiff import differentiable
from .compiled import lookup
from .data import check_kind, check_options, from_data, to_data

# Attributes that a graph is built from, by the source of its negative half.
_EDGES = ("edge_index", "edge_weight", "edge_attr")
_SOURCES = {"edges": _EDGES, "labels": (*_EDGES, "y", "train_mask"), "features": (*_EDGES, "x"), None: _EDGES}


class SignedData(Data):
    """A `Data` whose `signed_graph` is computed from its own tensors; `ToSignedGraph` returns it.

    It stores the rule and not the graph. So after `to(device)`, `DataLoader`, `NeighborLoader`, `ClusterLoader`,
    `subgraph` or new weights, the graph is that of the current tensors.
    """

    @property
    def signed_graph(self) -> SignedGraph:
        """The graph; it is built at the first access, and rebuilt after a change of one of its tensors."""
        if "signed_rule" not in self:
            raise ValueError("a SignedData gets its graph from a ToSignedGraph, which has not been applied to this one")
        rules = self.signed_rule if isinstance(self.signed_rule, list) else [self.signed_rule]
        if not rules or not all(isinstance(rule, ToSignedGraph) for rule in rules):
            raise ValueError(f"signed_rule must be a ToSignedGraph, got {rules}")
        if any(rule.options != rules[0].options for rule in rules):
            raise ValueError(f"the graphs of a batch must come from one ToSignedGraph, got {rules}")
        return rules[0].graph(self)


class ToSignedGraph(BaseTransform):
    """Return a `Data` as a `SignedData`, which has a `signed_graph`.

    Signs are converted to the form that all loaders of PyG support, `edge_index` with signed `edge_weight`, which
    replaces `pos_edge_index` and `neg_edge_index`.

    Args:
        negatives, normalize, joint, add_self_loops: as in `from_data`. Degrees and labels are those of the data
            that `signed_graph` is read from, such as a sampled batch.

    Raises:
        ValueError: the data is a batch (transform its graphs instead), or `from_data` raises it.
    """

    def __init__(
        self,
        negatives: str | None = "edges",
        *,
        normalize: str | None = None,
        joint: bool = False,
        add_self_loops: bool = False,
    ) -> None:
        check_options(negatives, normalize, joint, add_self_loops)
        self.options: dict[str, Any] = {
            "negatives": negatives,
            "normalize": normalize,
            "joint": joint,
            "add_self_loops": add_self_loops,
        }

    def graph(self, data: Data) -> SignedGraph:
        """Return `from_data` with these arguments, cached until one of the tensors changes or dies."""
        check_kind(Data, data)
        tensors = [data.get(name) for name in _SOURCES[self.options["negatives"]]]
        if any(map(differentiable, tensors)):
            return from_data(data, **self.options)

        def signed_data_graph(options: tuple[Any, ...], *tensors: Tensor | None) -> SignedGraph:
            return from_data(data, **self.options)

        return lookup(signed_data_graph, (data.num_nodes, *self.options.values()), *tensors)

    def forward(self, data: Data) -> SignedData:
        if isinstance(data, Batch) or type(data) not in (Data, SignedData):
            raise ValueError(f"data must be a Data, got {type(data).__name__}")
        out = SignedData.from_dict(data.to_dict())
        if "pos_edge_index" in data and "neg_edge_index" in data:
            edges = to_data(from_data(data))
            for name in ("pos_edge_index", "neg_edge_index", "pos_edge_weight", "neg_edge_weight"):
                out.pop(name, None)
            out.edge_index, out.edge_weight, out.num_nodes = edges.edge_index, edges.edge_weight, edges.num_nodes
        out.signed_rule = self
        return out

    def __repr__(self) -> str:
        return f"ToSignedGraph({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"
