"""Fused kernels for signed sparse propagation in graph neural networks."""

import sys

# `python -m sbp_kernels` reports on the environment even where torch does not import.
if sys.orig_argv[1:3] != ["-m", "sbp_kernels"]:
    from .adjacency.class_block import ClassBlock
    from .adjacency.csr import CSR
    from .adjacency.similarity import Similarity
    from .backends import use_backend
    from .config import show_config
    from .graph import SignedGraph
    from .propagate import explain, signed_pair, signed_propagate
    from .spmm import signed_spmm

__version__ = "0.1.0"

__all__ = [
    "CSR",
    "ClassBlock",
    "SignedGraph",
    "Similarity",
    "explain",
    "show_config",
    "signed_pair",
    "signed_propagate",
    "signed_spmm",
    "use_backend",
]
