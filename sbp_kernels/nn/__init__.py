"""PyTorch Geometric's layers on fused signed propagation."""

from __future__ import annotations

try:
    import torch_geometric  # noqa: F401
except ImportError as error:
    raise ImportError("sbp_kernels.nn needs PyTorch Geometric: pip install 'sbp-kernels[pyg]'") from error
