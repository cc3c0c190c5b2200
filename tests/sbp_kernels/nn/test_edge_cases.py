"""Unusual graphs and types that PyG accepts: the same values, types, shapes and memory layouts as PyG's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

import sbp_kernels.nn as ours
from tests.sbp_kernels.nn.layers import edges

pygsd = pytest.importorskip("torch_geometric_signed_directed.nn", reason="PyGSD is not installed")
import sbp_kernels.nn.signed_directed as ours_directed  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error:.*runs PyG's own forward")
D = 4

# A constructor call, and the arguments: features x and z, edges p and n, their weights w and v, a batch vector b.
LAYERS: dict[str, tuple[Callable[..., Any], str]] = {
    "GCNConv": (lambda p, s: p.GCNConv(D, 3), "xpw"),
    "GCNConv improved": (lambda p, s: p.GCNConv(D, 3, improved=True), "xpw"),
    "GCNConv plain": (lambda p, s: p.GCNConv(D, 3, normalize=False), "xpw"),
    "GCNConv cached": (lambda p, s: p.GCNConv(D, 3, cached=True), "xpw"),
    "SGConv fewer features": (lambda p, s: p.SGConv(D, 3, K=2), "xpw"),
    "SGConv more features": (lambda p, s: p.SGConv(D, 6, K=2), "xpw"),
    "LGConv": (lambda p, s: p.LGConv(), "xpw"),
    "APPNP": (lambda p, s: p.APPNP(3, 0.1), "xpw"),
    "GCN2Conv": (lambda p, s: p.GCN2Conv(D, 0.1, 0.5, 2), "xzpw"),
    "FAConv": (lambda p, s: p.FAConv(D), "xzp"),
    "FAConv plain": (lambda p, s: p.FAConv(D, normalize=False), "xzpw"),
    "SignedConv first": (lambda p, s: p.SignedConv(D, 3, True), "xpn"),
    "SignedConv later": (lambda p, s: p.SignedConv(D // 2, 3, False), "xpn"),
    "SignedGCN": (lambda p, s: p.SignedGCN(D, 8, 2), "xpn"),
    "SGCNConv fewer features": (lambda p, s: s.SGCNConv(D, 3, True), "xpn"),
    "SGCNConv more features": (lambda p, s: s.SGCNConv(D, 6, True), "xpn"),
    "SGCNConv later": (lambda p, s: s.SGCNConv(D // 2, 3, False), "xpn"),
    "SNEAConv first": (lambda p, s: s.SNEAConv(D, 3, True), "xpn"),
    "SNEAConv later": (lambda p, s: s.SNEAConv(D // 2, 3, False), "xpn"),
    "SIMPA": (lambda p, s: s.SIMPA(2, 0.5), "pwnvxz"),
    "SIMPA one hop": (lambda p, s: s.SIMPA(1, 0.5), "pwnvxz"),
    "SIMPA directed": (lambda p, s: s.SIMPA(2, 0.5, True), "pwnvxzxz"),
    "MSConv": (lambda p, s: s.MSConv(D, 3, 2, 0.1, False), "xzpw"),
    "PairNorm": (lambda p, s: p.PairNorm(), "x"),
    "PairNorm batch": (lambda p, s: p.PairNorm(), "xb"),
}


def base(nodes: int = 9) -> dict[str, Any]:
    torch.manual_seed(0)
    pos, neg = (torch.randint(nodes - 2, (2, size)) for size in (20, 14))
    pos, neg = (edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1) for edge_index in (pos, neg))
    x, z = torch.randn(2, nodes, D)
    w, v = torch.rand(pos.size(1)) + 0.1, torch.rand(neg.size(1)) + 0.1
    return {"x": x, "z": z, "p": pos, "n": neg, "w": w, "v": v, "b": torch.arange(nodes) // 3}


def empty(given: dict[str, Any], nodes: int, names: str = "pnwv") -> dict[str, Any]:
    """Return only the first nodes, without the named edges and weights."""
    none = {name: given[name][..., :0] for name in names}
    return {**given, **{name: given[name][:nodes] for name in "xzb"}, **none}


def each(given: dict[str, Any], names: str, change: Callable[[Tensor], Any]) -> dict[str, Any]:
    return {**given, **{name: change(given[name]) for name in names}}


def add_loops(given: dict[str, Any]) -> dict[str, Any]:
    loops = torch.tensor([[1, 3], [1, 3]])
    looped = each(given, "pn", lambda edge_index: torch.cat([edge_index, loops], 1))
    return each(looped, "wv", lambda weight: torch.cat([weight, torch.tensor([0.7, 0.2])]))


def one_loop(given: dict[str, Any]) -> dict[str, Any]:
    alone = each(empty(given, 1), "pn", lambda edge_index: torch.zeros(2, 1, dtype=torch.long))
    return each(alone, "wv", lambda weight: torch.tensor([0.3]))


def doubled(given: dict[str, Any]) -> dict[str, Any]:
    twice = each(given, "pn", lambda edge_index: torch.cat([edge_index, edge_index[:, :4]], 1))
    return each(twice, "wv", lambda weight: torch.cat([weight, 2 * weight[:4]]))


GRAPHS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "plain": lambda g: g,
    "no edges": lambda g: empty(g, 9),
    "no positive edges": lambda g: empty(g, 9, "pw"),
    "no negative edges": lambda g: empty(g, 9, "nv"),
    "one node": lambda g: empty(g, 1),
    "one node with a loop": one_loop,
    "no nodes": lambda g: empty(g, 0),
    "loops": add_loops,
    "duplicates": doubled,
    "undirected": lambda g: each(
        each(g, "pn", lambda e: torch.cat([e, e.flip(0)], 1)), "wv", lambda w: torch.cat([w, w])
    ),
    "int32 edges": lambda g: each(g, "pn", lambda e: e.int()),
    "transposed edges": lambda g: each(g, "pn", lambda e: e.T.contiguous().T),
    "no weights": lambda g: each(g, "wv", lambda w: None),
    "weights in a column": lambda g: each(g, "wv", lambda w: w[:, None]),
    "zero weights": lambda g: each(g, "wv", torch.zeros_like),
    "float64 weights": lambda g: each(g, "wv", lambda w: w.double()),
    "float16 weights": lambda g: each(g, "wv", lambda w: w.half()),
    "bfloat16 weights": lambda g: each(g, "wv", lambda w: w.bfloat16()),
    "transposed features": lambda g: each(g, "xz", lambda x: x.T.contiguous().T),
    "expanded features": lambda g: each(g, "xz", lambda x: x[:1].expand(9, D)),
    "strided features": lambda g: each(g, "xz", lambda x: torch.stack([x, x], 1)[:, 1]),
    "float64": lambda g: each(g, "xz", lambda x: x.double()),
    "bfloat16": lambda g: each(g, "xz", lambda x: x.bfloat16()),
    "bfloat16, no weights": lambda g: each(each(g, "xz", lambda x: x.bfloat16()), "wv", lambda w: None),
}


def run(name: str, given: dict[str, Any], packages: Any) -> list[Tensor] | type:
    make, names = LAYERS[name]
    torch.manual_seed(1)
    layer = make(*packages).to(given["x"].dtype)
    if name == "FAConv plain" and given["w"] is None:
        return AssertionError
    try:
        out = layer(*(given[n] for n in names))
    except Exception as error:
        return type(error)
    return [out] if isinstance(out, Tensor) else list(out)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", LAYERS)
def test_results_types_and_layouts_equal_those_of_pyg(name: str, graph: str) -> None:
    given = GRAPHS[graph](base())
    want, got = (run(name, given, packages) for packages in ((pyg, pygsd), (ours, ours_directed)))
    if isinstance(want, type):
        # PyG does not support mixed types or a column of weights; the accelerated layer does, or raises ValueError.
        assert "float" in graph or graph == "no weights" or (name, graph) == ("FAConv plain", "weights in a column")
        assert not isinstance(got, type) or got in (want, ValueError)
        return
    assert not isinstance(got, type), got
    tolerance = 3e-2 if "16" in graph else 1e-4
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        assert g.is_contiguous() or not w.is_contiguous()
        torch.testing.assert_close(g, w, rtol=tolerance, atol=tolerance, equal_nan=True)


BATCHED = ["GCNConv", "GCNConv cached", "SGConv fewer features", "SGConv more features", "LGConv", "APPNP"]


@pytest.mark.parametrize("shape", [(2, 9, D), (1, 9, D), (2, 3, 9, D), (0, 9, D)], ids=str)
@pytest.mark.parametrize("name", BATCHED)
def test_outputs_with_leading_dimensions_are_contiguous(name: str, shape: tuple[int, ...]) -> None:
    given = {**base(), "x": torch.randn(shape)}
    want, got = (run(name, given, packages)[0] for packages in ((pyg, pygsd), (ours, ours_directed)))
    assert want.is_contiguous() and got.is_contiguous() and got.stride() == want.stride()
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    got.view(-1)


def test_weights_that_are_not_finite_raise() -> None:
    for bad in (float("nan"), float("inf")):
        given = base()
        given["w"][1] = given["v"][1] = bad
        for name in LAYERS:
            if "w" in LAYERS[name][1]:
                assert run(name, given, (ours, ours_directed)) is ValueError, name


def test_nan_features_affect_the_same_rows_as_in_pyg() -> None:
    given = base()
    given["x"][1, 0] = float("nan")
    for name in (
        "GCNConv",
        "SGConv more features",
        "LGConv",
        "APPNP",
        "GCN2Conv",
        "FAConv",
        "SignedConv first",
        "SGCNConv later",
    ):
        want, got = (run(name, given, packages)[0] for packages in ((pyg, pygsd), (ours, ours_directed)))
        assert torch.equal(got.isnan(), want.isnan()), name


@pytest.mark.parametrize(
    ("name", "child"),
    [
        ("GCNConv", "lin"),
        ("SGConv fewer features", "lin"),
        ("FAConv", "att_l"),
        ("SignedConv first", "lin_pos_l"),
        ("SGCNConv fewer features", "lin_b"),
        ("SGCNConv later", "lin_b"),
        ("SNEAConv later", "lin_u"),
    ],
)
def test_hooks_on_linear_maps_run(name: str, child: str) -> None:
    given, results = base(), []
    for packages in ((pyg, pygsd), (ours, ours_directed)):
        torch.manual_seed(1)
        make, names = LAYERS[name]
        layer = make(*packages)
        getattr(layer, child).register_forward_hook(lambda module, inputs, out: 2 * out)
        torch.nn.utils.parametrizations.weight_norm(getattr(layer, child))
        with torch.no_grad():
            getattr(layer, child).parametrizations.weight.original0.mul_(1.5)
        results.append(layer(*(given[n] for n in names)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_hooks_on_the_attention_of_snea() -> None:
    given = base()
    results = []
    for packages in ((pyg, pygsd), (ours, ours_directed)):
        torch.manual_seed(1)
        layer = LAYERS["SNEAConv later"][0](*packages)
        layer.alpha_b.register_forward_hook(lambda module, inputs, out: out + inputs[0][:, :1])
        if packages[0] is ours:
            with pytest.warns(UserWarning, match="its alpha_b or alpha_u is not a plain Linear without hooks"):
                results.append(layer(given["x"], given["p"], given["n"]))
        else:
            results.append(layer(given["x"], given["p"], given["n"]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_hooks_on_the_discriminator_of_signed_gcn() -> None:
    given, results = base(), []
    for package in (pyg, ours):
        torch.manual_seed(1)
        model = package.SignedGCN(D, 8, 2)
        model.lin.register_forward_hook(lambda module, inputs, out: 2 * out)
        z = model(given["x"], given["p"], given["n"])
        results.append(model.discriminate(z, given["p"]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_contra_norm_acts_within_each_graph_of_a_batch() -> None:
    torch.manual_seed(0)
    x, batch = torch.randn(20, 5, dtype=torch.float64), torch.randint(0, 5, (20,))
    batch[batch == 2] = 1  # one graph without nodes
    norm = ours.ContraNorm(0.3)
    want = torch.empty_like(x)
    for graph in batch.unique():
        want[batch == graph] = norm(x[batch == graph])
    torch.testing.assert_close(norm(x, batch), want)
    assert not torch.allclose(norm(x), want)
    # PyG's models pass their batch vector to such a norm.
    model, edge_index = pyg.GCN(5, 8, 2, 3, norm=ours.ContraNorm(0.3)).double(), edges(0, 40, 20)[:, :0]
    parts = [model(x[batch == graph], edge_index) for graph in batch.unique()]
    out = model(x, edge_index, batch=batch)
    for graph, part in zip(batch.unique(), parts, strict=True):
        torch.testing.assert_close(out[batch == graph], part)


@pytest.mark.parametrize(("channels", "width"), [(True, 2), (-5, 11), (-5, 6)])
def test_signed_conv_takes_the_numbers_of_channels_that_pyg_takes(channels: int, width: int) -> None:
    """True is the integer 1 to PyG's linear maps and slices, and a slice may end at -5."""
    x, pos, neg = torch.randn(5, width), edges(0, 8, 5), edges(1, 6, 5)
    results = []
    for package in (pyg, ours):
        torch.manual_seed(0)
        results.append(package.SignedConv(channels, 3, first_aggr=False)(x, pos, neg))
    torch.testing.assert_close(*results)
