"""Custom ops that propagate over a graph that is looked up at run time; torch.compile does not trace into them.

With M = (1 - lam) + lam (alpha A+ - beta A-):
    propagate(x, R) = M^K x with the current X as residual, or K steps with R     gradient: propagate on the transpose
    pair(x)         = (A+ x, A- x)                                                 gradient: unpair
    unpair(y, z)    = A+^T y + A-^T z                                              gradient: pair
The coefficients are numbers, and edge weights get no gradient. Calls with other coefficients are composed of `pair`.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import autocast
from ..autograd import spmm
from ..backends import select
from ..dispatch import OpContext, transposed
from ..graph import SignedGraph
from ..propagate import signed_pair, signed_propagate
from .compiled import Deferred

_GRAPH = "Tensor[] sources, str recipe, SymInt[] size"
_STEPS = "bool transposed, float alpha, float beta, float lam, int num_steps"
_SCHEMAS = (
    "require_version(Tensor source, int version) -> ()",
    f"propagate(Tensor x, Tensor? residual, {_GRAPH}, {_STEPS}) -> Tensor",
    f"pair(Tensor x, {_GRAPH}) -> (Tensor, Tensor)",
    f"unpair(Tensor pos, Tensor neg, {_GRAPH}) -> Tensor",
)


def propagate(x: Tensor, graph: SignedGraph | Deferred, **options: Any) -> Tensor:
    """Return `signed_propagate(x, graph, **options)`; the graph may be deferred."""
    if isinstance(graph, Deferred):
        return _deferred(autocast(x), graph, **options)
    return signed_propagate(x, graph, **options)


def pair(x: Tensor, graph: SignedGraph | Deferred) -> tuple[Tensor, Tensor]:
    """Return `signed_pair(x, graph)`; the graph may be deferred."""
    if isinstance(graph, Deferred):
        return torch.ops.sbp_pyg.pair(autocast(x), *_arguments(graph))
    return signed_pair(x, graph)


def _deferred(
    x: Tensor,
    graph: Deferred,
    *,
    alpha: float | Tensor = 1.0,
    beta: float | Tensor = 1.0,
    lam: float | Tensor = 1.0,
    num_steps: int = 1,
    residual: Tensor | None = None,
    layer_norm: bool | torch.nn.LayerNorm = False,
) -> Tensor:
    residual = None if residual is None else autocast(residual)
    learnable = any(isinstance(value, Tensor) for value in (alpha, beta, lam))
    if not (learnable or layer_norm):
        return torch.ops.sbp_pyg.propagate(
            x, residual, *_arguments(graph), False, float(alpha), float(beta), float(lam), num_steps
        )
    acc_dtype = torch.promote_types(x.dtype, torch.float32)
    for _ in range(num_steps):
        pos, neg = torch.ops.sbp_pyg.pair(x, *_arguments(graph))
        own = (x if residual is None else residual).to(acc_dtype)
        out = (1.0 - lam) * own + lam * (alpha * pos.to(acc_dtype) - beta * neg.to(acc_dtype))
        if isinstance(layer_norm, torch.nn.LayerNorm):
            out = F.layer_norm(out, layer_norm.normalized_shape, layer_norm.weight, layer_norm.bias, layer_norm.eps)
        elif layer_norm:
            out = F.layer_norm(out, out.shape[1:], eps=1e-5)
        x = out.to(x.dtype)
    return x


def _arguments(graph: Deferred) -> tuple[Any, ...]:
    return list(graph.sources), graph.recipe, list(graph.size)


def _graph(sources, recipe, size) -> SignedGraph:
    return Deferred(tuple(sources), recipe, tuple(size)).realize()


def _propagate(x, residual, sources, recipe, size, transposed, alpha, beta, lam, num_steps):
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        graph = _graph(sources, recipe, size)
        out = signed_propagate(
            x,
            graph.T if transposed else graph,
            alpha=alpha,
            beta=beta,
            lam=lam,
            num_steps=num_steps,
            residual=residual,
        )
        # A custom op must not return one of its inputs.
        return out if num_steps else x.clone()


def _pair(x, *graph):
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        return signed_pair(x, _graph(*graph))


def _unpair(pos, neg, *graph):
    with torch.no_grad():
        call = transposed(OpContext(select(pos, None), _graph(*graph)), None, None)
        return spmm(call, pos.contiguous(), x_neg=neg.contiguous())


def _require_version(source, version):
    if source._version != version:
        raise RuntimeError("a tensor of edges was changed in place after it was compiled: give a new tensor instead")


def _save_graph(ctx, graph):
    """Save the arguments of `_GRAPH` for the backward pass."""
    sources, *ctx.rest = graph
    ctx.save_for_backward(*sources)


def _saved_graph(ctx):
    return list(ctx.saved_tensors), *ctx.rest


def _save_propagate(ctx, inputs, output):
    _save_graph(ctx, inputs[2:5])
    ctx.has_residual, ctx.steps = inputs[1] is not None, inputs[5:]


def _propagate_backward(ctx, grad):
    graph, (transposed, alpha, beta, lam, num_steps) = _saved_graph(ctx), ctx.steps
    run, back, dx, dres = torch.ops.sbp_pyg.propagate, not transposed, None, None
    needs_x, needs_residual = ctx.needs_input_grad[:2]
    if not ctx.has_residual:
        dx = run(grad, None, *graph, back, alpha, beta, lam, num_steps) if needs_x else None
    else:
        # X^K = (M - r)^K x + sum_{k < K} (M - r)^k r R, where r = 1 - lam.
        if needs_x:
            dx = run(grad, None, *graph, back, lam * alpha, lam * beta, 1.0, num_steps)
        if needs_residual:
            dres = (1.0 - lam if num_steps else 0.0) * grad
            if num_steps > 1:
                dres = run(dres, grad, *graph, back, alpha, beta, lam, num_steps - 1)
    return dx, dres, [None] * len(graph[0]), *[None] * 7


def _save_pair(ctx, inputs, output):
    _save_graph(ctx, inputs[1:])


def _pair_backward(ctx, grad_pos, grad_neg):
    graph = _saved_graph(ctx)
    return torch.ops.sbp_pyg.unpair(grad_pos, grad_neg, *graph), [None] * len(graph[0]), None, None


def _save_unpair(ctx, inputs, output):
    _save_graph(ctx, inputs[2:])


def _unpair_backward(ctx, grad):
    graph = _saved_graph(ctx)
    return *torch.ops.sbp_pyg.pair(grad, *graph), [None] * len(graph[0]), None, None


def _fake_require_version(source, version):
    return None


def _fake_propagate(x, residual, sources, recipe, size, transposed, *steps):
    return x.new_empty(size[0] if transposed else size[1], x.size(1))


def _fake_pair(x, sources, recipe, size):
    return x.new_empty(size[1], x.size(1)), x.new_empty(size[1], x.size(1))


def _fake_unpair(pos, neg, sources, recipe, size):
    return pos.new_empty(size[0], pos.size(1))


# The ops are unregistered when this object is deleted.
_LIBRARY = torch.library.Library("sbp_pyg", "DEF")
_KERNELS: dict[str, tuple[Any, Any]] = {
    "require_version": (_require_version, _fake_require_version),
    "propagate": (_propagate, _fake_propagate),
    "pair": (_pair, _fake_pair),
    "unpair": (_unpair, _fake_unpair),
}
for _schema in _SCHEMAS:
    _LIBRARY.define(_schema)
for _name, (_kernel, _fake) in _KERNELS.items():
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"sbp_pyg::{_name}", _fake, lib=_LIBRARY)
for _name, _backward, _save in (
    ("propagate", _propagate_backward, _save_propagate),
    ("pair", _pair_backward, _save_pair),
    ("unpair", _unpair_backward, _save_unpair),
):
    torch.library.register_autograd(f"sbp_pyg::{_name}", _backward, setup_context=_save, lib=_LIBRARY)
# This op returns nothing. Without this mark, FX would eliminate it as dead code.
torch.fx.node.has_side_effect(torch.ops.sbp_pyg.require_version.default)
