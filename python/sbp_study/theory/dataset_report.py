"""Report imbalance, balance and critical beta of the signed graphs of a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_undirected

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_pair

from ..datasets import load_dataset
from ..datasets.description import describe
from ..errors import UserError
from ..models.sbp.negative_adjacency import feature_negative, label_negative
from ..training.files import json_document
from . import layers_as_graphs as layers
from .balance import critical_beta, two_groups, weak_groups
from .imbalance import structural_imbalance
from .layers_as_graphs import LayerGraph


@dataclass(frozen=True)
class GraphReport:
    """One signed graph: SID and its parts in nodes. Balance and beta* / alpha are None where they are not defined."""

    name: str
    sid: float
    P: float
    N: float
    balance: str | None
    beta_ratio: float | None


def report_dataset(dataset: str, root: str = "data", split: int = 0) -> tuple[Data, list[GraphReport]]:
    """Return a dataset and a report on each of its signed graphs.

    Edges are treated as undirected and normalized to D^-1/2 (A + I) D^-1/2. Imbalance uses all labels; Label-SBP's
    graphs use only the training labels. Raises `UserError` for unknown names and splits, for files that are missing
    and cannot be downloaded, and if a label is unknown.
    """
    data = load_dataset(dataset, root, split)
    unknown = int((data.y < 0).sum())
    if unknown:
        raise UserError(f"imbalance needs every label, {dataset} has {unknown} nodes without one")
    return data, [_report(name, layer, data) for name, layer in _graphs(data)]


def document(data: Data, reports: Sequence[GraphReport]) -> str:
    """Return the reports as a JSON document. An infinite ratio is the string "inf"."""
    rows = [{**asdict(r), "beta_ratio": "inf" if r.beta_ratio == math.inf else r.beta_ratio} for r in reports]
    return json_document("signed", graph=describe(data), readings=rows)


def _graphs(data: Data) -> Iterator[tuple[str, LayerGraph]]:
    n, y = data.num_nodes, data.y
    edge_index = to_undirected(data.edge_index, num_nodes=n)
    a = CSR.from_edge_index(edge_index, num_nodes=n).add_self_loops().normalize("sym")
    bare = remove_self_loops(edge_index)[0]
    weight = torch.where(y[bare[0]] == y[bare[1]], 1.0, -1.0)
    yield "edges signed by label", LayerGraph(SignedGraph.from_edge_weight(bare, weight, n))
    yield "SGC", layers.sgc(a)
    yield "Residual", layers.residual(a)
    yield "mean centring", LayerGraph(SignedGraph(a, ClassBlock.mean(n)))
    yield "Feature-SBP", LayerGraph(SignedGraph(a, feature_negative(data.x)))
    yield "Label-SBP", LayerGraph(SignedGraph(a, label_negative(y, data.train_mask)))
    yield "Label-SBP before softmax", layers.label_signs(a, y, data.train_mask)


def _report(name: str, layer: LayerGraph, data: Data) -> GraphReport:
    got = structural_imbalance(layer.graph, data.y, alpha=layer.alpha, beta=layer.beta)
    return GraphReport(name, *got, _balance(layer.graph), _beta_ratio(layer.graph))


def _balance(graph: SignedGraph) -> str | None:
    if not all(half is None or isinstance(half, CSR) for half in (graph.pos, graph.neg)):
        return None
    if two_groups(graph) is not None:
        return "balanced"
    return "unbalanced" if weak_groups(graph) is None else "weakly balanced"


def _beta_ratio(graph: SignedGraph) -> float | None:
    assert isinstance(graph.pos, CSR)
    # Beta* is proportional to alpha, so any valid alpha gives the ratio.
    ones = torch.ones(graph.num_nodes, 1, dtype=torch.float64)
    degree = float(signed_pair(ones, SignedGraph(pos=graph.pos))[0].max())
    alpha = 0.5 / max(degree, 1e-300)
    try:
        return critical_beta(graph, alpha) / alpha
    except ValueError:
        # The theorem does not apply: the graph is not connected, or its negative half is not symmetric.
        return None
