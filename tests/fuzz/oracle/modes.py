"""The derivative modes of torch, as functions of any function: the package's call, its formula, or its majorant.

Each takes a function of the arguments, the arguments, a cotangent g of the result and a tangent v of each argument, and
returns a list of tensors, the result itself first where the mode computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

Function = Callable[..., Tensor]
Mode = Callable[[Function, Sequence[Tensor], Tensor, Sequence[Tensor]], list[Tensor]]


def gradients(y: Tensor, args: Sequence[Tensor], g: Tensor, graph: bool = False, batched: bool = False) -> list[Tensor]:
    """torch.autograd.grad, with zeros for what the result does not depend on."""
    batch = (g.size(0),) if batched else ()
    if not y.requires_grad:
        return [a.new_zeros((*batch, *a.shape)) for a in args]
    # Weights that were normalized once belong to one autograd graph, which all calls go through.
    found = torch.autograd.grad(
        y, args, g, retain_graph=True, create_graph=graph, allow_unused=True, is_grads_batched=batched
    )
    return [a.new_zeros((*batch, *a.shape)) if d is None else d for a, d in zip(args, found, strict=True)]


def reverse(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    y = f(*args)
    return [y, *gradients(y, args, g)]


def batched(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    y = f(*args)
    return [y, *gradients(y, args, torch.stack([g, g * g, g]), batched=True)]


def double(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of <gradient, v> with respect to the arguments and g."""
    g = g.detach().requires_grad_()
    y = f(*args)
    first = gradients(y, args, g, graph=True)
    total = sum((d * t).sum() for d, t in zip(first, v, strict=True) if d.requires_grad)
    if not isinstance(total, Tensor):
        return [y, *first, *(torch.zeros_like(a) for a in (*args, g))]
    return [y, *first, *gradients(total, [*args, g], torch.ones_like(total))]


def jvp(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.func.jvp(f, tuple(args), tuple(v)))


def dual(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    with forward_ad.dual_level():
        y = f(*(forward_ad.make_dual(a.detach(), t) for a, t in zip(args, v, strict=True)))
        primal, tangent = forward_ad.unpack_dual(y)
        return [primal, torch.zeros_like(primal) if tangent is None else tangent]


def vjp(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    y, pull = torch.func.vjp(f, *args)
    return [y, *pull(g)]


def _linear_loss(f: Function, g: Tensor) -> Function:
    return lambda *args: (f(*args).double() * g.double()).sum()


def _square_loss(f: Function, g: Tensor) -> Function:
    return lambda *args: (f(*args).double().square() * g.double()).sum()


def grad(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.func.grad(_linear_loss(f, g), tuple(range(len(args))))(*args))


def forward_over_reverse(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    """The Hessian of a loss times v."""
    first = torch.func.grad(_square_loss(f, g), tuple(range(len(args))))
    values, tangents = torch.func.jvp(first, tuple(args), tuple(v))
    return [*values, *tangents]


def reverse_over_forward(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    def along(*args: Tensor) -> Tensor:
        y, tangent = torch.func.jvp(f, args, tuple(v))
        return (y.double() * tangent.double() * g.double()).sum()

    return list(torch.func.grad(along, tuple(range(len(args))))(*args))


def jacrev(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    return [torch.func.jacrev(f)(*args)]


def jacfwd(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    return [torch.func.jacfwd(f)(*args)]


def hessian(f: Function, args: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    return [torch.func.hessian(_square_loss(f, g))(*args)]


MODES: dict[str, Mode] = {
    "reverse": reverse,
    "batched": batched,
    "double": double,
    "jvp": jvp,
    "dual": dual,
    "vjp": vjp,
    "grad": grad,
    "forward over reverse": forward_over_reverse,
    "reverse over forward": reverse_over_forward,
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "hessian": hessian,
}
# Modes that ask for derivatives through tensors that require grad, not through arguments of a function.
LEAF_MODES = ("reverse", "batched", "double")
SECOND_ORDER = ("double", "forward over reverse", "reverse over forward", "hessian")
# Modes that return the result of the function too, before its derivatives.
RESULT_FIRST = ("reverse", "batched", "double", "jvp", "dual", "vjp")
