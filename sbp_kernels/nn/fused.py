"""The base class of all accelerated message passing layers, and the propagation functions that they call."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor, SparseTensor

from ..adjacency.checks import check_float_type
from ..backends.interface import FLOATS
from ..graph import SignedGraph
from ..pyg.adjacency import layer_adjacency
from ..pyg.autodiff import differentiable
from ..pyg.compiled import Deferred
from ..pyg.gcn_norm import gcn_edges, pyg_norm
from ..pyg.ops import propagate
from ..transforms import active
from .replacement import Replacement

# The methods of PyG's message passing that one fused pass replaces.
_STEPS = ("message", "aggregate", "update", "message_and_aggregate")
_HOOKS = tuple(
    f"_{part}_forward_{kind}" for part in ("propagate", *_STEPS[:2], _STEPS[3]) for kind in ("pre_hooks", "hooks")
)
_PYG_PROPAGATE = vars(MessagePassing).get("_orig_propagate", MessagePassing.propagate)


def _propagate(self: Any, edge_index: Any, size: Any = None, **kwargs: Any) -> Tensor:
    """Run PyG's general message passing, for layers and arguments that no fused pass supports."""
    return _PYG_PROPAGATE(self, edge_index, size, **kwargs)


def unsupported_features(x: Any) -> str | None:
    """Return why no fused pass supports these features, or None."""
    if isinstance(x, Tensor) and x.layout == torch.strided and x.dtype in FLOATS:
        return None
    return "its features are not a dense tensor of float32, float64, bfloat16 or float16"


