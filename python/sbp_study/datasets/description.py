"""The size of a graph, as it appears in results."""

from __future__ import annotations

from typing import Any

from torch_geometric.data import Data
from torch_geometric.utils import homophily

ROLES = ("train", "val", "test")
# The keys of `describe`.
GRAPH_FIELDS = frozenset({"nodes", "edges", "features", "classes", "homophily", *ROLES})


def describe(data: Data) -> dict[str, Any]:
    """Return the size of a graph, with directed edges as stored, and its edge homophily over known labels."""
    known = (data.y[data.edge_index] >= 0).all(dim=0)
    ratio = homophily(data.edge_index[:, known], data.y) if bool(known.any()) else None
    return {
        "nodes": data.num_nodes,
        "edges": data.num_edges,
        "features": data.num_features,
        "classes": num_classes(data),
        "homophily": None if ratio is None else round(ratio, 4),
        **{role: int(data[f"{role}_mask"].sum()) for role in ROLES},
    }


def num_classes(data: Data) -> int:
    """Return the number of classes, the largest label plus 1."""
    return int(data.y.max()) + 1
