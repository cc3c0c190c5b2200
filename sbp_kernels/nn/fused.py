"""What every accelerated message passing layer shares."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor, SparseTensor

from ..graph import SignedGraph
from ..pyg.adjacency import layer_adjacency
from ..pyg.autodiff import differentiable
from ..pyg.compiled import Deferred
from ..pyg.gcn_norm import gcn_edges, pyg_norm
from ..pyg.ops import propagate
from ..transforms import active
from .replacement import Replacement

# The parts of PyG's message passing that one fused pass takes the place of.
_STEPS = ("message", "aggregate", "update", "message_and_aggregate")
_HOOKS = tuple(
    f"_{part}_forward_{kind}" for part in ("propagate", *_STEPS[:2], _STEPS[3]) for kind in ("pre_hooks", "hooks")
)
_PYG_PROPAGATE = vars(MessagePassing).get("_orig_propagate", MessagePassing.propagate)
_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _propagate(self: Any, edge_index: Any, size: Any = None, **kwargs: Any) -> Tensor:
    """PyG's general message passing, for what a fused pass does not serve."""
    return _PYG_PROPAGATE(self, edge_index, size, **kwargs)


def unsupported_features(x: Any) -> str | None:
    """Why no fused pass takes these features, or None."""
    if isinstance(x, Tensor) and x.layout == torch.strided and x.dtype in _TYPES:
        return None
    return "its features are no dense tensor of float32, float64, bfloat16 or float16"


class Fused(Replacement):
    """Mixin before a layer of PyG's: constructor, parameters and `repr` are inherited, `forward` runs fused.

    What a fused pass cannot show or do (hooks on messages, an explainer, a `message` of the user's own, other
    aggregations) is left to PyG's own `forward`, with one `UserWarning` a layer that says why: `pyg_reason`.
    The layers add no state, so `state_dict` and pickles of PyG's class fit both ways.
    """

    # What sums of messages are divided by; a layer lists the aggregations that it takes.
    _AGGREGATIONS: ClassVar[dict[str, str | None]] = {"add": None, "sum": None}
    # What PyG's `forward` gives to `propagate`, for classes that inherit from these. PyG would read it off the source
    # of the class of that name: ours.
    propagate_type: ClassVar[dict[str, Any]] = {"x": Tensor, "edge_weight": OptTensor}
    _overridden_steps: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._overridden_steps = (
            *cls._overridden_steps,
            *(step for step in (*_STEPS, "propagate") if step in vars(cls)),
        )
        if cls.__module__.startswith(__package__ or ""):
            # In the class itself, so that PyG writes no template over it: that one would ignore explainers.
            cls.propagate = _propagate  # type: ignore[attr-defined]

    def pyg_reason(self: Any, x: Any = None) -> str | None:
        """Why this layer would run PyG's own code (on these features, if given); None if it runs fused."""
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
        # Compiled code has no hooks, in PyG as well.
        return None if torch.compiler.is_compiling() else self._message_observer()

    def _message_observer(self: Any) -> str | None:
        """What looks at, or changes, the messages of this instance."""
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
        """The adjacency under PyG's `gcn_norm`, by degrees of absolute weights; computed once if `cached`."""
        size, loops = x.size(-2), fill if self.add_self_loops else None
        if self.cached:
            edges = self._cached_edges(x, edge_index, edge_weight, loops)
            return layer_adjacency(*edges, size=size, flow=self.flow)
        return layer_adjacency(edge_index, edge_weight, size=size, flow=self.flow, self_loops=loops, normalize="sym")

    def _gcn_edges(self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """The edges and weights that PyG propagates over, in its order; normalised once if `cached`."""
        loops, normalize = 1.0 if self.add_self_loops and self.normalize else None, self.normalize
        if self.cached and normalize:
            (edge_index, edge_weight), normalize = self._cached_edges(x, edge_index, edge_weight, loops), False
            loops = None
        options = {"size": x.size(-2), "flow": self.flow, "self_loops": loops, "normalize": normalize}
        return gcn_edges(edge_index, edge_weight, dtype=torch.promote_types(x.dtype, torch.float32), **options)

    def _cached_edges(self: Any, x: Tensor, edge_index: Any, edge_weight: Tensor | None, loops: float | None) -> Any:
        """What PyG's own `forward` stores, under the same name and of the same type, so that it can go on with it."""
        matrix = isinstance(edge_index, SparseTensor)
        found = self._cached_adj_t if matrix else self._cached_edge_index
        if found is None:
            found = pyg_norm(edge_index, edge_weight, x.size(-2), loops, self.flow, x.dtype)
            # Weights that torch.func or forward mode differentiates do not outlive the transform.
            if not (active() and differentiable(edge_weight)):
                setattr(self, "_cached_adj_t" if matrix else "_cached_edge_index", found)
        return (found, None) if matrix else found


def aggregate(
    x: Tensor, graph: SignedGraph | Deferred, residual: Tensor | None = None, num_steps: int = 1, **options: Any
) -> Tensor:
    """`signed_propagate` for `[*, num_nodes, features]`: leading dimensions count as features."""
    if residual is x:
        # For one step the current X is the default; the compiler takes no tensor for two arguments.
        if num_steps == 1:
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
    """Return the features in the type of PyG's messages, to which those of another type are multiplied."""
    if not isinstance(edge_weight, Tensor) or edge_weight.dtype == x.dtype or not edge_weight.is_floating_point():
        return x
    # Under autocast the type of the features is the one that it asks for.
    return x if torch.is_autocast_enabled(x.device.type) else x.to(torch.promote_types(x.dtype, edge_weight.dtype))


def mix(x: Tensor, graph: SignedGraph | Deferred, x_0: Tensor, own: float, initial: float) -> Tensor:
    r"""\( own \cdot A X + initial \cdot X_0 \), in one pass where both are a step's coefficients."""
    lam = 1.0 - initial
    if 0.0 < lam <= 1.0 and x.shape == x_0.shape and x.dtype == x_0.dtype:
        return aggregate(x, graph, x_0, lam=lam, alpha=own / lam)
    return own * aggregate(x, graph) + initial * x_0


def _flat(x: Tensor) -> Tensor:
    return x.movedim(-2, 0).reshape(x.size(-2), -1)
