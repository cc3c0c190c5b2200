"""Swap the layers of a model of PyG's for the accelerated ones, and back."""

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

# Each is the PyG class that it inherits from, plus methods: it has the same attributes, and no more.
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
    """What `accelerate` or `restore` did: names of modules with their class, or with the reason to leave them."""

    swapped: dict[str, str]
    left: dict[str, str]

    def __str__(self) -> str:
        rows = [f"swapped {name or '(model)'}: {kind}" for name, kind in self.swapped.items()]
        rows += [f"left    {name or '(model)'}: {reason}" for name, reason in self.left.items()]
        return "\n".join(rows) or "nothing to swap"


def accelerate(model: torch.nn.Module) -> Report:
    """Swap every layer of `model` that is exactly one of the supported classes of PyG or PyGSD, in place.

    Only the class of a module changes: parameters, buffers, hooks, mode and caches are the same objects, so an
    optimizer goes on working. Subclasses, other layers and layers with options that no fused pass serves are left,
    with the reason. A module that a model uses several times is reported once, under its first name. `restore` undoes
    it.

    Raises:
        ValueError: `model` is no module.
    """
    _check(model)
    swapped, left, layers = {}, {}, _layers(model)
    bypassed: set[torch.nn.Module] = set()
    for name, module in model.named_modules():
        leave_scriptable(module)
        ours = layers.get(type(module))
        if ours is not None:
            theirs, module.__class__ = type(module), ours
            reason = module.pyg_reason()  # type: ignore[operator]
            if reason is None:
                swapped[name] = ours.__name__
            else:
                module.__class__ = theirs
        else:
            reason = None if module in bypassed else _reason(module, layers)
        if reason is not None:
            left[name] = reason
        if isinstance(module, Replacement):
            bypassed.update(getattr(module, child) for child in module._bypassed)
    return Report(swapped, left)


def restore(model: torch.nn.Module) -> Report:
    """Give every accelerated layer of `model` the class of PyG's or PyGSD's again, in place.

    Raises:
        ValueError: `model` is no module.
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
    """Their classes and ours; those of PyGSD, which takes seconds to import, where the model has one."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    if any(base.__module__.startswith("torch_geometric_signed_directed.") for base in classes):
        from .signed_directed import LAYERS as PYGSD

        return {**LAYERS, **PYGSD}
    return LAYERS


def _reason(module: torch.nn.Module, layers: dict[type, type]) -> str | None:
    """Why a layer that users would expect to be swapped is not; None for any other module."""
    if isinstance(module, Replacement):
        return None
    for base in type(module).__mro__:
        if base in layers:
            return f"{type(module).__name__} is a subclass of {base.__name__}"
    return f"no accelerated {type(module).__name__}" if isinstance(module, pyg.MessagePassing) else None
