"""The signed layers of PyTorch Geometric Signed Directed (PyGSD) on fused kernels.

Each layer is a subclass of PyGSD's, with the same constructor, parameters, `state_dict` and results.
`sbp_kernels.nn.accelerate(model)` puts them into a model of PyGSD, such as SGCN, SNEA, SSSNET or MSGNN.
"""

from __future__ import annotations

try:
    import torch_geometric_signed_directed  # noqa: F401
except ImportError as error:
    raise ImportError(
        "sbp_kernels.nn.signed_directed needs PyGSD: pip install torch-geometric-signed-directed"
    ) from error

from ..replacement import pyg_class
from .msconv import MSConv
from .sgcn import SGCNConv
from .simpa import SIMPA
from .snea import SNEAConv

# PyGSD's class -> the accelerated subclass, for `sbp_kernels.nn.accelerate`.
LAYERS: dict[type, type] = {pyg_class(layer): layer for layer in (MSConv, SGCNConv, SIMPA, SNEAConv)}

__all__ = ["SIMPA", "MSConv", "SGCNConv", "SNEAConv"]
