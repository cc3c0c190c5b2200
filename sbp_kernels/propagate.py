"""The public operations: check the call, choose the backend, take the steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, is_autocast_enabled

from .adjacency.checks import as_index, check_real, check_tensor, describe
from .autograd import pair, spmm
from .backends import BACKENDS, select
from .backends.interface import Backend, Coefficients, accumulation_dtype
from .dispatch import OpContext
from .graph import SignedGraph
from .multi_step import multi_step
from .sharded_graph import ShardedGraph

Scalar = float | Tensor


def signed_propagate(
    x: Tensor,
    graph: SignedGraph | ShardedGraph,
    *,
    alpha: Scalar = 1.0,
    beta: Scalar = 1.0,
    lam: Scalar = 1.0,
    num_steps: int = 1,
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
        residual: R, `[num_rows, features]`, the same in every step; the current X if absent.
        layer_norm: standardize the features of each node after every step; a `torch.nn.LayerNorm`
            gives its epsilon and applies its weight and bias.
        backend: run on this backend or raise; by default the first that can run the call.

    Returns:
        `[num_rows, features]`, in the type of x.

    Raises:
        ValueError: the call breaks a rule; the message names it with the offending value.
        NotImplementedError: the call is legal, but no backend here can run it; gives each reason.
    """
    if not isinstance(graph, SignedGraph):
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
    x, residual = _autocast(x), None if residual is None else _autocast(residual)
    _check(x, graph, residual, num_steps)
    coefs, coef = _coefficients(alpha, beta, lam, x)
    square = graph._num_rows == graph._num_cols
    if not square:
        _check_residual(graph, residual, lam)
    eps, affine = (None, None) if layer_norm is False else _epsilon(layer_norm, x)
    own_residual = residual is None and square
    op = OpContext(_kernels(x, graph, backend), graph, coefs, own_residual, eps)
    if num_steps == 1 and affine is None:
        return spmm(op, x, residual, coef)
    return multi_step(op, x, residual, coef, num_steps, affine)


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
    x = _autocast(x)
    _check(x, graph, None, 1)
    return pair(OpContext(_kernels(x, graph, backend), graph), x)


def explain(x: Tensor, graph: SignedGraph) -> dict[str, str]:
    """Return for every backend "runs", or the reason why it cannot run this call."""
    if not isinstance(graph, SignedGraph):
        raise ValueError(f"graph must be a SignedGraph, got {describe(graph)}")
    _check(x, graph, None, 1)
    return {name: kernels.unsupported(x) or "runs" for name, kernels in BACKENDS.items()}


def _kernels(x: Tensor, graph: SignedGraph, backend: str | None) -> Backend:
    kernels = select(x, backend)
    if torch.compiler.is_dynamo_compiling():
        graph._prepare(accumulation_dtype(x), kernels)
    return kernels


def _sharded(graph: Any) -> ShardedGraph:
    if not isinstance(graph, ShardedGraph):
        raise ValueError(f"graph must be a SignedGraph, got {describe(graph)}")
    return graph


def _check(x: Tensor, graph: SignedGraph, residual: Tensor | None, num_steps: int) -> None:
    # Read once: each x.size(i) takes as long, which is measurable on small graphs.
    shape = x.shape if isinstance(x, Tensor) and not x.is_nested else ()
    if len(shape) != 2 or shape[0] != graph._num_cols:
        got = tuple(shape) if isinstance(x, Tensor) and not x.is_nested else type(x).__name__
        raise ValueError(f"x must have shape [num_nodes={graph._num_cols}, features], got {got}")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating, got {x.dtype}")
    if x.layout is not _STRIDED:
        check_tensor("x", x)
    if x.device != graph._device:
        raise ValueError(f"x and graph must be on one device, got {x.device} and {graph._device}")
    if residual is not None:
        _check_fits(x, graph, residual)
    if type(num_steps) is not int:
        _check_steps(num_steps)
    if not 0 <= num_steps <= _MAX_STEPS:
        raise ValueError(f"num_steps must be >= 0{' and < 2**31' * (num_steps > 0)}, got {describe(num_steps)}")
    if num_steps != 1 and graph._num_rows != graph._num_cols:
        raise ValueError(f"num_steps must be 1 on a {graph._num_rows}x{graph._num_cols} graph, got {num_steps}")


