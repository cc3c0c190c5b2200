"""What a layer in the place of PyG's own shares with it: TorchScript, tracing, and when PyG's own code runs."""

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

from ..checks import describe
from ..pyg.compiled import is_recorded

# Reasons that a layer has already warned about. Beside the layers, so that no copy or pickle holds them.
_WARNED: weakref.WeakKeyDictionary[torch.nn.Module, set[str]] = weakref.WeakKeyDictionary()


def pyg_class(layer: type) -> type:
    """Return the class of PyG or PyGSD that a class of ours takes the place of."""
    packages = ("torch_geometric.", "torch_geometric_signed_directed.")
    return next(base for base in layer.__mro__ if base.__module__.startswith(packages))


def check_features(name: str, x: Any) -> None:
    """Raise ValueError unless x is a tensor, which PyG's layers take for granted."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor of features, got {describe(x)}")


def source_and_target(x: Any) -> tuple[Tensor, Tensor]:
    """Return the features of sources and targets, from one tensor or a pair."""
    if isinstance(x, Tensor):
        return x, x
    if not isinstance(x, (tuple, list)) or len(x) != 2 or not all(isinstance(part, Tensor) for part in x):
        raise ValueError(f"x must be a tensor of features, or a pair (of sources, of targets), got {describe(x)}")
    return x[0], x[1]


class Replacement:
    """Mixin before a layer of PyG's: what is compiled to a portable program is PyG's own code.

    `torch.jit.trace` and `torch.export` record PyG's own `forward`, in which edges are inputs like any other tensor;
    `torch.jit.script` compiles PyG's own class. So the programs need neither this package nor its kernels.
    """

    # Children whose work the layer does itself, unless PyG's own code runs.
    _bypassed: ClassVar[tuple[str, ...]] = ()

    def pyg_reason(self, x: Any = None) -> str | None:
        """Why this layer would run PyG's own code (on these features, if given); None if it runs fused."""
        return None

    def _runs_pyg(self: Any, x: Any) -> bool:
        """Return whether PyG's own `forward` is to run on features x; warn once for each reason of this layer."""
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
        """Return this very layer as one of PyG's class, until it is next called outside of TorchScript.

        Not a copy: torch.jit.script would put that into the model in the place of the layer.
        """
        ours = type(self)
        if not ours.__module__.startswith("sbp_kernels."):
            raise NotImplementedError(
                f"TorchScript cannot compile {ours.__name__}, a subclass of sbp_kernels.nn.{pyg_class(ours).__name__}: "
                f"derive it from the class of torch_geometric instead"
            )
        self.__class__ = _scriptable(ours)  # type: ignore[arg-type]
        set_up_as_pyg(self)
        return self


def needs_module_call(*layers: torch.nn.Module) -> bool:
    """Return whether one of these linear maps shows in its call alone: hooks, lazy weights, parametrisations.

    Then a layer must call it, rather than read its weight.
    """
    return any(
        layer._forward_hooks or layer._forward_pre_hooks or type(layer) not in (torch.nn.Linear, Linear)
        for layer in layers
    )


def set_up_as_pyg(layer: Any) -> None:
    """Let PyG inspect a layer that it takes for one of its own class, and write the `propagate` of that class."""
    theirs = pyg_class(getattr(type(layer), "_ours", type(layer)))
    if isinstance(layer, MessagePassing) and layer.inspector._cls is not theirs:
        layer.inspector = inspector = Inspector(theirs)
        inspector.inspect_signature(layer.message)
        inspector.inspect_signature(layer.aggregate, exclude=[0, "aggr"])
        inspector.inspect_signature(layer.message_and_aggregate, [0])
        inspector.inspect_signature(layer.update, exclude=[0])
        inspector.inspect_signature(layer.edge_update)
        layer._set_jittable_templates()


def leave_scriptable(layer: torch.nn.Module) -> None:
    """Give a layer that torch.jit.script has compiled its class of ours again."""
    ours = getattr(type(layer), "_ours", None)
    if ours is not None:
        layer.__class__ = ours


@functools.cache
def _scriptable(ours: type) -> type:
    """Return PyG's class, whose instances become layers of ours again when they are called."""
    theirs = pyg_class(ours)

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.__class__ = ours
        return self(*args, **kwargs)

    def reduce(layer: Any) -> Any:
        layer.__class__ = ours
        return layer.__reduce_ex__(4)

    names = {"__module__": theirs.__module__, "__qualname__": theirs.__qualname__, "_ours": ours}
    scriptable = type(theirs.__name__, (theirs,), {**names, "__call__": __call__})
    # Copies and pickles are of our class.
    copyreg.pickle(scriptable, reduce)
    return scriptable
