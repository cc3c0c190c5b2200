"""Valid calls of every public constructor, method and function, each argument with its kind (see `bad_values.MAY`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, explain, signed_pair, signed_propagate, use_backend

NODES, WIDTH = 6, 3


class ValidCall(NamedTuple):
    """A callable of keyword arguments, their valid values, and the kind of each."""

    call: Callable[..., Any]
    valid: Callable[[], dict[str, Any]]
    kinds: dict[str, str]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def features(rows: int = NODES, width: int = WIDTH) -> Tensor:
    return torch.randn(rows, width, generator=generator())


def edges() -> Tensor:
    return torch.randint(NODES, (2, 12), generator=generator())


def csr() -> CSR:
    return CSR.from_edge_index(edges(), torch.rand(12, generator=generator()) + 0.5, NODES)


def graph() -> SignedGraph:
    return SignedGraph(csr(), csr())


def _backend(name: Any) -> None:
    with use_backend(name):
        signed_pair(features(), graph())


def _compressed() -> dict[str, Any]:
    half = csr()
    return {
        "rowptr": half.rowptr,
        "col": half.col,
        "weight": torch.ones(half.num_edges),
        "row_scale": torch.ones(NODES),
        "col_scale": torch.ones(NODES),
        "num_cols": NODES,
    }


_PROPAGATE = {
    "x": "features",
    "graph": "graph",
    "alpha": "strength",
    "beta": "strength",
    "lam": "step",
    "num_steps": "count",
    "residual": "residual",
    "layer_norm": "norm",
    "backend": "backend",
}
_CALL = {"alpha": 1.0, "beta": 0.5, "lam": 0.5, "num_steps": 2, "layer_norm": False, "backend": None}
_EDGES = {"edge_index": "index", "edge_weight": "weights", "num_nodes": "nodes", "size": "size"}


def _edge_arguments() -> dict[str, Any]:
    return {"edge_index": edges(), "edge_weight": torch.ones(12), "num_nodes": NODES, "size": None}


VALID_CALLS: dict[str, ValidCall] = {
    "signed_propagate": ValidCall(
        signed_propagate, lambda: {"x": features(), "graph": graph(), "residual": features(), **_CALL}, _PROPAGATE
    ),
    "signed_pair": ValidCall(
        signed_pair,
        lambda: {"x": features(), "graph": graph(), "backend": None},
        {"x": "features", "graph": "graph", "backend": "backend"},
    ),
    "explain": ValidCall(explain, lambda: {"x": features(), "graph": graph()}, {"x": "features", "graph": "graph"}),
    "use_backend": ValidCall(_backend, lambda: {"name": "reference"}, {"name": "mode"}),
    "CSR": ValidCall(
        CSR,
        _compressed,
        {
            "rowptr": "rowptr",
            "col": "index",
            "weight": "weights",
            "row_scale": "scales",
            "col_scale": "scales",
            "num_cols": "columns",
        },
    ),
    "CSR.from_edge_index": ValidCall(CSR.from_edge_index, _edge_arguments, _EDGES),
    "CSR.with_weight": ValidCall(
        lambda weight: csr().with_weight(weight), lambda: {"weight": torch.ones(12)}, {"weight": "weights"}
    ),
    "CSR.add_self_loops": ValidCall(
        lambda fill_value: csr().add_self_loops(fill_value), lambda: {"fill_value": 2.0}, {"fill_value": "fill"}
    ),
    "CSR.normalize": ValidCall(lambda mode: csr().normalize(mode), lambda: {"mode": "sym"}, {"mode": "mode"}),
    "CSR.to": ValidCall(lambda device: csr().to(device), lambda: {"device": "cpu"}, {"device": "device"}),
    "ClassBlock": ValidCall(
        ClassBlock,
        lambda: {"group": torch.arange(NODES) % 3, "block": torch.rand(3, 3, generator=generator())},
        {"group": "group", "block": "block"},
    ),
    "ClassBlock.from_labels": ValidCall(
        ClassBlock.from_labels,
        lambda: {"y": torch.arange(NODES) % 3, "known": torch.arange(NODES) % 2 == 0, "softmax_over": "all"},
        {"y": "labels", "known": "known", "softmax_over": "mode"},
    ),
    "ClassBlock.mean": ValidCall(
        ClassBlock.mean,
        lambda: {"num_nodes": NODES, "device": "cpu"},
        {"num_nodes": "nodes of mean", "device": "device"},
    ),
    "Similarity": ValidCall(
        Similarity,
        lambda: {"x0": features(), "sign": -1.0, "temperature": 1.0},
        {"x0": "x0", "sign": "sign", "temperature": "temperature"},
    ),
    "Similarity.with_weight": ValidCall(
        lambda x0: Similarity(features()).with_weight(x0), lambda: {"x0": features()}, {"x0": "x0"}
    ),
    "SignedGraph": ValidCall(SignedGraph, lambda: {"pos": csr(), "neg": csr()}, {"pos": "half", "neg": "half"}),
    "SignedGraph.from_edge_index": ValidCall(
        SignedGraph.from_edge_index,
        lambda: {
            "pos_edge_index": edges(),
            "neg_edge_index": edges(),
            "num_nodes": NODES,
            "pos_edge_weight": torch.ones(12),
            "neg_edge_weight": None,
            "size": None,
        },
        {
            "pos_edge_index": "index",
            "neg_edge_index": "index",
            "num_nodes": "nodes",
            "pos_edge_weight": "weights",
            "neg_edge_weight": "weights",
            "size": "size",
        },
    ),
    "SignedGraph.from_edge_weight": ValidCall(
        SignedGraph.from_edge_weight, _edge_arguments, {**_EDGES, "edge_weight": "needed weights"}
    ),
    "SignedGraph.from_labels": ValidCall(
        SignedGraph.from_labels,
        lambda: {
            "edge_index": edges(),
            "y": torch.arange(NODES) % 3,
            "known": torch.arange(NODES) % 2 == 0,
            "softmax_over": "labelled",
        },
        {"edge_index": "index", "y": "labels", "known": "known", "softmax_over": "mode"},
    ),
    "SignedGraph.with_weights": ValidCall(
        lambda **both: graph().with_weights(**both),
        lambda: {"pos_weight": torch.ones(12), "neg_weight": None},
        {"pos_weight": "weights", "neg_weight": "weights"},
    ),
    "SignedGraph.add_self_loops": ValidCall(
        lambda fill_value: graph().add_self_loops(fill_value), lambda: {"fill_value": 2.0}, {"fill_value": "fill"}
    ),
    "SignedGraph.normalize": ValidCall(
        lambda mode, joint: graph().normalize(mode, joint=joint),
        lambda: {"mode": "row", "joint": True},
        {"mode": "mode", "joint": "flag"},
    ),
    "SignedGraph.to": ValidCall(lambda device: graph().to(device), lambda: {"device": "cpu"}, {"device": "device"}),
}
