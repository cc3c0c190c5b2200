"""The public operations: check the call, choose the backend, take the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .adjacency.checks import check_real, describe
from .arguments import (
    Scalar,
    ShardedGraph,
    as_number,
    as_scalar,
    autocast,
    check_call,
    check_graph,
    check_real_tensor,
    choose_backend,
)
from .autograd import pair, spmm
from .backends import BACKENDS
from .backends.interface import Coefficients, accumulation_dtype
from .dispatch import OpContext
from .graph import SignedGraph
from .multi_step import multi_step


def signed_propagate(
    x: Tensor,
    graph: SignedGraph | ShardedGraph,
    *,
    alpha: Scalar = 1.0,
    beta: Scalar = 1.0,
    lam: Scalar = 1.0,
    num_steps: int = 1,
    gamma: Sequence[float] | Tensor | None = None,
    return_all: bool = False,
    residual: Tensor | None = None,
    layer_norm: bool | torch.nn.LayerNorm = False,
    backend: str | None = None,
) -> Tensor:
    r"""Take steps of signed propagation (arXiv 2502.11394, section 4.2).

    \[ X \leftarrow \mathrm{norm}\big( (1 - \lambda) R + \lambda (\alpha A^+ X - \beta A^- X) \big) \]

    One fused pass over the rows a step; no message is stored. Derivatives of every order, in reverse and in forward
    mode and under `torch.func` (`grad`, `jvp`, `vmap`, ...), reach `x`, `residual`, tensor coefficients, edge weights
    and the `x0` of a `Similarity`. Forward mode and `torch.func` take several passes a step. Output and gradients
    repeat bit for bit, whatever the number of threads (a `Similarity` half, which runs on BLAS, for a fixed number of
    them). A part whose coefficient is 0 is not read. Under autocast, float32 features are stored in the autocast
    type; sums run in float32.

    Without `layer_norm`, the CPU kernels count numbers below the smallest normal one of the accumulation type (1.2e-38
    in float32, 2.2e-308 in float64) as 0: many linear steps decay into such numbers, which a processor adds up to six
    times more slowly. The mode is set in the kernels alone; `torch.set_flush_denormal` is not touched.

    Args:
        x: `[num_nodes, features]`, float32, float64, bfloat16 or float16.
        graph: the two adjacencies; on a rectangular one x has a row per column of it. With the result of
            `distributed.shard`, x, `residual` and the result are the blocks of this process.
        alpha, beta: strengths of attraction and repulsion; floats, or tensors of one element.
        lam: step size in [0, 1]; a float (checked), or a tensor of one element (not read back).
        num_steps: how many steps to take, >= 0 (0: a copy of x); all in one call of the kernels where nothing needs the
            features in between (no gradient, or only through linear steps: these save nothing).
        gamma: `[num_steps + 1]`, numbers or a learnable tensor: return the sum of gamma_k X_k over the states
            X_0 = x, ..., X_K instead of X_K. Linear steps with fixed coefficients and weights save only x, residual
            and gamma, and only if gamma requires grad: its gradient comes from the steps of the backward pass.
        return_all: return all states X_0, ..., X_K; not together with gamma.
        residual: R, `[num_rows, features]`, the same in every step; the current X if absent.
        layer_norm: standardize the features of each node after every step; a `torch.nn.LayerNorm`
            gives its epsilon and applies its weight and bias.
        backend: run on this backend or raise; by default the first that can run the call.

    Returns:
        `[num_rows, features]`, in the type of x; with `return_all` `[num_steps + 1, num_rows, features]`.

    Raises:
        ValueError: the call breaks a rule; the message names it with the offending value.
        NotImplementedError: the call is legal, but no backend here can run it; gives each reason.
    """
    if not isinstance(graph, SignedGraph):
        if gamma is not None or return_all:
            raise NotImplementedError("gamma and return_all need a graph in one process, got one of distributed.shard")
        return _sharded(graph).propagate(
            x,
            alpha=alpha,
            beta=beta,
            lam=lam,
            num_steps=num_steps,
            residual=residual,
            layer_norm=layer_norm,
            backend=backend,
        )
    x, residual = autocast(x), None if residual is None else autocast(residual)
    check_call(x, graph, residual, num_steps)
    coefs, coef = step_coefficients(alpha, beta, lam, x)
    square = graph._num_rows == graph._num_cols
    if not square:
        check_residual_given(graph, residual, lam)
    eps, affine = (None, None) if layer_norm is False else split_layer_norm(layer_norm, x)
    own_residual = residual is None and square
    op = OpContext(choose_backend(x, graph, backend), graph, coefs, own_residual, eps)
    if num_steps == 1 and affine is gamma is None and return_all is False:
        return spmm(op, x, residual, coef)
    sums = None if gamma is None else _gamma(gamma, num_steps, x)
    _check_states(return_all, gamma, graph)
    return multi_step(op, x, residual, coef, num_steps, affine, sums, return_all)


def signed_pair(x: Tensor, graph: SignedGraph | ShardedGraph, *, backend: str | None = None) -> tuple[Tensor, Tensor]:
    r"""Return both halves apart, \( (A^+ X, A^- X) \), in one pass over the rows.

    Args:
        x: `[num_nodes, features]` (a row per column of the graph).
        graph: the two adjacencies.
        backend: as in `signed_propagate`.

    Returns:
        Two tensors `[num_rows, features]`; zeros for an absent half.

    Raises:
        ValueError, NotImplementedError: as `signed_propagate`.
    """
    if not isinstance(graph, SignedGraph):
        return _sharded(graph).pair(x, backend=backend)
    x = autocast(x)
    check_call(x, graph, None, 1)
    return pair(OpContext(choose_backend(x, graph, backend), graph), x)


def explain(x: Tensor, graph: SignedGraph) -> dict[str, str]:
    """Return for every backend "runs", or the reason why it cannot run this call."""
    check_graph(graph)
    check_call(x, graph, None, 1)
    return {name: kernels.unsupported(x) or "runs" for name, kernels in BACKENDS.items()}


def _sharded(graph: Any) -> ShardedGraph:
    if not isinstance(graph, ShardedGraph):
        check_graph(graph)
    return graph


def check_residual_given(graph: SignedGraph, residual: Tensor | None, lam: Scalar) -> None:
    """Raise ValueError if a rectangular graph gets no residual although the step needs one."""
    is_tensor = isinstance(lam, Tensor)
    if residual is None and (is_tensor or lam != 1.0):
        got = "a tensor" if is_tensor else f"lam={lam}"
        raise ValueError(
            f"a {graph._num_rows}x{graph._num_cols} graph needs residual=... unless lam is the float 1, got {got}"
        )


def step_coefficients(alpha: Scalar, beta: Scalar, lam: Scalar, x: Tensor) -> tuple[Coefficients, Tensor | None]:
    """Return (1 - lam, lam alpha, -lam beta), as floats or, if any is a tensor, as one tensor `[3]`."""
    # Floats first: isinstance(value, Tensor) takes five times as long for another type.
    if not (isinstance(alpha, float) and isinstance(beta, float) and isinstance(lam, float)):
        if isinstance(alpha, Tensor) or isinstance(beta, Tensor) or isinstance(lam, Tensor):
            a, b, step = (as_scalar(name, v, x) for name, v in (("alpha", alpha), ("beta", beta), ("lam", lam)))
            return (0.0, 0.0, 0.0), torch.stack([1.0 - step, step * a, -step * b])
        alpha, beta, lam = (as_number(name, v) for name, v in (("alpha", alpha), ("beta", beta), ("lam", lam)))
    if not (-_INF < alpha < _INF and -_INF < beta < _INF):
        raise ValueError(f"alpha and beta must be finite, got {alpha} and {beta}")
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam must lie in [0, 1], got {lam}")
    return (1.0 - lam, lam * alpha, -lam * beta), None  # type: ignore[return-value]


def _gamma(gamma: Any, num_steps: int, x: Tensor) -> Tensor:
    """Return the weights of the states, `[num_steps + 1]`, in the accumulation type; a copy if they are fixed."""
    wide = accumulation_dtype(x)
    if isinstance(gamma, Tensor):
        check_real_tensor("gamma", gamma)
        shape = tuple(gamma.shape)
    elif isinstance(gamma, (list, tuple)):
        gamma = torch.tensor([check_real(f"gamma[{k}]", g) for k, g in enumerate(gamma)], dtype=wide, device=x.device)
        shape = tuple(gamma.shape)
    else:
        raise ValueError(f"gamma must be a tensor or a list of numbers, got {describe(gamma)}")
    if shape != (num_steps + 1,):
        raise ValueError(f"gamma must have shape [num_steps + 1={num_steps + 1}], got {shape}")
    return gamma.to(device=x.device, dtype=wide, copy=not gamma.requires_grad)


def _check_states(return_all: Any, gamma: Any, graph: SignedGraph) -> None:
    """Raise ValueError unless several states can be returned or summed."""
    if not isinstance(return_all, bool):
        raise ValueError(f"return_all must be True or False, got {describe(return_all)}")
    if return_all and gamma is not None:
        raise ValueError("give gamma (a sum of the states) or return_all=True (the states), not both")
    if (return_all or gamma is not None) and graph._num_rows != graph._num_cols:
        raise ValueError(
            f"gamma and return_all need states of one shape, got a {graph._num_rows}x{graph._num_cols} graph"
        )


def split_layer_norm(
    layer_norm: bool | torch.nn.LayerNorm, x: Tensor
) -> tuple[float | None, torch.nn.LayerNorm | None]:
    """Return epsilon (None for no LayerNorm), and the module where it has parameters."""
    if isinstance(layer_norm, bool):
        return (1e-5 if layer_norm else None), None
    if not isinstance(layer_norm, torch.nn.LayerNorm):
        raise ValueError(f"layer_norm must be a bool or a torch.nn.LayerNorm, got {describe(layer_norm)}")
    if layer_norm.normalized_shape != (x.size(1),):
        raise ValueError(
            f"layer_norm must normalize features={x.size(1)}, got normalized_shape={layer_norm.normalized_shape}"
        )
    eps = check_real("the eps of layer_norm", layer_norm.eps)
    if eps < 0.0:
        raise ValueError(f"the eps of layer_norm must be >= 0, got {eps}")
    if not layer_norm.elementwise_affine:
        return eps, None
    if layer_norm.weight.device != x.device:
        raise ValueError(f"layer_norm must be on the device of x, {x.device}, got {layer_norm.weight.device}")
    return eps, layer_norm


_INF = float("inf")
