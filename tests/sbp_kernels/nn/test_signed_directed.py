"""Accelerated layers of PyGSD against PyGSD's own: outputs and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sbp_kernels.adjacency.sparsity import SparsityPattern

theirs = pytest.importorskip("torch_geometric_signed_directed.nn", reason="PyGSD is not installed")
from sbp_kernels.nn import accelerate, restore  # noqa: E402
from sbp_kernels.nn import signed_directed as ours  # noqa: E402

N, D = 40, 6
# The last nodes have no edges, or only positive ones.
POS = torch.randint(N - 4, (2, 150), generator=torch.Generator().manual_seed(0))
NEG = torch.randint(N - 9, (2, 90), generator=torch.Generator().manual_seed(1))
BOTH = torch.cat([POS, NEG], 1)


def weights(size: int, seed: int, learnable: bool = False) -> Tensor:
    return (torch.rand(size, generator=torch.Generator().manual_seed(seed)) + 0.1).requires_grad_(learnable)


def features(width: int, seed: int = 5) -> Tensor:
    return torch.randn(N, width, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def sparse(edge_index: Tensor) -> Tensor:
    edges = torch.unique(edge_index, dim=1)
    return torch.sparse_coo_tensor(edges.flip(0), torch.rand(edges.size(1)), (N, N)).to_sparse_csr()


def simpa(learnable: bool, directed: bool) -> list[Tensor]:
    x = [features(D, seed) for seed in range(4 if directed else 2)]
    return [POS, weights(150, 2, learnable), NEG, weights(90, 3, learnable), *x]


def magnetic(learnable: bool) -> list[Tensor]:
    signed = weights(240, 4) * torch.tensor([1.0, -1.0, 1.0]).repeat(80)
    return [features(D), features(D, 6), BOTH, signed.detach().requires_grad_(learnable)]


ONE_CLASS = torch.stack([torch.arange(5), torch.arange(1, 6)])
NONE = torch.zeros(2, 0, dtype=torch.int64)
CASES = {
    "SGCN first": ("SGCNConv", (D, 5, True), {}, lambda: [features(D), POS, NEG]),
    "SGCN first, wider": ("SGCNConv", (D, 9, True), {}, lambda: [features(D), POS, NEG]),
    "SGCN later": ("SGCNConv", (D, 5, False), {}, lambda: [features(2 * D), POS, NEG]),
    "SGCN unit length": (
        "SGCNConv",
        (D, 5, False),
        {"norm_emb": True, "bias": False},
        lambda: [features(12), POS, NEG],
    ),
    "SGCN sparse": ("SGCNConv", (D, 5, False), {}, lambda: [features(2 * D), sparse(POS), sparse(NEG)]),
    "SGCN reversed": ("SGCNConv", (D, 5, True), {"flow": "target_to_source"}, lambda: [features(D), POS, NEG]),
    "SGCN bipartite": (
        "SGCNConv",
        (D, 5, True),
        {},
        lambda: [(features(D), torch.randn(N + 3, D)), POS, NEG],
    ),
    "SNEA first": ("SNEAConv", (D, 5, True), {}, lambda: [features(D), POS, NEG]),
    "SNEA later": ("SNEAConv", (D, 5, False), {}, lambda: [features(2 * D), POS, NEG]),
    "SNEA without negative edges": ("SNEAConv", (D, 5, False), {}, lambda: [features(2 * D), ONE_CLASS, NONE]),
    "SNEA without positive edges": (
        "SNEAConv",
        (D, 5, False),
        {"bias": False},
        lambda: [features(2 * D), NONE, ONE_CLASS],
    ),
    "SNEA reversed": ("SNEAConv", (D, 5, False), {"flow": "target_to_source"}, lambda: [features(2 * D), POS, NEG]),
    "SIMPA 1": ("SIMPA", (1, 0.5), {}, lambda: simpa(False, False)),
    "SIMPA 2": ("SIMPA", (2, 0.5), {}, lambda: simpa(False, False)),
    "SIMPA 4, learnable weights": ("SIMPA", (4, 0.3), {}, lambda: simpa(True, False)),
    "SIMPA directed": ("SIMPA", (3, 0.5, True), {}, lambda: simpa(False, True)),
    "MSConv 1": ("MSConv", (D, 5, 1, 0.1, False), {}, lambda: magnetic(False)),
    "MSConv 3": ("MSConv", (D, 5, 3, 0.25, False), {"bias": False}, lambda: magnetic(False)),
    "MSConv reversed": ("MSConv", (D, 5, 2, 0.1, False), {"flow": "source_to_target"}, lambda: magnetic(False)),
    "MSConv, learnable weights": ("MSConv", (D, 5, 2, 0.1, False), {"absolute_degree": False}, lambda: magnetic(True)),
    "MSConv, learnable q": ("MSConv", (D, 5, 2, 0.1, True), {}, lambda: magnetic(False)),
    "MSConv unnormalized": (
        "MSConv",
        (D, 5, 2, 0.1, False),
        {"normalization": None},
        lambda: [*magnetic(False), torch.tensor(9.0)],
    ),
    "MSConv unweighted": ("MSConv", (D, 5, 2, 0.1, False), {}, lambda: magnetic(False)[:3]),
}


def flat(out: Tensor | tuple[Tensor, ...]) -> Tensor:
    return out if isinstance(out, Tensor) else torch.cat(out, 1)


def pair(name: str) -> tuple[torch.nn.Module, torch.nn.Module, list]:
    kind, args, kwargs, make = CASES[name]
    torch.manual_seed(3)
    a, b = getattr(theirs, kind)(*args, **kwargs), getattr(ours, kind)(*args, **kwargs)
    with torch.no_grad():
        for p in a.parameters():
            p.copy_(torch.rand_like(p) * 0.2 if p.numel() == 1 else torch.randn_like(p))
    b.load_state_dict(a.state_dict())
    return a, b, make()


def gradients(layer: torch.nn.Module, args: list, out: Tensor, seed: Tensor) -> list[Tensor | None]:
    leaves = [t for a in args for t in (a if isinstance(a, tuple) else (a,)) if isinstance(t, Tensor)]
    leaves = [t for t in leaves if t.requires_grad] + list(layer.parameters())
    return list(torch.autograd.grad(out, leaves, seed, allow_unused=True))


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_equal_those_of_pygsd(name):
    a, b, args = pair(name)
    assert isinstance(b, type(a)) and list(a.state_dict()) == list(b.state_dict())
    want, got = flat(a(*args)), flat(b(*args))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    seed = torch.randn(want.shape, generator=torch.Generator().manual_seed(9)) / want.size(0)
    pairs = zip(gradients(b, args, got, seed), gradients(a, args, want, seed), strict=True)
    for gradient, expected in pairs:
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_the_largest_eigenvalue():
    a, b, args = pair("MSConv unnormalized")
    # ARPACK starts with a random vector and converges to single precision.
    torch.testing.assert_close(flat(b(*args[:-1])), flat(a(*args[:-1])), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["SGCN later", "SNEA later", "SIMPA 2", "MSConv 3", "MSConv, learnable q"])
def test_graphs_are_built_once(name, monkeypatch):
    _, layer, args = pair(name)
    want = flat(layer(*args))

    def again(*_):
        raise AssertionError("sorted again")

    monkeypatch.setattr(SparsityPattern, "from_coo", again)
    assert torch.equal(flat(layer(*args)), want)


def test_a_change_in_place_is_detected():
    a, b, _ = pair("SIMPA 2")
    args = simpa(False, False)
    b(*args)
    args[1].mul_(torch.rand(150))
    torch.testing.assert_close(b(*args), a(*args), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["SGCN later", "SNEA first", "SNEA later", "SIMPA 2", "MSConv 3"])
def test_compile_without_a_graph_break(name):
    torch._dynamo.reset()
    _, layer, args = pair(name)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(flat(compiled(*args)), flat(layer(*args)))


SIGNED = torch.cat([BOTH, torch.ones(1, 240).long().index_fill(1, torch.arange(150, 240), -1)]).t()
MODELS = {
    "SGCN": (lambda: theirs.SGCN(N, SIGNED, 8, 8, init_emb=torch.randn(N, 8)), list),
    "SNEA": (lambda: theirs.SNEA(N, SIGNED, 8, 8, init_emb=torch.randn(N, 8)), list),
    "SSSNET": (
        lambda: theirs.SSSNET_node_clustering(D, 8, 3, 0.0, 2, 0.5),
        lambda: [POS, weights(150, 2), NEG, weights(90, 3), features(D)],
    ),
    "MSGNN": (lambda: theirs.MSGNN_node_classification(D, 8, 0.1), lambda: magnetic(False)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_accelerated_in_place(name):
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model, args = make().eval(), inputs()
    out = model(*args)
    want, state = out[0] if isinstance(out, tuple) else out, list(model.state_dict())
    swapped, left = accelerate(model)
    assert len(swapped) == (1 if name == "SSSNET" else 2), swapped
    # The layers inside a SIMPA do not run any more, so the report does not list them.
    assert not left and not accelerate(model).left
    out = model(*args)
    torch.testing.assert_close(out[0] if isinstance(out, tuple) else out, want, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == state
    restore(model)
    assert not any(type(module) in ours.LAYERS.values() for module in model.modules())


def test_pygsd_runs_what_a_fused_pass_cannot():
    torch.manual_seed(0)
    layer = ours.SGCNConv(D, 5, True, aggr="max")
    torch.manual_seed(0)
    want = theirs.SGCNConv(D, 5, True, aggr="max")(features(D), POS, NEG)
    with pytest.warns(UserWarning, match="runs PyG's own forward: its aggregation is 'max'"):
        assert torch.equal(layer(features(D), POS, NEG), want)


def test_errors():
    with pytest.raises(ValueError, match="needs x_pt and x_nt"):
        ours.SIMPA(2, 0.5, True)(*simpa(False, False))
    with pytest.raises(ValueError, match="needs lambda_max"):
        ours.MSConv(D, 5, 2, 0.1, True, normalization=None)(*magnetic(False))
