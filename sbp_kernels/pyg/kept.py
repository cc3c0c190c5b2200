"""What was made of tensors, kept as long as they live and stay as they are."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..transforms import active, outside
from .autodiff import fixed


class _Entry(NamedTuple):
    sources: tuple[weakref.ref[Any], ...]
    stamps: tuple[Hashable, ...]
    value: Any


class Kept:
    """A bounded store of values by the objects they were made of, which it does not keep alive.

    A source counts as the same if it is the same object, not one that took over its `id`, and was not changed in
    place: `_version` and address of its storage are those of then. A change past PyTorch's version counter (through
    `.data`, NumPy or another process) is not seen; after one, call `clear`. Tensors of `torch.inference_mode` have
    no version, so nothing is kept of them. Threads may share a store: two that miss at once both build.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        # Reentrant: the death of a source, which removes its entries, may be noticed while the store is changed.
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def get(self, sources: Sequence[Any], options: tuple[Hashable, ...], make: Callable[[], Any]) -> Any:
        """What `make` returned for these sources (tensors, sparse matrices, None) and options."""
        present = [source for source in sources if source is not None]
        key = (*map(id, sources), *options)
        entry = self._entries.get(key)
        if entry is not None and _is_of(entry, present):
            with self._lock:
                # Another thread may have evicted it.
                if key in self._entries:
                    self._entries.move_to_end(key)
            return entry.value
        # Built to serve every later call, so not as inference tensors, nor within a gradient or a transform.
        with torch.inference_mode(False), torch.no_grad(), outside():
            value = make()
        if not any(isinstance(source, Tensor) and source.is_inference() for source in present):
            self._keep(key, present, value)
        return value

    def _keep(self, key: Hashable, present: list[Any], value: Any) -> None:
        entries = self._entries

        def forget(dead: weakref.ref[Any]) -> None:
            with self._lock:
                entry = entries.get(key)
                if entry is not None and any(source is dead for source in entry.sources):
                    del entries[key]

        entry = _Entry(tuple(weakref.ref(s, forget) for s in present), tuple(map(_stamp, present)), value)
        with self._lock:
            entries[key] = entry
            entries.move_to_end(key)
            while len(entries) > self._capacity:
                entries.popitem(last=False)


def _is_of(entry: _Entry, present: list[Any]) -> bool:
    for ref, stamp, source in zip(entry.sources, entry.stamps, present, strict=True):
        if ref() is not source or _stamp(source) != stamp:
            return False
    return True


def _stamp(source: Any) -> Hashable:
    """What a change in place changes; None for an object that has no such change (`SparseTensor`)."""
    if not isinstance(source, Tensor):
        return None
    if source.is_inference():
        return None
    if source.layout == torch.strided:
        # An EdgeIndex counts its own changes, the tensor inside it counts the others.
        inner = getattr(source, "_data", None)
        own = (source._version, source.data_ptr(), source.numel())
        return own if inner is None else (*own, inner._version, inner.data_ptr())
    parts: tuple[Tensor, ...]
    if source.layout == torch.sparse_coo:
        parts = (source._indices(), source._values())
    elif source.layout == torch.sparse_csr:
        parts = (source.crow_indices(), source.col_indices(), source.values())
    else:
        parts = (source.ccol_indices(), source.row_indices(), source.values())
    return tuple((part._version, part.data_ptr(), part.numel()) for part in parts)


_KEPT = Kept(capacity=64)


def clear_cache() -> None:
    """Forget every cached graph.

    Call this after a write to edges, edge weights or labels that PyTorch does not count: through `.data`, through
    NumPy (`edge_weight.numpy()[...] = ...`) or from another process that shares the memory. Every other write is
    noticed.
    """
    _KEPT.clear()


clear_kept = clear_cache


def cached(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    """Return `build(options, *sources)`, built once for these tensors, none of which is differentiable."""
    if active():
        sources = tuple(map(fixed, sources))
    return _KEPT.get(sources, (build.__name__, *options), lambda: _run(build, options, *sources))


@torch.compiler.disable
def _run(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    """Eager also where the compiler takes up a call piece by piece, as it does with sparse matrices."""
    return build(options, *sources)