def _check_steps(num_steps: Any) -> None:
    """Raise ValueError unless `num_steps` is an integer, a compiler's symbolic size included."""
    if as_index(num_steps) is None:
        raise ValueError(f"num_steps must be an integer, got {describe(num_steps)}")


def _check_fits(x: Tensor, graph: SignedGraph, residual: Tensor) -> None:
    check_tensor("residual", residual)
    rows, features = graph._num_rows, x.size(1)
    if residual.shape != (rows, features) or residual.dtype != x.dtype:
        raise ValueError(
            f"residual must have shape [num_nodes={rows}, features={features}] and the type of x, {x.dtype}, "
            f"got {tuple(residual.shape)} and {residual.dtype}"
        )
    if residual.device != x.device:
        raise ValueError(f"residual must be on the device of x, {x.device}, got {residual.device}")


def _check_residual(graph: SignedGraph, residual: Tensor | None, lam: Scalar) -> None:
    """Raise ValueError if a rectangular graph gets no residual although the step needs one."""
    is_tensor = isinstance(lam, Tensor)
    if residual is None and (is_tensor or lam != 1.0):
        got = "a tensor" if is_tensor else f"lam={lam}"
        raise ValueError(
            f"a {graph._num_rows}x{graph._num_cols} graph needs residual=... unless lam is the float 1, got {got}"
        )


def _coefficients(alpha: Scalar, beta: Scalar, lam: Scalar, x: Tensor) -> tuple[Coefficients, Tensor | None]:
    """Return (1 - lam, lam alpha, -lam beta), as floats or, if any is a tensor, as one tensor `[3]`."""
    # Floats first: isinstance(value, Tensor) takes five times as long for another type.
    if not (isinstance(alpha, float) and isinstance(beta, float) and isinstance(lam, float)):
        if isinstance(alpha, Tensor) or isinstance(beta, Tensor) or isinstance(lam, Tensor):
            a, b, step = (_as_scalar(name, v, x) for name, v in (("alpha", alpha), ("beta", beta), ("lam", lam)))
            return (0.0, 0.0, 0.0), torch.stack([1.0 - step, step * a, -step * b])
        alpha, beta, lam = (_number(name, v) for name, v in (("alpha", alpha), ("beta", beta), ("lam", lam)))
    if not (-_INF < alpha < _INF and -_INF < beta < _INF):
        raise ValueError(f"alpha and beta must be finite, got {alpha} and {beta}")
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam must lie in [0, 1], got {lam}")
    return (1.0 - lam, lam * alpha, -lam * beta), None  # type: ignore[return-value]


def _number(name: str, value: Any) -> Any:
    """Return an int or another real number as a float; a float, or a compiler's symbolic size, as it is."""
    if isinstance(value, (float, torch.SymFloat, torch.SymInt)):
        return value
    return check_real(name, value)


def _as_scalar(name: str, value: Scalar, x: Tensor) -> Tensor:
    wide = accumulation_dtype(x)
    if not isinstance(value, Tensor):
        return torch.full((), _number(name, value), dtype=wide, device=x.device)
    check_tensor(name, value)
    if value.numel() != 1:
        raise ValueError(f"{name} must have one element, got shape {tuple(value.shape)}")
    if value.is_complex() or value.is_quantized or value.dtype == torch.bool:
        raise ValueError(f"{name} must be real, got {describe(value)}")
    return value.reshape(()).to(device=x.device, dtype=wide)


def _epsilon(layer_norm: bool | torch.nn.LayerNorm, x: Tensor) -> tuple[float | None, torch.nn.LayerNorm | None]:
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


def _autocast(x: Tensor) -> Tensor:
    if isinstance(x, Tensor) and x.dtype == torch.float32:
        # x.device.type takes five times as long as x.is_cpu, which is measurable on small graphs.
        device = "cpu" if x.is_cpu else x.device.type
        if device != "meta" and is_autocast_enabled(device):
            return x.to(torch.get_autocast_dtype(device))
    return x


_STRIDED, _MAX_STEPS, _INF = torch.strided, 2**31 - 1, float("inf")
