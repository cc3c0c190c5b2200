"""Published layers, from PyG if it has them, against signed propagation on their graphs in Table 5."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import APPNP, BatchNorm, PairNorm, SGConv
from torch_geometric.utils import dropout_edge

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_pair, signed_propagate
from sbp_study import load_dataset
from sbp_study.models.sbp.negative_adjacency import label_negative
from sbp_study.theory import layers_as_graphs
from sbp_study.theory.layers_as_graphs import LayerGraph

DATA = load_dataset("csbm", split=3)
N, EDGES = 200, DATA.edge_index
X = DATA.x.double()


def _adjacency(mode: str = "sym", edge_index: Tensor = EDGES) -> CSR:
    return CSR.from_edge_index(edge_index, num_nodes=N).add_self_loops().normalize(mode)


def _step(view: LayerGraph, x: Tensor = X) -> Tensor:
    """Return one signed step; check that it equals the sum of its two halves."""
    y = signed_propagate(x, view.graph, alpha=view.alpha, beta=view.beta)
    pos, neg = signed_pair(x, view.graph)
    torch.testing.assert_close(y, view.alpha * pos - view.beta * neg)
    return y


def test_sgc_equals_pyg() -> None:
    layer = SGConv(8, 8, bias=False).double()
    layer.lin.weight.data = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(_step(layers_as_graphs.sgc(_adjacency())), layer(X, EDGES))


@pytest.mark.parametrize("mode", ["sym", "row"])
def test_batch_norm_equals_pyg_before_division_by_deviations(mode: str) -> None:
    a = _adjacency(mode)
    h = a.to_dense() @ X
    layer = BatchNorm(8).double()
    deviation = (h.var(0, unbiased=False) + layer.module.eps).sqrt()
    got = _step(layers_as_graphs.batch_norm(a))
    torch.testing.assert_close(got / deviation, layer(h))
    # The docstring recommends these two calls for large graphs.
    h = signed_propagate(X, SignedGraph(pos=a))
    centred = h - signed_propagate(h, SignedGraph(pos=ClassBlock.mean(N)))
    torch.testing.assert_close(got, centred)


@pytest.mark.parametrize("individually", [False, True])
def test_pair_norm_equals_pyg_before_scaling(individually: bool) -> None:
    a = _adjacency("row")
    layer = PairNorm(scale=0.7, scale_individually=individually, eps=1e-5)
    got = _step(layers_as_graphs.pair_norm(a))
    square = got.square().sum(1)
    length = 1e-5 + square.sqrt()[:, None] if individually else (1e-5 + square.mean()).sqrt()
    torch.testing.assert_close(0.7 * got / length, layer(a.to_dense() @ X))


@pytest.mark.parametrize(("scale", "temperature"), [(1.0, 1.0), (0.3, 2.0)])
def test_contra_norm_equals_its_formula(scale: float, temperature: float) -> None:
    a = _adjacency("row")
    h = a.to_dense() @ X
    wanted = (1 + scale) * h - scale * torch.softmax(h @ h.T / temperature, 1) @ h
    torch.testing.assert_close(_step(layers_as_graphs.contra_norm(a, X, scale, temperature)), wanted)


def test_drop_edge_equals_pyg_before_renormalization() -> None:
    torch.manual_seed(0)
    kept = dropout_edge(EDGES, p=0.3)[0]
    a = _adjacency("row")
    of_kept = CSR.from_edge_index(kept, num_nodes=N).add_self_loops()
    row, col = a.pattern.row_index(), a.col.long()
    dropped = of_kept.to_dense()[row, col] == 0
    assert 0.2 < dropped.double().mean() < 0.4
    got = _step(layers_as_graphs.drop_edge(a, dropped))
    factor = a.rowptr.diff() / of_kept.rowptr.diff()
    torch.testing.assert_close(got * factor[:, None], of_kept.normalize("row").to_dense() @ X)


def test_residual_is_the_change_of_a_step() -> None:
    a = _adjacency()
    view, dense = layers_as_graphs.residual(a), _adjacency().to_dense()
    torch.testing.assert_close(X + 0.4 * _step(view), 0.6 * X + 0.4 * dense @ X)
    torch.testing.assert_close(_step(view._replace(beta=-1.0)), dense @ X + X)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
def test_appnp_equals_pyg(num_steps: int) -> None:
    layer = APPNP(K=num_steps, alpha=0.1)
    torch.testing.assert_close(_step(layers_as_graphs.appnp(_adjacency(), num_steps, keep=0.9)), layer(X, EDGES))


def _layers(num_steps: int) -> list[Tensor]:
    dense, layers = _adjacency().to_dense(), [X]
    for _ in range(num_steps):
        layers.append(dense @ layers[-1])
    return layers


@pytest.mark.parametrize("weight", [[1.0], [0.5, 0.5], [0.4, -0.1, 0.3, 0.4]])
def test_jknet_equals_its_weighted_layers(weight: list[float]) -> None:
    wanted = sum(w * h for w, h in zip(weight, _layers(len(weight) - 1), strict=True))
    torch.testing.assert_close(_step(layers_as_graphs.jknet(_adjacency(), weight)), wanted)


def test_dagnn_equals_its_gated_layers() -> None:
    layers = torch.stack(_layers(4), 1)
    w = torch.randn(8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gate = torch.sigmoid(layers @ w)
    torch.testing.assert_close(_step(layers_as_graphs.dagnn(_adjacency(), gate.squeeze(2))), (gate * layers).sum(1))


def test_table_5_names_these_halves() -> None:
    a = _adjacency("row")
    dense, eye = a.to_dense(), torch.eye(N, dtype=torch.float64)
    table = {
        "batch_norm": (layers_as_graphs.batch_norm(a), torch.ones(N, N, dtype=torch.float64) / N @ dense),
        "residual": (layers_as_graphs.residual(a), eye),
        "appnp": (layers_as_graphs.appnp(a, 2, 0.5), 0.5 * (eye + 0.5 * dense)),
        "jknet": (layers_as_graphs.jknet(a, [0.2, 0.3, 0.5]), 0.5 * dense @ dense),
    }
    for view, neg in table.values():
        torch.testing.assert_close(view.graph.neg.to_dense(), neg)
    torch.testing.assert_close(layers_as_graphs.sgc(a).graph.pos.to_dense(), dense)


def test_label_sbp_applies_the_softmax_to_label_signs() -> None:
    view = layers_as_graphs.label_signs(_adjacency(), DATA.y, DATA.train_mask)
    softmax = F.softmax(view.graph.neg.to_dense(), dim=1)
    torch.testing.assert_close(softmax, label_negative(DATA.y, DATA.train_mask).to_dense())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers_as_graphs.jknet(_adjacency(), [0.5, 0.6]), "weights must sum to 1, got 1.1"),
        (lambda: layers_as_graphs.appnp(_adjacency(), -1, 0.9), "num_steps must be >= 0, got -1"),
        (lambda: layers_as_graphs.dagnn(_adjacency(), torch.ones(3, 2)), r"gate must have shape \[num_nodes=200"),
        (lambda: layers_as_graphs.drop_edge(_adjacency(), torch.ones(3)), "dropped must be bool of shape"),
    ],
)
def test_wrong_calls(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
