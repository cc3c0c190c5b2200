"""Cached values under torch.compile: constants of the code for the first graphs, an op that runs later for a stream."""

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

# A graph that is a constant costs a recompilation, of which a frame has 8 (`torch._dynamo.config.recompile_limit`):
# as many graphs as a training, a validation and a test set have. The other recompilations are for modes and shapes.
_CONSTANT_GRAPHS = 4
# What compiled code reads, by a name that is a constant of that code. Attributes, as the compiler would not see a
# key that joins a dictionary while it traces.
_TRACED_VALUES = SimpleNamespace()
_COUNTER = itertools.count()
# Functions that build a graph from (options, *sources), by their name: a deferred graph carries the name alone.
_BUILDS: dict[str, Callable[..., Any]] = {}

Build = Callable[..., Any]


class Deferred(NamedTuple):
    """A graph that compiled code looks up, or builds, whenever it runs: it stands in for the `SignedGraph`.

    All of it are tensors, sizes and text, so it is the same in any process that reads the compiled code.
    """

    sources: tuple[Tensor, ...]
    # JSON of the name of the function that builds it, its options after the size, which sources are given, and
    # which one it is where the function builds several graphs.
    recipe: str
    size: tuple[int, int]  # sources, targets

    @property
    def num_rows(self) -> int:
        return self.size[1]

    def realize(self) -> Any:
        """Return the graph itself; outside of compiled code."""
        build, options, given, part = json.loads(self.recipe)
        tensors = iter(self.sources)
        value = cached(_BUILDS[build], (self.size, *options), *(next(tensors) if there else None for there in given))
        for index in part:
            value = value[index]
        return value


def deferrable(build: Build) -> Build:
    """Register a function that builds graphs from (options, *sources), where `options[0]` is (sources, targets)."""
    _BUILDS[build.__name__] = build
    return build


def lookup(build: Build, options: tuple[Any, ...], *sources: Any) -> Any:
    """Return `build(options, *sources)`, built once for these tensors.

    While torch.compile traces, the value becomes a constant of the compiled code. That code belongs to these very
    tensors: others recompile, up to the compiler's limit, and a change in place raises when it runs.
    """
    if not torch.compiler.is_dynamo_compiling():
        return cached(build, options, *sources)
    for source in sources:
        if source is not None:
            # Asking for the identity of a tensor makes the compiler guard it.
            id(source)
            torch.ops.sbp_pyg.require_version(source, _version(source))
    return getattr(_TRACED_VALUES, _register_traced(build, tuple(map(_as_int, options)), *sources))


def lookup_graph(build: Build, options: tuple[Any, ...], *sources: Any, part: tuple[int, ...] = ()) -> Any:
    """Return part of `lookup(build, options, *sources)`, or a `Deferred` in code that was compiled several times.

    So a stream of mini-batches compiles once, not once for each batch. `options[0]` is a number of nodes or (sources,
    targets), of which `build` sees the latter.
    """
    size = options[0] if isinstance(options[0], tuple) else (options[0], options[0])
    if defers_lookup():
        if torch.jit.is_tracing():
            # There, sizes are tensors, and an op takes no list of those.
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
    """Return whether graphs are to be looked up when the code runs, rather than while it is traced."""
    return is_recorded() or (torch.compiler.is_dynamo_compiling() and _compilations() >= _CONSTANT_GRAPHS)


def is_recorded() -> bool:
    """Return whether torch.jit.trace or torch.export records this call: a graph would be a constant of the record."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


_NOT_COMPILABLE = "edge weights that learn or change are not implemented under torch.compile"


def raise_if_compiling() -> None:
    """Raise where torch.compile traces edge weights that change in every call."""
    if torch.compiler.is_dynamo_compiling():
        raise NotImplementedError(_NOT_COMPILABLE)


def needs_eager(*weights: Any) -> bool:
    """Return whether torch.compile traces a call of which one of the weights needs a derivative."""
    return torch.compiler.is_dynamo_compiling() and any(map(differentiable, weights))


@torch.compiler.disable(reason=_NOT_COMPILABLE)  # type: ignore[untyped-decorator]
def run_eager(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that torch.compile must not trace, nor any that it calls: these would recompile for ever."""
    return function(*args, **kwargs)


def raise_if_recorded() -> None:
    """Raise where a graph would become a constant of a program that gets its edges as an input."""
    if is_recorded():
        raise NotImplementedError(
            "torch.jit.trace and torch.export would make the edges constants of the program: build the graph outside "
            "of it, or use the layers of sbp_kernels.nn, whose edges stay inputs as long as no edge weight or x0 needs "
            "a gradient"
        )


def _as_int(option: Any) -> Any:
    """A size that the compiler took for a variable, as the number that it is for these tensors."""
    if isinstance(option, tuple):
        return tuple(map(operator.index, option))
    return operator.index(option) if isinstance(option, int) else option


def _compilations() -> int:
    """How often the compiler has compiled the frame that it traces."""
    context = CompileContext.try_get()
    identity = None if context is None else context.compile_id
    return 0 if identity is None else identity.frame_compile_id or 0


def _recipe(build: str, options: tuple[Any, ...], given: tuple[bool, ...], part: tuple[int, ...]) -> str:
    return json.dumps([build, options, given, part])


def _register_traced(build: Build, options: tuple[Any, ...], *sources: Any) -> str:
    """The name in `_TRACED_VALUES` of `build(options, *sources)`, which stays there as long as the tensors live."""

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
    # While torch.compile traces, it runs for real: sorting depends on data (see `SignedGraph._prepare`).
    _function._dynamo_marked_constant = True
