"""`SBPConv`, the propagation step of the SBP paper as a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..adjacency.checks import describe
from ..adjacency.class_block import ClassBlock
from ..adjacency.similarity import Similarity
from ..arguments import ShardedGraph
from ..graph import SignedGraph
from ..pyg.adjacency import find_graph
from ..pyg.autodiff import differentiable
from ..pyg.compiled import deferrable, lookup_graph, needs_eager, raise_if_recorded, run_eager
from ..pyg.ops import propagate
from .arguments import finite_number, positive_number
from .replacement import source_and_target

_COEFFICIENTS = ("alpha", "beta", "lam")


class SBPConv(torch.nn.Module):
    r"""Signed propagation (arXiv 2502.11394, section 4.2): positive edges attract, negative ones repel.

    \[ X \leftarrow \mathrm{norm}\big( (1 - \lambda) R + \lambda (\alpha \hat A^+ X - \beta \hat A^- X) \big) \]

    `forward` accepts negative edges in one of three forms: as edges; as labels `y` of the nodes in `known`
    (Label-SBP: a class block that is never stored); or as features `x0` (Feature-SBP: a streamed softmax). Without
    any of them, the step is unsigned. The graph is cached for the next call with the same tensors, as in
    `sbp_kernels.pyg.adjacency`.

    Args:
        alpha, beta, lam: the coefficients; `learnable` names those that are parameters (not clamped).
        num_steps: number of steps in one call.
        layer_norm: standardize the features of each node after every step; a `torch.nn.LayerNorm` is applied instead.
        add_self_loops, normalize: of the positive edges; "sym", "row" or None. Negative edges are normalized alike,
            without loops.
        temperature: of the softmax over features.

    Raises:
        ValueError: an argument has another type or lies outside of the range above.
    """

    alpha: float | Tensor
    beta: float | Tensor
    lam: float | Tensor

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        lam: float = 0.5,
        *,
        learnable: Iterable[str] = (),
        num_steps: int = 1,
        layer_norm: bool | torch.nn.LayerNorm = False,
        add_self_loops: bool = True,
        normalize: str | None = "sym",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if isinstance(learnable, str) or not isinstance(learnable, Iterable):
            raise ValueError(f"learnable must be a list of names, got {learnable!r}")
        self.learnable = tuple(learnable)
        if any(name not in _COEFFICIENTS for name in self.learnable):
            raise ValueError(f"learnable must name some of {', '.join(_COEFFICIENTS)}, got {self.learnable}")
        given = {"alpha": alpha, "beta": beta, "lam": lam}
        self.initial = {name: finite_number(name, value) for name, value in given.items()}
        if "lam" not in self.learnable and not 0.0 <= self.initial["lam"] <= 1.0:
            raise ValueError(f"lam must lie in [0, 1], got {lam}")
        for name, value in self.initial.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(value)) if name in self.learnable else value)
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or not 0 <= num_steps < 2**31:
            raise ValueError(f"num_steps must be an integer >= 0 and < 2**31, got {describe(num_steps)}")
        if not isinstance(layer_norm, (bool, torch.nn.LayerNorm)):
            raise ValueError(f"layer_norm must be True, False or a torch.nn.LayerNorm, got {layer_norm!r}")
        if not isinstance(add_self_loops, bool):
            raise ValueError(f"add_self_loops must be True or False, got {add_self_loops!r}")
        if normalize not in (None, "sym", "row"):
            raise ValueError(f'normalize must be "sym", "row" or None, got {normalize!r}')
        self.num_steps, self.layer_norm = num_steps, layer_norm
        self.add_self_loops, self.normalize = add_self_loops, normalize
        self.temperature = positive_number("temperature", temperature)

    def __prepare_scriptable__(self) -> Any:
        raise NotImplementedError("TorchScript cannot compile SBPConv: use torch.jit.trace or torch.export")

    def reset_parameters(self) -> None:
        with torch.no_grad():
            for name in self.learnable:
                getattr(self, name).fill_(self.initial[name])

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        neg_edge_index: Any = None,
        *,
        y: Tensor | None = None,
        known: Tensor | None = None,
        x0: Tensor | None = None,
        edge_weight: Tensor | None = None,
        neg_edge_weight: Tensor | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Return the features `[num_nodes, features]` after the steps; `residual` is R, the current X if absent.

        With labels or features, nodes of different graphs of a batch repel each other: use edges for batches.
        `edge_index` may also be a `SignedGraph`, or what `distributed.shard` returns, which is used unchanged. If it
        is bipartite, x is a pair, the features of sources and of targets, and those of the targets are R. Graphs of
        `from_hetero_data` therefore work in PyG's `HeteroConv`, which needs `add_self_loops=False`.
        """
        if sum(given is not None for given in (neg_edge_index, y, x0)) > 1:
            raise ValueError("give negative edges, labels or features, not several of them")
        if (y is None) != (known is None):
            raise ValueError("labels need both y and known")
        if neg_edge_weight is not None and neg_edge_index is None:
            raise ValueError("neg_edge_weight needs neg_edge_index")
        sources = (edge_index, edge_weight, neg_edge_index, neg_edge_weight, y, known, x0)
        if isinstance(edge_index, (SignedGraph, ShardedGraph)):
            if any(source is not None for source in sources[1:]):
                raise ValueError("a SignedGraph has its own weights and negative edges: give nothing beside it")
            if isinstance(x, (tuple, list)):
                x, own = source_and_target(x)
                residual = own if residual is None else residual
            return self._steps(x, edge_index, residual)
        if not isinstance(x, Tensor) or x.dim() != 2:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"x must be a tensor [num_nodes, features], got {got}")
        size = (x.size(0), x.size(0))
        options = (size, 1.0 if self.add_self_loops else None, self.normalize, self.temperature)
        if needs_eager(*sources):
            rest = {"y": y, "known": known, "x0": x0, "edge_weight": edge_weight, "neg_edge_weight": neg_edge_weight}
            return run_eager(self.forward, x, edge_index, neg_edge_index, residual=residual, **rest)
        if any(map(differentiable, sources)):
            raise_if_recorded()
            return self._steps(x, _graph(options, *sources), residual)
        return self._steps(x, lookup_graph(_graph, options, *sources), residual)

    def _steps(self, x: Tensor, graph: Any, residual: Tensor | None) -> Tensor:
        return propagate(
            x,
            graph,
            alpha=self.alpha,
            beta=self.beta,
            lam=self.lam,
            num_steps=self.num_steps,
            residual=residual,
            layer_norm=self.layer_norm,
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={float(getattr(self, name)):g}" for name in _COEFFICIENTS)
        return f"{type(self).__name__}({values}, num_steps={self.num_steps})"


@deferrable
def _graph(
    options: tuple[Any, ...],
    edge_index: Any,
    edge_weight: Tensor | None,
    neg_edge_index: Any,
    neg_edge_weight: Tensor | None,
    y: Tensor | None,
    known: Tensor | None,
    x0: Tensor | None,
) -> SignedGraph:
    size, loops, normalize, temperature = options
    flow = "source_to_target"
    pos = find_graph(edge_index, edge_weight, (size, flow, loops, normalize)).pos
    if neg_edge_index is not None:
        return SignedGraph(pos, find_graph(neg_edge_index, neg_edge_weight, (size, flow, None, normalize)).pos)
    if y is not None and known is not None:
        return SignedGraph(pos, ClassBlock.from_labels(y, known))
    return SignedGraph(pos, None if x0 is None else Similarity(x0, sign=-1.0, temperature=temperature))
