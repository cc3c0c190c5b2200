"""What is repeated: calls on one graph, and graphs and layers built and dropped."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity, signed_pair, signed_propagate

Step = Callable[[int], object]
_NODES, _WIDTH = 40, 16


def features(seed: int = 0, nodes: int = _NODES) -> Tensor:
    return torch.randn(nodes, _WIDTH, generator=torch.Generator().manual_seed(seed))


def edges(seed: int, nodes: int = _NODES, count: int = 160) -> Tensor:
    """Return fresh edges `[2, count]`; few seeds repeat, so that no cache of contents would help."""
    return torch.randint(nodes, (2, count), generator=torch.Generator().manual_seed(seed))


def graph_of(seed: int, nodes: int = _NODES) -> SignedGraph:
    return SignedGraph.from_edge_index(edges(seed, nodes), edges(seed + 1, nodes, 80), nodes)


def one_graph() -> Step:
    """Calls with everything that a call may have; one of eight with a backward pass."""
    graph = graph_of(0).add_self_loops().normalize("sym")
    x, residual = features(), features(1)
    learnable = features(2).requires_grad_()
    coefficients = torch.tensor([0.7, 0.3]).requires_grad_()

    def step(k: int) -> object:
        if k % 8 == 7:
            y = signed_propagate(
                learnable, graph, alpha=coefficients[0], beta=coefficients[1], lam=0.5, num_steps=1 + k % 3
            )
            return torch.autograd.grad(y.sum(), [learnable, coefficients])
        if k % 8 == 6:
            return signed_pair(x, graph)
        # The ratio of the coefficients changes: what is cached for one must be released with it.
        beta = 0.1 + (k % 1000) * 1e-3 if k % 8 == 5 else 0.5
        return signed_propagate(
            x, graph, beta=beta, lam=0.5, num_steps=1 + k % 2, residual=residual, layer_norm=k % 8 == 4
        )

    return step


def changing_weights() -> Step:
    """One graph whose edge weights are updated in place before each call: caches are rebuilt."""
    weight = torch.rand(160) + 0.1
    graph = SignedGraph(CSR.from_edge_index(edges(0), weight, num_nodes=_NODES))
    x = features()

    def step(k: int) -> object:
        half = graph.pos
        assert isinstance(half, CSR) and half.weight is not None
        half.weight.mul_(1.0)
        return signed_propagate(x, graph.normalize("row") if k % 4 == 0 else graph)

    return step


def built_graphs() -> Step:
    """Graphs built, transformed, called with a backward pass, copied and dropped."""

    def step(k: int) -> object:
        graph = graph_of(k)
        x = features(k).requires_grad_()
        if k % 3 == 1:
            graph = graph.add_self_loops().normalize("sym")
        if k % 3 == 2:
            graph = graph.with_weights(torch.rand(160), torch.rand(80).requires_grad_())
        signed_propagate(x, graph, num_steps=1 + k % 2).sum().backward()
        if k % 16 == 0:
            copy.deepcopy(graph)
            file = io.BytesIO()
            torch.save(graph, file)
        return None

    return step


def implicit_halves() -> Step:
    """Class blocks and similarities built, called with a backward pass, and dropped."""

    def step(k: int) -> object:
        x = features(k).requires_grad_()
        pos = CSR.from_edge_index(edges(k), num_nodes=_NODES).normalize("row")
        neg: Any = Similarity(features(k + 1).requires_grad_(), sign=-1)
        if k % 2:
            group = torch.arange(_NODES) % (2 + k % 5)
            neg = ClassBlock(group, torch.rand(2 + k % 5, 2 + k % 5))
        return signed_propagate(x, SignedGraph(pos, neg), lam=0.5).sum().backward()

    return step


def derivative_modes() -> Step:
    """`torch.func` transforms and forward mode on fresh graphs."""

    def step(k: int) -> object:
        graph, x, t = graph_of(k % 50), features(k), features(k + 1)

        def call(z: Tensor) -> Tensor:
            return signed_propagate(z, graph, lam=0.5, num_steps=1 + k % 2)

        if k % 3 == 0:
            return torch.func.jvp(call, (x,), (t,))
        if k % 3 == 1:
            return torch.func.grad(lambda z: call(z).square().sum())(x)
        return torch.func.vmap(call)(torch.stack([x, t]))

    return step


def layers() -> Step:
    """PyG's layers on fresh tensors each time: the cache of graphs must let them go."""
    import sbp_kernels.nn as nn

    made = [
        nn.GCNConv(_WIDTH, 8),
        nn.SBPConv(beta=0.5),
        nn.SGConv(_WIDTH, 8, K=2),
        nn.APPNP(K=2, alpha=0.1),
        nn.SignedConv(_WIDTH, 8, first_aggr=True),
    ]

    def step(k: int) -> object:
        layer, x, edge_index = made[k % len(made)], features(k).requires_grad_(), edges(k)
        y = layer(x, edge_index, edges(k + 1)) if isinstance(layer, nn.SignedConv) else layer(x, edge_index)
        return y.sum().backward()

    return step


def layers_of_sets() -> Step:
    """The layers in other forms: weights, sparse tensors, `EdgeIndex`."""
    from torch_geometric import EdgeIndex

    import sbp_kernels.nn as nn

    layer = nn.GCNConv(_WIDTH, 8)

    def step(k: int) -> object:
        x, edge_index = features(k), edges(k)
        if k % 3 == 0:
            return layer(x, edge_index, torch.rand(edge_index.size(1)))
        if k % 3 == 1:
            values = torch.ones(edge_index.size(1))
            return layer(x, torch.sparse_coo_tensor(edge_index, values, (_NODES, _NODES)).to_sparse_csr())
        return layer(x, EdgeIndex(edge_index, sparse_size=(_NODES, _NODES)))

    return step


def cached_graphs() -> Step:
    """The same few tensors many times, some changed in place: entries are replaced, not added."""
    import sbp_kernels.nn as nn

    layer = nn.GCNConv(_WIDTH, 8)
    tensors = [edges(k) for k in range(100)]
    weights = [torch.rand(160) for _ in tensors]
    x = features()

    def step(k: int) -> object:
        weight = weights[k % 100]
        if k % 7 == 0:
            weight.add_(0.0)
        return layer(x, tensors[k % 100], weight)

    return step


# Name: what to repeat, and which of the two counts (calls, graphs) says how often.
SCENARIOS: dict[str, tuple[Callable[[], Step], str]] = {
    "one graph": (one_graph, "calls"),
    "changing weights": (changing_weights, "graphs"),
    "graphs built and dropped": (built_graphs, "graphs"),
    "class blocks, similarities": (implicit_halves, "graphs"),
    "derivative modes": (derivative_modes, "graphs"),
    "layers on fresh edges": (layers, "graphs"),
    "layers on other forms": (layers_of_sets, "graphs"),
    "layers on cached edges": (cached_graphs, "graphs"),
}
