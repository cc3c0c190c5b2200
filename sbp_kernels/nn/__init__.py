"""Layers of PyTorch Geometric (PyG) that run fused signed propagation, with the same arguments, weights and results."""

from __future__ import annotations

try:
    import torch_geometric  # noqa: F401
except ImportError as error:
    raise ImportError("sbp_kernels.nn needs PyTorch Geometric: pip install 'sbp-kernels[pyg]'") from error

from .accelerate import Report, accelerate, restore
from .fa import FAConv
from .gcn import APPNP, GCN2Conv, GCNConv, LGConv, SGConv
from .norms import ContraNorm, MeanSubtractionNorm, PairNorm
from .sbp import SBPConv
from .signed import SignedConv
from .signed_gcn import SignedGCN

__all__ = [
    "APPNP",
    "ContraNorm",
    "FAConv",
    "GCN2Conv",
    "GCNConv",
    "LGConv",
    "MeanSubtractionNorm",
    "PairNorm",
    "Report",
    "SBPConv",
    "SGConv",
    "SignedConv",
    "SignedGCN",
    "accelerate",
    "restore",
]
