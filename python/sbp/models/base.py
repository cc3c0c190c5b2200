"""What every propagation rule shares: the positive adjacency, the signed step, the final LayerNorm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_propagate

from ..config import Config


class Model:
    """One propagation rule on one graph; a subclass overrides `propagate` and states its `summary`.

    Steps must add up: `propagate(propagate(x, a), b)` equals `propagate(x, a + b)`, which lets a depth
    sweep go on from the depth before.
    """

    summary = ""
    signed = False  # whether beta = 0 is an ablation of it

    def __init__(self, data: Data, config: Config) -> None:
        self.config = config

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        """Advance the features `[n, d]` by `num_steps` steps."""
        raise NotImplementedError

    def output(self, x: Tensor) -> Tensor:
        """Return the features `[n, d]` that the linear layer sees."""
        return F.layer_norm(x, (x.size(1),)) if self.config.layer_norm == "final" else x

    def signed_steps(
        self, x: Tensor, num_steps: int, graph: SignedGraph, *, alpha: float, beta: float, lam: float
    ) -> Tensor:
        """Take signed steps with this run's LayerNorm option and backend."""
        return signed_propagate(
            x,
            graph,
            alpha=alpha,
            beta=beta,
            lam=lam,
            num_steps=num_steps,
            layer_norm=self.config.layer_norm == "every",
            backend=self.config.backend,
        )


class SignedModel(Model):
    r"""SBP's step, with the negative adjacency \( \hat A^- \) of a subclass (section 4.2).

    \( X \leftarrow (1 - \lambda) X + \lambda (\alpha \hat A^+ X - \beta \hat A^- X) \)
    """

    signed = True

    def __init__(self, data: Data, config: Config) -> None:
        super().__init__(data, config)
        # At beta = 0 the dense half would be computed for nothing.
        negative = self.negative(data) if config.beta else None
        self.graph = SignedGraph(positive_adjacency(data, config), negative)

    def negative(self, data: Data) -> ClassBlock | Similarity:
        """Return the negative adjacency `[n, n]`."""
        raise NotImplementedError

    def propagate(self, x: Tensor, num_steps: int) -> Tensor:
        c = self.config
        return self.signed_steps(x, num_steps, self.graph, alpha=c.alpha, beta=c.beta, lam=c.lam)


def positive_adjacency(data: Data, config: Config) -> CSR:
    """Return the normalised adjacency `[n, n]` that the settings ask for."""
    edge_index = data.edge_index
    if config.edges == "reversed":
        edge_index = edge_index.flip(0)
    elif config.edges == "undirected":
        edge_index = to_undirected(edge_index, num_nodes=data.num_nodes)
    adjacency = CSR.from_edge_index(edge_index, num_nodes=data.num_nodes)
    if config.self_loops:
        adjacency = adjacency.add_self_loops()
    return adjacency.normalize(config.norm)
