"""Signed graphs from the data objects of PyTorch Geometric (PyG)."""

from __future__ import annotations

try:
    import torch_geometric  # noqa: F401
except ImportError as error:
    raise ImportError("sbp_kernels.pyg needs PyTorch Geometric: pip install 'sbp-kernels[pyg]'") from error

from . import ops as ops  # registers the ops that compiled code calls
from .adjacency import adjacency, signed_adjacency
from .data import from_data, from_hetero_data, to_data
from .graph_cache import clear_cache
from .transforms import SignedData, ToSignedGraph

__all__ = [
    "SignedData",
    "ToSignedGraph",
    "adjacency",
    "clear_cache",
    "from_data",
    "from_hetero_data",
    "signed_adjacency",
    "to_data",
]