class Fused(Replacement):
    """Mixin for a subclass of a PyG layer: constructor, parameters and `repr` are inherited, `forward` is fused.

    PyG's own `forward` runs if a fused pass cannot (hooks on messages, an explainer, an overridden `message`, other
    aggregations); each layer then emits one `UserWarning` with the reason, `pyg_reason`.
    The layers add no state, so a `state_dict` of PyG's class loads into them, and theirs into PyG's class.
    """

    # The supported aggregations of a layer, each with the `normalize` option of `adjacency` that implements it.
    _AGGREGATIONS: ClassVar[dict[str, str | None]] = {"add": None, "sum": None}
    # The arguments that PyG's `forward` passes to `propagate`, for subclasses. PyG would parse them from the source
    # code of this class, whose `forward` does not call `propagate`.
    propagate_type: ClassVar[dict[str, Any]] = {"x": Tensor, "edge_weight": OptTensor}
    _overridden_steps: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._overridden_steps = (
            *cls._overridden_steps,
            *(step for step in (*_STEPS, "propagate") if step in vars(cls)),
        )
        if cls.__module__.startswith(__package__ or ""):
            # A `propagate` in the class itself prevents PyG from generating one, which would ignore explainers.
            cls.propagate = _propagate  # type: ignore[attr-defined]

    def pyg_reason(self: Any, x: Any = None) -> str | None:
        """Return why this layer would run PyG's own code (on these features, if given); None if it runs fused."""
        if self.aggr not in self._AGGREGATIONS:
            return f"its aggregation is {self.aggr!r}, not one of {', '.join(self._AGGREGATIONS)}"
        if x is not None:
            reason = unsupported_features(x)
            if reason is not None:
                return reason
            if x.dim() < 2 or self.node_dim not in (-2, x.dim() - 2):
                return f"nodes lie in dimension {self.node_dim} of {x.dim()}, not in the last but one"
        if self._overridden_steps:
            return f"{type(self).__name__} has its own {self._overridden_steps[0]}()"
        # Compiled code ignores hooks, in PyG as well.
        return None if torch.compiler.is_compiling() else self._message_observer()

    def _message_observer(self: Any) -> str | None:
        """Return which explainer, hook or method reads or changes the messages of this instance; None if none does."""
        own = self.__dict__
        if own["_explain"]:
            return "an explainer looks at its messages"
        for name in _HOOKS:
            if own[name]:
                return f"it has a hook in {name}"
        for step in _STEPS:
            if step in own:
                return f"this instance has its own {step}()"
        return None

    def _gcn_graph(
        self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None, fill: float = 1.0
    ) -> SignedGraph | Deferred:
        """Return the adjacency with PyG's `gcn_norm`, by degrees of absolute weights; computed once if `cached`."""
        size, loops = x.size(-2), fill if self.add_self_loops else None
        if self.cached:
            edges = self._cached_edges(x, edge_index, edge_weight, loops)
            return layer_adjacency(*edges, size=size, flow=self.flow)
        return layer_adjacency(edge_index, edge_weight, size=size, flow=self.flow, self_loops=loops, normalize="sym")

    def _gcn_edges(self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the edges and weights that PyG propagates over, in its order; normalized once if `cached`."""
        loops, normalize = 1.0 if self.add_self_loops and self.normalize else None, self.normalize
        if self.cached and normalize:
            (edge_index, edge_weight), normalize = self._cached_edges(x, edge_index, edge_weight, loops), False
            loops = None
        options = {"size": x.size(-2), "flow": self.flow, "self_loops": loops, "normalize": normalize}
        return gcn_edges(edge_index, edge_weight, dtype=torch.promote_types(x.dtype, torch.float32), **options)

    def _cached_edges(self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None, loops: float | None) -> Any:
        """Return the cached result of `gcn_norm`, in the attribute and of the type that PyG's own `forward` uses."""
        matrix = isinstance(edge_index, SparseTensor)
        found = self._cached_adj_t if matrix else self._cached_edge_index
        if found is None:
            found = pyg_norm(edge_index, edge_weight, x.size(-2), loops, self.flow, x.dtype)
            # Weights that torch.func or forward mode differentiates die with the transform.
            if not (active() and differentiable(edge_weight)):
                setattr(self, "_cached_adj_t" if matrix else "_cached_edge_index", found)
        return (found, None) if matrix else found


def aggregate(
    x: Tensor, graph: SignedGraph | Deferred, residual: Tensor | None = None, num_steps: int = 1, **options: Any
) -> Tensor:
    """Return `signed_propagate` for x `[*, num_nodes, features]`: leading dimensions are treated as features."""
    if residual is x:
        # For one step, the current X is the default. Dynamo does not accept one tensor for two arguments.
        if isinstance(num_steps, int) and num_steps == 1:
            residual = None
        elif torch.compiler.is_dynamo_compiling():
            residual = x.clone()
    if x.dim() == 2:
        return propagate(x, graph, residual=residual, num_steps=num_steps, **options)
    flat = None if residual is None else _flat(residual)
    out = propagate(_flat(x), graph, residual=flat, num_steps=num_steps, **options)
    if x.shape[:-2].numel() <= 1:
        return out.view(*x.shape[:-2], graph.num_rows, x.size(-1))
    return out.view(graph.num_rows, *x.shape[:-2], x.size(-1)).movedim(0, -2).contiguous()


def promoted(x: Tensor, edge_weight: Any) -> Tensor:
    """Return the features in the type of PyG's messages, which are products of features and weights."""
    if not isinstance(edge_weight, Tensor) or edge_weight.dtype == x.dtype or not edge_weight.is_floating_point():
        return x
    check_float_type("edge_weight", edge_weight)
    # Under autocast, the features already have the type of the result.
    return x if torch.is_autocast_enabled(x.device.type) else x.to(torch.promote_types(x.dtype, edge_weight.dtype))


def mix(x: Tensor, graph: SignedGraph | Deferred, x_0: Tensor, own: float, initial: float) -> Tensor:
    r"""Return \( own \cdot A X + initial \cdot X_0 \), in one pass if both are coefficients of a propagation step."""
    lam = 1.0 - initial
    if 0.0 < lam <= 1.0 and x.shape == x_0.shape and x.dtype == x_0.dtype:
        return aggregate(x, graph, x_0, lam=lam, alpha=own / lam)
    return own * aggregate(x, graph) + initial * x_0


def _flat(x: Tensor) -> Tensor:
    return x.movedim(-2, 0).reshape(x.size(-2), -1)
