"""Compiled layers on a stream of mini-batches: correct results within the recompile limit of torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch._dynamo.utils import counters

import sbp_kernels.nn as ours
from sbp_kernels.backends._extension import NOT_LOADED
from sbp_kernels.nn import accelerate
from sbp_kernels.pyg.compiled import Deferred, lookup_graph
from sbp_kernels.pyg.ops import pair, propagate

pygsd = pytest.importorskip("torch_geometric_signed_directed.nn", reason="PyGSD is not installed")
import sbp_kernels.nn.signed_directed as ours_directed  # noqa: E402

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")
D, BATCHES = 6, 50


def batch(seed: int) -> dict[str, Tensor]:
    """Return features, edges of both signs with weights, and labels; each seed gives other tensors and sizes."""
    generator = torch.Generator().manual_seed(seed)
    n, p, m = (int(torch.randint(low, low + 30, (), generator=generator)) for low in (20, 60, 110))
    edge = lambda size: torch.randint(n, (2, size), generator=generator).unique(dim=1)  # noqa: E731
    pos, neg = edge(p), edge(m)
    return {
        "x": torch.randn(n, D, generator=generator).requires_grad_(),
        "z": torch.randn(n, D, generator=generator),
        "p": pos,
        "n": neg,
        "w": torch.rand(pos.size(1), generator=generator) + 0.1,
        "v": torch.rand(neg.size(1), generator=generator) + 0.1,
        "W": (torch.rand(pos.size(1), generator=generator) + 0.1).requires_grad_(),
        "y": torch.randint(3, (n,), generator=generator),
        "k": torch.rand(n, generator=generator) < 0.5,
    }


class Labels(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = ours.SBPConv(0.9, 0.5, 0.3)

    def forward(self, x: Tensor, edge_index: Tensor, y: Tensor, known: Tensor) -> Tensor:
        return self.conv(x, edge_index, y=y, known=known)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gcn, self.appnp = pyg.GCNConv(D, 8), pyg.APPNP(3, 0.1)
        self.gcn2, self.signed = pyg.GCN2Conv(8, 0.1, 0.5, 2), pyg.SignedConv(8, 4, first_aggr=True)
        self.norm, self.fa = pyg.PairNorm(), pyg.FAConv(8)

    def forward(self, x: Tensor, edge_index: Tensor, neg_edge_index: Tensor) -> Tensor:
        x = self.gcn(x, edge_index).relu()
        x = self.norm(self.gcn2(self.appnp(x, edge_index), x, edge_index))
        return self.signed(self.fa(x, x, edge_index), edge_index, neg_edge_index)


# A constructor call, the names of the arguments, and whether the layer compiles without a graph break.
CASES: dict[str, tuple[Callable[..., Any], str, bool]] = {
    "GCNConv": (lambda p, s: p.GCNConv(D, 4), "xp", True),
    "GCNConv weighted": (lambda p, s: p.GCNConv(D, 4), "xpw", True),
    "GCNConv, learnable weights": (lambda p, s: p.GCNConv(D, 4), "xpW", False),
    "SGConv": (lambda p, s: p.SGConv(D, 4, K=2), "xpw", True),
    "LGConv": (lambda p, s: p.LGConv(), "xpw", True),
    "APPNP": (lambda p, s: p.APPNP(3, 0.1), "xpw", True),
    "APPNP dropout": (lambda p, s: p.APPNP(3, 0.1, dropout=0.5), "xpw", False),
    "GCN2Conv": (lambda p, s: p.GCN2Conv(D, 0.1, 0.5, 2), "xzpw", True),
    "FAConv": (lambda p, s: p.FAConv(D), "xzp", False),
    "FAConv plain": (lambda p, s: p.FAConv(D, normalize=False), "xzpw", False),
    "SignedConv first": (lambda p, s: p.SignedConv(D, 4, True), "xpn", True),
    "SignedConv later": (lambda p, s: p.SignedConv(D // 2, 4, False), "xpn", True),
    "SignedGCN": (lambda p, s: p.SignedGCN(D, 8, 2), "xpn", True),
    "PairNorm": (lambda p, s: p.PairNorm(), "x", True),
    "SBPConv": (lambda p, s: ours.SBPConv(0.9, 0.5, 0.3, num_steps=2), "xpn", True),
    "SBPConv learnable": (
        lambda p, s: ours.SBPConv(0.9, 0.5, 0.3, num_steps=2, learnable=["alpha", "lam"], layer_norm=True),
        "xpn",
        True,
    ),
    "SBPConv labels": (lambda p, s: Labels(), "xpyk", True),
    "ContraNorm": (lambda p, s: ours.ContraNorm(0.3), "x", False),
    "SGCNConv first": (lambda p, s: s.SGCNConv(D, 4, True), "xpn", True),
    "SGCNConv later": (lambda p, s: s.SGCNConv(D // 2, 4, False), "xpn", True),
    "SNEAConv first": (lambda p, s: s.SNEAConv(D, 4, True), "xpn", True),
    "SNEAConv later": (lambda p, s: s.SNEAConv(D // 2, 4, False), "xpn", True),
    "SIMPA": (lambda p, s: s.SIMPA(2, 0.5), "pwnvxz", True),
    "SIMPA, learnable weights": (lambda p, s: s.SIMPA(2, 0.5), "pWnvxz", False),
    "MSConv": (lambda p, s: s.MSConv(D, 4, 2, 0.1, False), "xzpw", True),
    "MSConv, learnable q": (lambda p, s: s.MSConv(D, 4, 2, 0.1, True), "xzpw", False),
}


def flat(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else torch.cat(tuple(out), -1)


def result(layer: Any, parameters: list[Tensor], names: str, seed: int) -> list[Tensor | None]:
    """Return the output for one batch and all gradients."""
    given = batch(seed)
    args = [given[name] for name in names]
    torch.manual_seed(seed)
    out = flat(layer(*args))
    torch.manual_seed(seed)
    wanted = [*(a for a in args if a.requires_grad), *parameters]
    return [out, *torch.autograd.grad(out, wanted, torch.randn(out.shape), allow_unused=True)]


def check_stream(compiled: Any, mine: Any, theirs: Any, names: str) -> None:
    counters.clear()
    for seed in range(BATCHES):
        got = result(compiled, list(mine.parameters()), names, seed)
        for g, w in zip(got, result(theirs, list(theirs.parameters()), names, seed), strict=True):
            if w is not None and g is not None:
                torch.testing.assert_close(g, w, rtol=1e-3, atol=1e-4)
    assert not any("recompile limit" in reason for reason in counters["unimplemented"]), counters["unimplemented"]
    # The limit applies to each frame; a model with eager layers has a frame before and after each of them.
    assert counters["stats"]["unique_graphs"] <= 8 * (1 + len(counters["graph_break"])), counters["stats"]


def pair_of(make: Callable[..., Any]) -> tuple[Any, Any]:
    layers = []
    for packages in ((pyg, pygsd), (ours, ours_directed)):
        torch.manual_seed(1)
        layers.append(make(*packages))
    return layers[0], layers[1]


@pytest.mark.parametrize("name", CASES)
def test_layers(name: str) -> None:
    make, names, whole = CASES[name]
    theirs, mine = pair_of(make)
    torch._dynamo.reset()
    assert torch._dynamo.config.recompile_limit == 8
    check_stream(torch.compile(mine, backend="aot_eager", fullgraph=whole), mine, theirs, names)
    if not whole:
        # Only the lines before the layer runs eagerly may be compiled.
        assert counters["stats"]["unique_graphs"] <= 2


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_model_in_training_and_evaluation(backend: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Model()
    plain = copy.deepcopy(model)
    accelerate(model)
    compiled = torch.compile(model, backend=backend)
    check_stream(compiled, model, plain, "xpn")
    model.eval(), plain.eval()
    with torch.no_grad():
        for seed in range(10):
            given = batch(seed)
            args = [given[name] for name in "xpn"]
            torch.testing.assert_close(compiled(*args), plain(*args), rtol=1e-3, atol=1e-4)
    assert not any("recompile limit" in reason for reason in counters["unimplemented"])


def test_a_change_of_a_batch_in_place_is_detected() -> None:
    torch._dynamo.reset()
    theirs, mine = pair_of(lambda p, s: p.GCNConv(D, 4))
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True)
    for seed in range(6):
        result(compiled, [], "xpw", seed)
    given = batch(7)
    args = [given["x"], given["p"], given["w"]]
    torch.testing.assert_close(compiled(*args), theirs(*args))
    given["w"].mul_(torch.rand_like(given["w"]))
    given["p"][:, :5] = given["p"][:, 5:10].clone()
    torch.testing.assert_close(compiled(*args), theirs(*args))


def test_autocast_around_compiled_code() -> None:
    torch._dynamo.reset()
    _, mine = pair_of(lambda p, s: p.GCNConv(D, 4))
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        for seed in range(8):
            given = batch(seed)
            got, want = (layer(given["x"], given["p"]) for layer in (compiled, mine))
            assert got.dtype == want.dtype
            torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)


def deferred(build_size: int = 12) -> tuple[Deferred, Any, Tensor]:
    from sbp_kernels.pyg.adjacency import _build_pair

    generator = torch.Generator().manual_seed(0)
    pos, neg = (torch.randint(build_size, (2, 30), generator=generator) for _ in range(2))
    options = ((build_size, build_size), "source_to_target", "sym", False)
    graph = lookup_graph(_build_pair, options, pos, None, neg, None)
    recipe = '["_build_pair", ["source_to_target", "sym", false], [true, false, true, false], []]'
    stand_in = Deferred((pos, neg), recipe, options[0])
    assert stand_in.realize() is graph and stand_in.num_rows == build_size
    return stand_in, graph, torch.randn(build_size, 5, dtype=torch.float64, generator=generator, requires_grad=True)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("with_residual", [False, True])
def test_the_op_of_steps(steps: int, with_residual: bool) -> None:
    stand_in, graph, x = deferred()
    residual = torch.randn_like(x).requires_grad_() if with_residual else None
    wanted = [x] if residual is None else [x, residual]
    options = {"alpha": 0.9, "beta": 0.4, "lam": 0.3, "num_steps": steps, "residual": residual}
    outs = [propagate(x, given, **options) for given in (stand_in, graph)]
    torch.testing.assert_close(outs[0], outs[1])
    assert steps or outs[0] is not x
    seed = torch.randn_like(x)
    firsts = [torch.autograd.grad(out, wanted, seed, allow_unused=True, create_graph=True) for out in outs]
    for got, want in zip(*firsts, strict=True):
        torch.testing.assert_close(got, torch.zeros_like(got) if want is None else want)


def test_the_ops_pass_opcheck() -> None:
    stand_in, _, x = deferred()
    graph = (list(stand_in.sources), stand_in.recipe, list(stand_in.size))
    residual, y = (torch.randn_like(x).requires_grad_() for _ in range(2))
    ops = torch.ops.sbp_pyg
    torch.library.opcheck(ops.propagate.default, (x, None, *graph, False, 0.9, 0.4, 0.3, 2))
    torch.library.opcheck(ops.propagate.default, (x, residual, *graph, True, 0.9, 0.4, 0.3, 3))
    torch.library.opcheck(ops.pair.default, (x, *graph))
    torch.library.opcheck(ops.unpair.default, (x, y, *graph))
    torch.autograd.gradcheck(lambda z: pair(z, stand_in), x)
    torch.autograd.gradgradcheck(lambda z: [part.sin() for part in pair(z, stand_in)], x)
