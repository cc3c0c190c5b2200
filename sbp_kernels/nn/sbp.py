"""The paper's step as a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..graph import SignedGraph
from ..implicit import ClassBlock
from ..propagate import signed_propagate
from ..pyg.adjacency import adjacency
from ..pyg.kept import recall
from ..similarity import Similarity

_COEFFICIENTS = ("alpha", "beta", "lam")


class SBPConv(torch.nn.Module):
    r"""Signed propagation (arXiv 2502.11394, section 4.2): positive edges attract, negative ones repel.

    \[ X \leftarrow \mathrm{norm}\big( (1 - \lambda) R + \lambda (\alpha \hat A^+ X - \beta \hat A^- X) \big) \]

    Negative edges are given to `forward`, in one of three ways: as edges; as labels `y` of the nodes in `known`
    (Label-SBP: a class block, never built); or as features `x0` (Feature-SBP: a softmax, streamed). Without any,
    the step is unsigned. What is made of the same tensors is kept for the next call.

    Args:
        alpha, beta, lam: the coefficients; `learnable` names those that are parameters (not clamped).
        num_steps: steps a call.
        layer_norm: standardise the features of each node after every step.
        add_self_loops, normalize: of the positive edges; "sym", "row" or None. Negative edges are normalised alike,
            without loops.
        temperature: of the softmax over features.
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
        layer_norm: bool = False,
        add_self_loops: bool = True,
        normalize: str | None = "sym",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.learnable = tuple(learnable)
        if not set(self.learnable) <= set(_COEFFICIENTS):
            raise ValueError(f"learnable must name some of {', '.join(_COEFFICIENTS)}, got {self.learnable}")
        self.initial = {"alpha": float(alpha), "beta": float(beta), "lam": float(lam)}
        for name, value in self.initial.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(value)) if name in self.learnable else value)
        self.num_steps, self.layer_norm = num_steps, layer_norm
        self.add_self_loops, self.normalize, self.temperature = add_self_loops, normalize, temperature

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
        """The features `[num_nodes, features]` after the steps; `residual` is R, the current X if absent.

        In place of edges, `edge_index` may be a `SignedGraph`, used as it is; on a bipartite one, x is the features
        of sources and of targets, the latter R. So graphs of `from_hetero_data` work in PyG's `HeteroConv`, which
        wants `add_self_loops=False`.
        """
        if sum(given is not None for given in (neg_edge_index, y, x0)) > 1:
            raise ValueError("give negative edges, labels or features, not several of them")
        if (y is None) != (known is None):
            raise ValueError("labels need both y and known")
        sources = (edge_index, edge_weight, neg_edge_index, neg_edge_weight, y, known, x0)
        if isinstance(edge_index, SignedGraph):
            if any(source is not None for source in sources[1:]):
                raise ValueError("a SignedGraph has its own weights and negative edges: give nothing beside it")
            if isinstance(x, (tuple, list)):
                x, residual = x[0], x[1] if residual is None else residual
            return self._steps(x, edge_index, residual)
        options = (x.size(0), 1.0 if self.add_self_loops else None, self.normalize, self.temperature)
        learns = any(isinstance(source, Tensor) and source.requires_grad for source in sources)
        graph = _graph(options, *sources) if learns else recall(_graph, options, *sources)
        return self._steps(x, graph, residual)

    def _steps(self, x: Tensor, graph: SignedGraph, residual: Tensor | None) -> Tensor:
        return signed_propagate(
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
    pos = adjacency(edge_index, edge_weight, size=size, self_loops=loops, normalize=normalize).pos
    if neg_edge_index is not None:
        return SignedGraph(pos, adjacency(neg_edge_index, neg_edge_weight, size=size, normalize=normalize).pos)
    if y is not None and known is not None:
        return SignedGraph(pos, ClassBlock.from_labels(y, known))
    return SignedGraph(pos, None if x0 is None else Similarity(x0, sign=-1.0, temperature=temperature))
