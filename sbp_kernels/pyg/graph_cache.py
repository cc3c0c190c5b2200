"""The cache of graphs that were built from edges, weights, labels or features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..tensor_cache import TensorCache
from ..transforms import active
from .autodiff import unwrapped

GRAPH_CACHE = TensorCache(capacity=64)


def clear_cache() -> None:
    """Drop every cached graph.

    Call this after a write to edges, edge weights or labels that PyTorch does not count: through `.data`, through
    NumPy (`edge_weight.numpy()[...] = ...`) or from another process that shares the memory. If compiled code has read
    the graph, call `torch.compiler.reset` as well. The cache detects every other write by itself.
    """
    GRAPH_CACHE.clear()


def cached(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    """Return `build(options, *sources)`, built once for these tensors, none of which is differentiable."""
    if active():
        sources = tuple(map(unwrapped, sources))
    return GRAPH_CACHE.get(sources, (build.__name__, *options), lambda: _build_eager(build, options, *sources))


@torch.compiler.disable
def _build_eager(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    """Build without torch.compile, which would otherwise trace parts of a call that it cannot trace as a whole."""
    return build(options, *sources)
