"""Cached values under torch.compile.

The first few graphs that a function is compiled for become constants of the compiled code. After that, compiled code
calls an op that looks the graph up at run time, so that a stream of mini-batches does not recompile.
"""

from __future__ import annotations

import itertools
import json
import operator
import warnings
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._guards import CompileContext

from .autodiff import differentiable
from .graph_cache import GRAPH_CACHE, cached

# Each graph that is a constant costs one recompilation, and torch.compile allows 8 of one frame
# (`torch._dynamo.config.recompile_limit`). 4 graphs are enough for a training, a validation and a test set; the other
# recompilations are left for modes and shapes.
_CONSTANT_GRAPHS = 4
# Values that compiled code reads by attribute name; the name is a constant of that code. This is a namespace and not a
# dictionary because Dynamo does not see a key that is added to a dictionary while it traces.
_TRACED_VALUES = SimpleNamespace()
_COUNTER = itertools.count()
# Functions that build a graph from (options, *sources), by name: a deferred graph holds only the name.
_BUILDS: dict[str, Callable[..., Any]] = {}

Build = Callable[..., Any]


class Deferred(NamedTuple):
    """A placeholder for a `SignedGraph` that compiled code looks up, or builds, each time it runs.

    It consists of tensors, sizes and text, so it is valid in any process that loads the compiled code.
    """

    sources: tuple[Tensor, ...]
    # JSON of: the name of the function that builds the graph, its options after the size, which sources are given, and
    # the index of this graph if the function builds several.
    recipe: str
    size: tuple[int, int]  # sources, targets

    @property
    def num_rows(self) -> int:
        return self.size[1]

    def realize(self) -> Any:
        """Return the graph. This must not run while torch.compile traces."""
        build, options, given, part = json.loads(self.recipe)
        tensors = iter(self.sources)
        value = cached(
            _BUILDS[build], (self.size, *options), *(next(tensors) if present else None for present in given)
        )
        for index in part:
            value = value[index]
        return value


def deferrable(build: Build) -> Build:
    """Register a function that builds graphs from (options, *sources), where `options[0]` is (sources, targets)."""
    _BUILDS[build.__name__] = build
    return build


def lookup(build: Build, options: tuple[Any, ...], *sources: Any) -> Any:
    """Return `build(options, *sources)`, built once for these tensors.

    While torch.compile traces, the value becomes a constant of the compiled code, which is valid for these tensors
    only: other tensors recompile, up to the compiler's limit, and an in-place change raises when the code runs.
    """
    if not torch.compiler.is_dynamo_compiling():
        return cached(build, options, *sources)
    for source in sources:
        if source is not None:
            # Dynamo guards the identity of a tensor whose `id` is read.
            id(source)
            torch.ops.sbp_pyg.require_version(source, _version(source))
    return getattr(_TRACED_VALUES, _register_traced(build, tuple(map(_as_int, options)), *sources))


def lookup_graph(build: Build, options: tuple[Any, ...], *sources: Any, part: tuple[int, ...] = ()) -> Any:
    """Return part of `lookup(build, options, *sources)`, or a `Deferred` in code that was compiled several times.

    A stream of mini-batches therefore stops recompiling. `options[0]` is a number of nodes or (sources, targets);
    `build` receives (sources, targets).
    """
    size = options[0] if isinstance(options[0], tuple) else (options[0], options[0])
    if defers_lookup():
        if torch.jit.is_tracing():
            # torch.jit.trace turns sizes into tensors, and an op does not accept a list of tensors for them.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", torch.jit.TracerWarning)
                size = tuple(map(int, size))
        given = tuple(source is not None for source in sources)
        recipe = _recipe(build.__name__, options[1:], given, part)
        return Deferred(tuple(source for source in sources if source is not None), recipe, size)
    value = lookup(build, (size, *options[1:]), *sources)
    for index in part:
        value = value[index]
    return value


def defers_lookup() -> bool:
    """Return whether graphs are looked up when the code runs, rather than while it is traced."""
    return is_recorded() or (torch.compiler.is_dynamo_compiling() and _compilations() >= _CONSTANT_GRAPHS)


def is_recorded() -> bool:
    """Return whether torch.jit.trace or torch.export records this call, and would make a graph a constant."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


_NOT_COMPILABLE = "edge weights that require a gradient or change in every call are not implemented under torch.compile"


def raise_if_compiling() -> None:
    """Raise NotImplementedError if torch.compile is tracing: these edge weights change in every call."""
    if torch.compiler.is_dynamo_compiling():
        raise NotImplementedError(_NOT_COMPILABLE)


def needs_eager(*weights: Any) -> bool:
    """Return whether torch.compile is tracing and one of the weights needs a derivative."""
    return torch.compiler.is_dynamo_compiling() and any(map(differentiable, weights))


@torch.compiler.disable(reason=_NOT_COMPILABLE)  # type: ignore[untyped-decorator]
def run_eager(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function without torch.compile: it, and every function that it calls, would recompile at each call."""
    return function(*args, **kwargs)


def raise_if_recorded() -> None:
    """Raise NotImplementedError if a graph would become a constant of a program whose input the edges are."""
    if is_recorded():
        raise NotImplementedError(
            "torch.jit.trace and torch.export would make the edges constants of the program: build the graph outside "
            "of it, or use the layers of sbp_kernels.nn, whose edges stay inputs as long as no edge weight or x0 needs "
            "a gradient"
        )


def _as_int(option: Any) -> Any:
    """Return a size that torch.compile treats as symbolic as the integer that it is for these tensors."""
    if isinstance(option, tuple):
        return tuple(map(operator.index, option))
    return operator.index(option) if isinstance(option, int) else option


def _compilations() -> int:
    """Return how often torch.compile has already compiled the frame that it is tracing."""
    context = CompileContext.try_get()
    identity = None if context is None else context.compile_id
    return 0 if identity is None else identity.frame_compile_id or 0


def _recipe(build: str, options: tuple[Any, ...], given: tuple[bool, ...], part: tuple[int, ...]) -> str:
    return json.dumps([build, options, given, part])


def _register_traced(build: Build, options: tuple[Any, ...], *sources: Any) -> str:
    """Store `build(options, *sources)` in `_TRACED_VALUES` until one of the tensors dies; return its name there."""

    def register() -> str:
        name = f"value_{next(_COUNTER)}"
        setattr(_TRACED_VALUES, name, cached(build, options, *sources))
        for source in sources:
            if source is not None:
                weakref.finalize(source, vars(_TRACED_VALUES).pop, name, None).atexit = False
        return name

    return GRAPH_CACHE.get(sources, ("traced", build.__name__, *options), register)


def _version(source: Tensor) -> int:
    return source._version


_RUN_WHILE_TRACING: tuple[Any, ...] = (_register_traced, _version, _compilations, _recipe)
for _function in _RUN_WHILE_TRACING:
    # Dynamo executes these functions while it traces: sorting depends on data (see `SignedGraph._prepare`).
    _function._dynamo_marked_constant = True
