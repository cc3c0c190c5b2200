"""Swap the layers of a model of PyG's for the accelerated ones, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch_geometric.nn as pyg

from .fa import FAConv
from .fused import Fused
from .gcn import APPNP, GCN2Conv, GCNConv, LGConv, SGConv
from .norms import PairNorm
from .signed import SignedConv
from .signed_gcn import SignedGCN

# Each is the first PyG class that it inherits from, plus methods: it has the same attributes, and no more.
LAYERS: dict[type, type] = {
    next(base for base in layer.__mro__ if base.__module__.startswith("torch_geometric.")): layer
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
    with the reason. `restore` undoes it.
    """
    swapped, left, layers = {}, {}, _layers(model)
    for name, module in model.named_modules():
        ours = layers.get(type(module))
        if ours is None:
            reason = _reason(module, layers)
            if reason is not None:
                left[name] = reason
            continue
        theirs, module.__class__ = type(module), ours
        reason = module.pyg_reason() if isinstance(module, Fused) else None
        if reason is None:
            swapped[name] = ours.__name__
        else:
            module.__class__ = theirs
            left[name] = reason
    return Report(swapped, left)


def restore(model: torch.nn.Module) -> Report:
    """Give every accelerated layer of `model` the class of PyG's again, in place."""
    theirs, swapped = {ours: base for base, ours in _layers(model).items()}, {}
    for name, module in model.named_modules():
        if type(module) in theirs:
            module.__class__ = theirs[type(module)]
            swapped[name] = type(module).__name__
    return Report(swapped, {})


def _layers(model: torch.nn.Module) -> dict[type, type]:
    """Their classes and ours; those of PyGSD, which takes seconds to import, where the model has one."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    if any(base.__module__.startswith("torch_geometric_signed_directed.") for base in classes):
        from .signed_directed import LAYERS as PYGSD

        return {**LAYERS, **PYGSD}
    return LAYERS


def _reason(module: torch.nn.Module, layers: dict[type, type]) -> str | None:
    """Why a layer that users would expect to be swapped is not; None for any other module."""
    if not isinstance(module, pyg.MessagePassing) or type(module) in layers.values():
        return None
    for base in type(module).__mro__:
        if base in layers:
            return f"{type(module).__name__} is a subclass of {base.__name__}"
    return f"no accelerated {type(module).__name__}"
