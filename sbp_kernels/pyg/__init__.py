"""PyTorch Geometric's objects as signed graphs."""

from __future__ import annotations

try:
    import torch_geometric  # noqa: F401
except ImportError as error:
    raise ImportError("sbp_kernels.pyg needs PyTorch Geometric: pip install 'sbp-kernels[pyg]'") from error

from .adjacency import adjacency, signed_adjacency

__all__ = ["adjacency", "signed_adjacency"]
