"""Base classes of the methods: the positive adjacency, a step of propagation, and a step between layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_propagate

from ..config import Config


class Model(nn.Module):
    r"""One method on one graph. A subclass overrides one hook and sets its `summary` and `section`.

    On the SGC backbone features take K steps, \( X \leftarrow \mathrm{after}(\hat A X, X) \), before one linear
    layer. Between the layers of a GCN, \( H \leftarrow \mathrm{ReLU}(\mathrm{layer}(HW)) \), where `layer` is the
    same step unless a subclass says otherwise.
    """

    summary = ""
    section = "Table 5"  # the place of the method in arXiv 2502.11394
    signed = False  # whether beta = 0 is an ablation of the method
    adds_up = True  # whether propagate(propagate(x, a), b) equals propagate(x, a + b)
    fixed = True  # whether its steps stay the same while the linear layer trains
    linear = False  # whether its steps are linear in X, so that the linear layer may come first

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def is_fixed(cls, config: Config) -> bool:
        """Return whether the steps are the same in every epoch with these settings. This needs no graph."""
        return cls.fixed

    def spread(self, x: Tensor) -> Tensor:
        r"""Return \( \hat A X \), `[n, d]`."""
        raise NotImplementedError

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        r"""Return the result of a step from \( Z = \hat A X \) and X = `before`."""
        return z

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        """Advance the features `[n, d]` by `num_steps` steps of the SGC backbone."""
        for _ in range(num_steps):
            x = self.after(self.spread(x), x)
        return x

    def layer(self, x: Tensor, before: Tensor, index: int) -> Tensor:
        """Return hidden layer `index` before its bias and ReLU, from x = HW and H = `before`."""
        return self.after(self.spread(x), before)

    def initial_residual(self, x: Tensor, x0: Tensor) -> Tensor:
        r"""Return GCNII's \( (1 - a) \hat A X + a X_0 \), where X is the current layer and X0 the first one."""
        raise NotImplementedError

    def resample(self) -> None:
        """Resample the random parts of the method. The trainer calls this once per epoch."""

    def network(self, in_channels: int, num_classes: int) -> Network | None:
        """Return the network of the method, or None if it uses the network of the backbone."""
        return None

    def output(self, x: Tensor) -> Tensor:
        """Return the input features `[n, d]` of the linear layer of the SGC backbone."""
        return F.layer_norm(x, (x.size(1),)) if self.config.layer_norm == "final" else x


class Network(nn.Module):
    """A backbone around one method. A subclass defines its layers."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        """Yield every hidden layer `[n, hidden]`, then the scores `[n, classes]`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores `[n, classes]`."""
        *_, scores = self.layers(x)
        return scores

    def hidden(self, x: Tensor) -> list[Tensor]:
        """Return the output `[n, hidden]` of every hidden layer."""
        return list(self.layers(x))[:-1]


class GraphModel(Model):
    r"""A method on the normalized adjacency \( \hat A \) of the settings."""

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        self.graph = SignedGraph(pos=positive_adjacency(data, config))

    def steps(self, x: Tensor, num_steps: int, graph: SignedGraph | None = None, **coefficients: Any) -> Tensor:
        """Return x after `num_steps` steps in one call, with the LayerNorm setting and backend of this run."""
        c = self.config
        return signed_propagate(
            x,
            graph or self.graph,
            num_steps=num_steps,
            layer_norm=c.layer_norm == "every",
            backend=c.backend,
            **coefficients,
        )

    def spread(self, x: Tensor) -> Tensor:
        return signed_propagate(x, self.graph, backend=self.config.backend)

    def after(self, z: Tensor, before: Tensor) -> Tensor:
        return F.layer_norm(z, (z.size(1),)) if self.config.layer_norm == "every" else z

    def initial_residual(self, x: Tensor, x0: Tensor) -> Tensor:
        c = self.config
        return signed_propagate(x, self.graph, lam=1.0 - c.teleport, residual=x0, backend=c.backend)


class SignedModel(GraphModel):
    r"""The step of SBP, with the negative adjacency \( \hat A^- \) of a subclass (section 4.2).

    \( X \leftarrow (1 - \lambda) X + \lambda (\alpha \hat A^+ X - \beta \hat A^- X) \)

    Between layers with weights it is a second step, on \( Z = \hat A^+ H W \). With `learn`, the coefficients are
    parameters.
    """

    section = "4.2"
    signed = True

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        # With beta = 0 the dense half would be computed without effect.
        negative = self.negative(data) if config.beta or config.learn else None
        self.signed_graph = SignedGraph(self.graph.pos, negative)
        self.linear = config.layer_norm == "none"
        if config.learn:
            start = torch.tensor([config.alpha, config.beta, config.lam], device=data.x.device)
            # The third parameter is the logit of lambda, so that lambda stays in [0, 1].
            start[2] = torch.logit(start[2], eps=1e-6)
            self.raw_coefficients = nn.Parameter(start)

    @classmethod
    def is_fixed(cls, config: Config) -> bool:
        return not config.learn

    def negative(self, data: Data) -> ClassBlock | Similarity:
        """Return the negative adjacency `[n, n]`."""
        raise NotImplementedError

    def coefficients(self) -> dict[str, float | Tensor]:
        """Return alpha, beta and lam: numbers, or tensors if they are learned."""
        if not self.config.learn:
            return {name: getattr(self.config, name) for name in ("alpha", "beta", "lam")}
        alpha, beta, odds = self.raw_coefficients.unbind()
        return {"alpha": alpha, "beta": beta, "lam": odds.sigmoid()}

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        return self.steps(x, num_steps, self.signed_graph, **self.coefficients())

    def layer(self, x: Tensor, before: Tensor, index: int) -> Tensor:
        return self.propagate(self.spread(x), 1)

    def initial_residual(self, x: Tensor, x0: Tensor) -> Tensor:
        return self.propagate(super().initial_residual(x, x0), 1)


def positive_adjacency(data: Data, config: Config) -> CSR:
    """Return the normalized adjacency `[n, n]` of the settings."""
    return normalized(directed(data, config), data.num_nodes, config)


def normalized(edge_index: Tensor, num_nodes: int, config: Config) -> CSR:
    """Return the normalized adjacency `[n, n]` of these edges, with self-loops if the settings add them."""
    adjacency = CSR.from_edge_index(edge_index, num_nodes=num_nodes)
    adjacency = adjacency.add_self_loops() if config.self_loops else adjacency
    return adjacency.normalize(config.norm)


def directed(data: Data, config: Config) -> Tensor:
    """Return `edge_index` with the edge directions of the settings."""
    if config.edges == "reversed":
        return data.edge_index.flip(0)
    if config.edges == "undirected":
        return to_undirected(data.edge_index, num_nodes=data.num_nodes)
    return data.edge_index
