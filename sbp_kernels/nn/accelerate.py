"""Replace the layers of a PyG model by accelerated ones, and restore them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch_geometric.nn as pyg

from .fa import FAConv
from .gcn import APPNP, GCN2Conv, GCNConv, LGConv, SGConv
from .norms import ContraNorm, PairNorm
from .replacement import Replacement, leave_scriptable, pyg_class, set_up_as_pyg
from .sbp import SBPConv
from .signed import SignedConv
from .signed_gcn import SignedGCN

# PyG's class -> the accelerated subclass. It only adds methods: its instances have PyG's attributes and no more.
LAYERS: dict[type, type] = {
    pyg_class(layer): layer
    for layer in (
        APPNP,
        FAConv,
        GCN2Conv,
        GCNConv,
        LGConv,
        PairNorm,
        SGConv,
        SignedConv,
        SignedGCN,
    )
}


class Report(NamedTuple):
    """Result of `accelerate` or `restore`: names of swapped modules with their new class, of others with the reason."""

    swapped: dict[str, str]
    left: dict[str, str]

    def __str__(self) -> str:
        rows = [f"swapped {name or '(model)'}: {kind}" for name, kind in self.swapped.items()]
        rows += [f"left    {name or '(model)'}: {reason}" for name, reason in self.left.items()]
        return "\n".join(rows) or "nothing to swap"


def accelerate(model: torch.nn.Module) -> Report:
    """Replace, in place, every layer of `model` whose class is exactly one of the supported classes of PyG or PyGSD.

    Only the class of a module changes: parameters, buffers, hooks, mode and caches are the same objects, so an
    existing optimizer stays valid. Subclasses, other layers and layers with options that no fused pass supports are
    not replaced; the report names the reason. A module that a model uses several times is reported once, under its
    first name. `restore` is the inverse.

    Raises:
        ValueError: `model` is not a module.
    """
    _check(model)
    swapped, left, layers = {}, {}, _layers(model)
    bypassed: set[torch.nn.Module] = set()
    for name, module in model.named_modules():
        leave_scriptable(module)
        accelerated = layers.get(type(module))
        if accelerated is not None:
            previous, module.__class__ = type(module), accelerated
            reason = module.pyg_reason()  # type: ignore[operator]
            if reason is None:
                swapped[name] = accelerated.__name__
            else:
                module.__class__ = previous
        else:
            reason = None if module in bypassed else _reason(module, layers)
        if reason is not None:
            left[name] = reason
        if isinstance(module, Replacement):
            bypassed.update(getattr(module, child) for child in module._bypassed)
    return Report(swapped, left)


def restore(model: torch.nn.Module) -> Report:
    """Give every accelerated layer of `model` its class of PyG or PyGSD back, in place.

    Raises:
        ValueError: `model` is not a module.
    """
    _check(model)
    swapped, left = {}, {}
    for name, module in model.named_modules():
        leave_scriptable(module)
        if isinstance(module, Replacement) and type(module).__module__.startswith("sbp_kernels."):
            module.__class__ = pyg_class(type(module))
            set_up_as_pyg(module)
            swapped[name] = type(module).__name__
        elif isinstance(module, Replacement):
            left[name] = f"{type(module).__name__} is a subclass of an accelerated layer"
        elif type(module) in (ContraNorm, SBPConv):
            left[name] = f"PyG has no {type(module).__name__}"
    return Report(swapped, left)


def _check(model: Any) -> None:
    if isinstance(model, type):
        raise ValueError(
            f"model must be a torch.nn.Module, got the class {model.__name__} instead of an instance of it"
        )
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def _layers(model: torch.nn.Module) -> dict[type, type]:
    """Return PyG's classes with the accelerated ones; PyGSD takes seconds to import, so only if the model uses it."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    if any(base.__module__.startswith("torch_geometric_signed_directed.") for base in classes):
        from .signed_directed import LAYERS as PYGSD

        return {**LAYERS, **PYGSD}
    return LAYERS


def _reason(module: torch.nn.Module, layers: dict[type, type]) -> str | None:
    """Return why a message passing layer is not replaced; None for any other module."""
    if isinstance(module, Replacement):
        return None
    for base in type(module).__mro__:
        if base in layers:
            return f"{type(module).__name__} is a subclass of {base.__name__}"
    return f"no accelerated {type(module).__name__}" if isinstance(module, pyg.MessagePassing) else None
