"""A cache of values derived from tensors, invalidated when a tensor changes or dies."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_exporting

from .transforms import is_wrapped, outside


def tensor_version(source: Any) -> tuple[Hashable, ...] | None:
    """Return a value that differs after an in-place change of `source`, or None if PyTorch does not count its changes.

    PyTorch counts no changes of tensors that were created in inference mode or by a `torch.func` transform, nor of
    layouts other than strided and sparse. Objects other than tensors (such as `SparseTensor`) count as immutable.
    """
    if not isinstance(source, Tensor):
        return ()
    if is_wrapped(source) or source.is_inference():
        return None
    if source.layout == torch.strided:
        own = (source.requires_grad, source._version, source.data_ptr(), source.numel())
        # PyG's EdgeIndex counts its own changes; the tensor inside it counts the others.
        inner = None if type(source) is Tensor else getattr(source, "_data", None)
        return own if inner is None else (*own, inner._version, inner.data_ptr())
    parts: tuple[Tensor, ...]
    if source.layout == torch.sparse_coo:
        parts = (source._indices(), source._values())
    elif source.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = (source.crow_indices(), source.col_indices(), source.values())
    elif source.layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = (source.ccol_indices(), source.row_indices(), source.values())
    else:
        return None
    return (source.requires_grad, *((part._version, part.data_ptr(), part.numel()) for part in parts))


class VersionedCache:
    """Values that an object derives from its own tensors, all from one version of them.

    Storing a value of another version drops the others. Values without a version (None) are not stored, nor is what
    torch.export computes: that is a part of the exported graph.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        # One tuple, so that threads see a version with its own values.
        self._state: tuple[Any, dict[Hashable, Any]] = (None, {})

    def __len__(self) -> int:
        return len(self._state[1])

    def get(self, key: Hashable, version: Any) -> Any:
        """Return the value of this version, or None."""
        stored, values = self._state
        return values.get(key) if stored == version else None

    def latest(self, key: Hashable) -> Any:
        """Return the value of whatever version, or None: for tensors that cannot change."""
        return self._state[1].get(key)

    def store(self, key: Hashable, version: Any, value: Any) -> None:
        """Store a value that was derived from tensors of this version."""
        if version is None or is_exporting():
            return
        state = self._state
        if state[0] != version:
            state = self._state = (version, {})
        state[1][key] = value


class TensorCache:
    """A bounded cache of values derived from tensors; it evicts the least recently used value.

    A value is found for the same tensor objects and key, as long as no tensor has a new `tensor_version`. The cache
    holds weak references: when a tensor dies, its values are dropped, so a value must not refer to its own tensors.
    Changes that PyTorch does not count (through `.data`, NumPy or another process) need a call of `clear`. Threads
    may share a cache: two that miss at the same time both build the value.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        # Reentrant: garbage collection may drop an entry while the same thread changes the cache.
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._entries.clear()

    def get(self, sources: Sequence[Any], key: tuple[Hashable, ...], build: Callable[[], Any]) -> Any:
        """Return what `build` returned for these sources (tensors, sparse matrices or None) and this key.

        `build` runs outside of inference mode, of autograd and of `torch.func` transforms, because later calls in
        other contexts read its result. Values of tensors without a version are not stored.
        """
        present = [source for source in sources if source is not None]
        entry_key = (*map(id, sources), *key)
        versions = [tensor_version(source) for source in present]
        entry = self._entries.get(entry_key)
        if entry is not None and entry.is_current(present, versions):
            with self._lock:
                # Another thread may have evicted the entry since.
                if entry_key in self._entries:
                    self._entries.move_to_end(entry_key)
            return entry.value
        with torch.inference_mode(False), torch.no_grad(), outside():
            value = build()
        if None not in versions:
            self._store(entry_key, present, versions, value)
        return value

    def _store(self, entry_key: Hashable, present: list[Any], versions: list[Any], value: Any) -> None:
        entries = self._entries

        def drop(dead: weakref.ref[Any]) -> None:
            with self._lock:
                entry = entries.get(entry_key)
                # A new object may have the `id` of the dead one, and an entry of its own.
                if entry is not None and any(source is dead for source in entry.sources):
                    del entries[entry_key]

        entry = _Entry(tuple(weakref.ref(source, drop) for source in present), versions, value)
        with self._lock:
            entries[entry_key] = entry
            entries.move_to_end(entry_key)
            while len(entries) > self._capacity:
                entries.popitem(last=False)


class _Entry(NamedTuple):
    sources: tuple[weakref.ref[Any], ...]
    versions: list[Any]
    value: Any

    def is_current(self, present: list[Any], versions: list[Any]) -> bool:
        """Return whether the entry was built from these objects in these versions."""
        same = all(ref() is source for ref, source in zip(self.sources, present, strict=True))
        return same and self.versions == versions
