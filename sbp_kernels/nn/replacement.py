"""The base class of layers that replace PyG's: TorchScript, tracing, and when PyG's own code runs."""

from __future__ import annotations

import copyreg
import functools
import warnings
import weakref
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.inspector import Inspector
from torch_geometric.nn import Linear, MessagePassing

from ..adjacency.checks import describe
from ..pyg.compiled import is_recorded

# Reasons that a layer has already warned about. They are not attributes, so that copies and pickles do not hold them.
_WARNED: weakref.WeakKeyDictionary[torch.nn.Module, set[str]] = weakref.WeakKeyDictionary()


def pyg_class(layer: type) -> type:
    """Return the class of PyG or PyGSD that an accelerated class replaces."""
    packages = ("torch_geometric.", "torch_geometric_signed_directed.")
    return next(base for base in layer.__mro__ if base.__module__.startswith(packages))


def check_features(name: str, x: Any) -> None:
    """Raise ValueError unless x is a dense tensor, which PyG's layers do not check."""
    if not isinstance(x, Tensor) or x.is_nested:
        raise ValueError(f"{name} must be a tensor of features, got {describe(x)}")


def source_and_target(x: Any) -> tuple[Tensor, Tensor]:
    """Return the features of sources and targets, from one tensor or a pair."""
    if isinstance(x, Tensor):
        return x, x
    if not isinstance(x, (tuple, list)) or len(x) != 2 or not all(isinstance(part, Tensor) for part in x):
        raise ValueError(f"x must be a tensor of features, or a pair (of sources, of targets), got {describe(x)}")
    return x[0], x[1]


class Replacement:
    """Mixin for a subclass of a PyG layer: portable programs are compiled from PyG's own code.

    `torch.jit.trace` and `torch.export` record PyG's own `forward`, in which edges are inputs like any other tensor;
    `torch.jit.script` compiles PyG's own class. The programs therefore need neither this package nor its kernels.
    """

    # Names of child modules that only PyG's own code calls.
    _bypassed: ClassVar[tuple[str, ...]] = ()

    def pyg_reason(self, x: Any = None) -> str | None:
        """Return why this layer would run PyG's own code (on these features, if given); None if it runs fused."""
        return None

    def _runs_pyg(self: Any, x: Any) -> bool:
        """Return whether PyG's own `forward` must run on features x; warn once for each reason of this layer."""
        check_features("x", x)
        if is_recorded():
            return True
        reason = self.pyg_reason(x)
        if reason is None:
            return False
        if not torch.compiler.is_compiling():
            warned = _WARNED.setdefault(self, set())
            if reason not in warned:
                warned.add(reason)
                warnings.warn(f"{type(self).__name__} runs PyG's own forward: {reason}", UserWarning, stacklevel=3)
        return True

    def __prepare_scriptable__(self: Any) -> Any:
        """Return this layer with PyG's class, until it is next called outside of TorchScript.

        It must not be a copy, because torch.jit.script would replace the layer in the model by the copy.
        """
        own = type(self)
        if not own.__module__.startswith("sbp_kernels."):
            raise NotImplementedError(
                f"TorchScript cannot compile {own.__name__}, a subclass of sbp_kernels.nn.{pyg_class(own).__name__}: "
                f"derive it from the class of torch_geometric instead"
            )
        self.__class__ = _scriptable(own)  # type: ignore[arg-type]
        set_up_as_pyg(self)
        return self


def needs_module_call(*layers: torch.nn.Module) -> bool:
    """Return whether a layer must call one of these linear maps instead of reading its weight.

    That is so if it has hooks, lazy weights or parametrisations.
    """
    return any(
        layer._forward_hooks or layer._forward_pre_hooks or type(layer) not in (torch.nn.Linear, Linear)
        for layer in layers
    )


def set_up_as_pyg(layer: Any) -> None:
    """Let PyG inspect the layer as an instance of PyG's class, and generate the `propagate` of that class."""
    pyg_layer = pyg_class(getattr(type(layer), "_accelerated", type(layer)))
    if isinstance(layer, MessagePassing) and layer.inspector._cls is not pyg_layer:
        layer.inspector = inspector = Inspector(pyg_layer)
        inspector.inspect_signature(layer.message)
        inspector.inspect_signature(layer.aggregate, exclude=[0, "aggr"])
        inspector.inspect_signature(layer.message_and_aggregate, [0])
        inspector.inspect_signature(layer.update, exclude=[0])
        inspector.inspect_signature(layer.edge_update)
        layer._set_jittable_templates()


def leave_scriptable(layer: torch.nn.Module) -> None:
    """Give a layer that torch.jit.script has compiled its accelerated class back."""
    accelerated = getattr(type(layer), "_accelerated", None)
    if accelerated is not None:
        layer.__class__ = accelerated


@functools.cache
def _scriptable(accelerated: type) -> type:
    """Return a copy of PyG's class whose instances get their accelerated class back when they are called."""
    pyg_layer = pyg_class(accelerated)

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.__class__ = accelerated
        return self(*args, **kwargs)

    def reduce(layer: Any) -> Any:
        layer.__class__ = accelerated
        return layer.__reduce_ex__(4)

    names = {"__module__": pyg_layer.__module__, "__qualname__": pyg_layer.__qualname__, "_accelerated": accelerated}
    scriptable = type(pyg_layer.__name__, (pyg_layer,), {**names, "__call__": __call__})
    # Copies and pickles have the accelerated class.
    copyreg.pickle(scriptable, reduce)
    return scriptable
