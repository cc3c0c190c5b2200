"""What was made of tensors, kept as long as they live and stay as they are."""

from __future__ import annotations

import itertools
import operator
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Entry(NamedTuple):
    sources: tuple[weakref.ref[Any], ...]
    stamps: tuple[Hashable, ...]
    value: Any


class Kept:
    """A bounded store of values by the objects they were made of, which it does not keep alive.

    A source counts as the same if it is the same object, not one that took over its `id`, and was not changed in
    place: `_version` and address of its storage are those of then. A change past PyTorch's version counter (through
    `.data`, NumPy or another process) is not seen; after one, call `clear`. Tensors of `torch.inference_mode` have
    no version, so nothing is kept of them.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def get(self, sources: Sequence[Any], options: tuple[Hashable, ...], make: Callable[[], Any]) -> Any:
        """What `make` returned for these sources (tensors, sparse matrices, None) and options."""
        present = [source for source in sources if source is not None]
        key = (*map(id, sources), *options)
        entry = self._entries.get(key)
        if entry is not None and _is_of(entry, present):
            self._entries.move_to_end(key)
            return entry.value
        # Built to serve every later call, so not as inference tensors, nor within a gradient.
        with torch.inference_mode(False), torch.no_grad():
            value = make()
        if not any(isinstance(source, Tensor) and source.is_inference() for source in present):
            self._keep(key, present, value)
        return value

    def _keep(self, key: Hashable, present: list[Any], value: Any) -> None:
        entries = self._entries

        def forget(dead: weakref.ref[Any]) -> None:
            entry = entries.get(key)
            if entry is not None and any(source is dead for source in entry.sources):
                del entries[key]

        entries[key] = _Entry(tuple(weakref.ref(s, forget) for s in present), tuple(map(_stamp, present)), value)
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
# What compiled code reads, by a name that is a constant of that code. Attributes, as the compiler would not see a
# key that joins a dictionary while it traces.
_TRACED = SimpleNamespace()
_NUMBER = itertools.count()


def clear_kept() -> None:
    """Forget every kept graph: after a change of its tensors that PyTorch does not count (`.data`, NumPy)."""
    _KEPT.clear()


def recall(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    """`build(options, *sources)`, done once for these tensors.

    While torch.compile traces, the value becomes a constant of the compiled code. That code belongs to these very
    tensors: others compile anew, and a change in place raises when it runs.
    """
    if not torch.compiler.is_dynamo_compiling():
        return _make(build, options, *sources)
    for source in sources:
        if source is not None:
            # Asking for the identity of a tensor makes the compiler guard it.
            id(source)
            torch.ops.sbp_pyg.require_version(source, _version(source))
    return getattr(_TRACED, _trace(build, tuple(map(_fixed, options)), *sources))


def _fixed(option: Any) -> Any:
    """A size that the compiler took for a variable, as the number that it is for these tensors."""
    if isinstance(option, tuple):
        return tuple(map(operator.index, option))
    return operator.index(option) if isinstance(option, int) else option


def _make(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    return _KEPT.get(sources, (build.__name__, *options), lambda: _run(build, options, *sources))


@torch.compiler.disable
def _run(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> Any:
    """Eager also where the compiler takes up a call piece by piece, as it does with sparse matrices."""
    return build(options, *sources)


def _trace(build: Callable[..., Any], options: tuple[Any, ...], *sources: Any) -> str:
    """The name in `_TRACED` of `build(options, *sources)`, which stays there as long as the tensors live."""

    def register() -> str:
        name = f"value_{next(_NUMBER)}"
        setattr(_TRACED, name, _make(build, options, *sources))
        for source in sources:
            if source is not None:
                weakref.finalize(source, vars(_TRACED).pop, name, None).atexit = False
        return name

    return _KEPT.get(sources, ("traced", build.__name__, *options), register)


def _version(source: Tensor) -> int:
    return source._version


def _require_version(source: Tensor, version: int) -> None:
    if source._version != version:
        raise RuntimeError("a tensor of edges was changed in place after it was compiled: give a new tensor instead")


# The op lives as long as this object does.
_LIBRARY = torch.library.Library("sbp_pyg", "DEF")
_LIBRARY.define("require_version(Tensor source, int version) -> ()")
_LIBRARY.impl("require_version", _require_version, "CompositeExplicitAutograd")
torch.library.register_fake("sbp_pyg::require_version", lambda source, version: None, lib=_LIBRARY)
# It returns nothing, which is no reason to leave it out.
torch.fx.node.has_side_effect(torch.ops.sbp_pyg.require_version.default)

# While torch.compile traces, these run for real: sorting depends on data (see `SignedGraph._prepare`).
_trace._dynamo_marked_constant = _version._dynamo_marked_constant = True  # type: ignore[attr-defined]
