"""torch.jit.script, torch.jit.trace and torch.export of every layer give PyG's results, also for other edges."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor

import sbp_kernels.nn as ours
from sbp_kernels.nn import accelerate, restore
from sbp_kernels.nn.replacement import pyg_class
from sbp_kernels.pyg import adjacency, signed_adjacency
from tests.sbp_kernels.nn.layers import edges

pygsd = pytest.importorskip("torch_geometric_signed_directed.nn", reason="PyGSD is not installed")
import sbp_kernels.nn.signed_directed as ours_directed  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*was assigned during export", "error:.*runs PyG's own forward"),
]

N, D = 13, 6


def arguments(names: str, seed: int) -> list[Tensor]:
    """Return features x, edges p and n with weights w and v, labels y and k, in the same shapes for every seed."""
    generator = torch.Generator().manual_seed(seed)
    edge = lambda size: torch.randint(N - 2, (2, size), generator=generator)  # noqa: E731
    rand = lambda *shape: torch.rand(shape, generator=generator) + 0.1  # noqa: E731
    known = lambda: torch.rand(N, generator=generator) < 0.5  # noqa: E731
    make: dict[str, Callable[[], Tensor]] = {
        "x": lambda: rand(N, D),
        "p": lambda: edge(40),
        "n": lambda: edge(30),
        "w": lambda: rand(40),
        "v": lambda: rand(30),
        "y": lambda: torch.randint(3, (N,), generator=generator),
        "k": known,
    }
    return [make[name]() for name in names]


class Stack(torch.nn.Module):
    """A model that contains layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = pyg.GCNConv(D, 8), pyg.GCNConv(8, 3, normalize=False)
        self.norm = pyg.PairNorm()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        x = self.norm(self.first(x, edge_index, edge_weight).relu())
        return self.second(x, edge_index, edge_weight)


CASES: dict[str, tuple[Callable[..., Any], str]] = {
    "GCNConv": (lambda p, s: p.GCNConv(D, 4), "xp"),
    "GCNConv weighted": (lambda p, s: p.GCNConv(D, 4, improved=True, bias=False), "xpw"),
    "SGConv": (lambda p, s: p.SGConv(D, 4, K=2), "xpw"),
    "LGConv": (lambda p, s: p.LGConv(), "xpw"),
    "APPNP": (lambda p, s: p.APPNP(3, 0.1), "xpw"),
    "APPNP dropout": (lambda p, s: p.APPNP(3, 0.1, dropout=0.5).eval(), "xpw"),
    "GCN2Conv": (lambda p, s: p.GCN2Conv(D, 0.1, 0.5, 2, shared_weights=False), "xxpw"),
    "FAConv": (lambda p, s: p.FAConv(D), "xxp"),
    "FAConv plain": (lambda p, s: p.FAConv(D, normalize=False), "xxpw"),
    "SignedConv first": (lambda p, s: p.SignedConv(D, 4, True), "xpn"),
    "SignedConv later": (lambda p, s: p.SignedConv(D // 2, 4, False), "xpn"),
    "SignedGCN": (lambda p, s: p.SignedGCN(D, 8, 2), "xpn"),
    "PairNorm": (lambda p, s: p.PairNorm(), "x"),
    "PairNorm each": (lambda p, s: p.PairNorm(scale_individually=True), "x"),
    "SGCNConv first": (lambda p, s: s.SGCNConv(D, 4, True), "xpn"),
    "SGCNConv later": (lambda p, s: s.SGCNConv(D // 2, 4, False), "xpn"),
    "SNEAConv": (lambda p, s: s.SNEAConv(D // 2, 4, False), "xpn"),
    "SIMPA": (lambda p, s: s.SIMPA(2, 0.5), "pwnvxx"),
    "SIMPA directed": (lambda p, s: s.SIMPA(2, 0.5, True), "pwnvxxxx"),
    "MSConv": (lambda p, s: s.MSConv(D, 4, 2, 0.1, False), "xxpw"),
}
MODELS: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "GCN": (lambda: pyg.GCN(D, 8, 2, 4, norm="pair_norm"), "xp"),
    "stack": (Stack, "xpw"),
    "SignedGCN": (lambda: pyg.SignedGCN(D, 8, 2), "xpn"),
}


def script(layer: torch.nn.Module, args: list[Tensor]) -> Any:
    return torch.jit.script(layer)


def trace(layer: torch.nn.Module, args: list[Tensor]) -> Any:
    return torch.jit.trace(layer, tuple(args), check_trace=False)


def export(layer: torch.nn.Module, args: list[Tensor]) -> Any:
    return torch.export.export(layer, tuple(args)).module()


def export_strict(layer: torch.nn.Module, args: list[Tensor]) -> Any:
    return torch.export.export(layer, tuple(args), strict=True).module()


# Strict export runs dynamo: 4 seconds a layer.
PROGRAMS = [script, trace, export, pytest.param(export_strict, marks=pytest.mark.slow)]


def flat(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else torch.cat([flat(part) for part in out], -1)


def outcome(program: Callable[..., Any], layer: torch.nn.Module, names: str) -> Any:
    """Return the outputs for the recorded arguments and for others of the same shapes, or the class of the error."""
    torch._dynamo.reset()
    try:
        compiled = program(layer, arguments(names, 0))
        return [flat(compiled(*arguments(names, seed))) for seed in (0, 1, 2)]
    except Exception as error:
        return type(error)


def same_outcome(got: Any, want: Any) -> None:
    if isinstance(want, type):
        assert got is want
    else:
        assert not isinstance(got, type), got
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def pair(name: str) -> tuple[torch.nn.Module, torch.nn.Module, str]:
    make, names = CASES[name]
    layers = []
    for packages in ((pyg, pygsd), (ours, ours_directed)):
        torch.manual_seed(1)
        layers.append(make(*packages))
    return layers[0], layers[1], names


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", CASES)
def test_programs_of_layers_equal_those_of_pyg(name: str, program: Callable[..., Any]) -> None:
    theirs, mine, names = pair(name)
    kind = type(mine)
    want = outcome(program, theirs, names)
    same_outcome(outcome(program, mine, names), want)
    # The program agrees with PyG's if PyG supports it; the layer itself is unchanged.
    if not isinstance(want, type):
        got = [flat(mine(*arguments(names, seed))) for seed in (0, 1, 2)]
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    else:
        mine(*arguments(names, 0))
    assert type(mine) is kind


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_programs_of_accelerated_models(name: str, program: Callable[..., Any]) -> None:
    make, names = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    plain = copy.deepcopy(model)
    swapped = accelerate(model).swapped
    want = [plain(*arguments(names, seed)) for seed in (0, 1, 2)]
    same_outcome(outcome(program, model, names), outcome(program, plain, names))
    # The layers of the model are still accelerated, under the same names.
    torch.testing.assert_close(model(*arguments(names, 1)), want[1], rtol=1e-4, atol=1e-5)
    assert {k: type(m).__name__ for k, m in model.named_modules() if k in swapped} == swapped
    assert all(type(m).__module__.startswith("sbp_kernels.") for k, m in model.named_modules() if k in swapped)
    assert restore(model).swapped.keys() == swapped.keys()


def test_programs_do_not_import_this_package() -> None:
    model = Stack().eval()
    accelerate(model)
    args = arguments("xpw", 0)
    for program in (script, trace):
        compiled = program(model, args)
        assert "sbp::" not in str(compiled.inlined_graph) and "sbp_pyg" not in str(compiled.inlined_graph)
    # A script of PyG's own GCNConv does not load with torch 2.13, so a script of the accelerated one does not either.
    file = io.BytesIO()
    torch.jit.save(compiled, file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(*args), model(*args), rtol=1e-4, atol=1e-5)
    assert "sbp" not in str(torch.export.export(model, tuple(args)).graph)


def test_a_scripted_layer_is_accelerated_again_after_a_call() -> None:
    args = arguments("xpw", 0)
    conv = ours.GCNConv(D, 4)
    want = conv(*args)
    torch.jit.script(conv)
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv)), copy.copy(conv)):
        assert type(other) is ours.GCNConv and torch.equal(other(*args), want)
    torch.jit.script(conv)
    assert not accelerate(conv).left and type(conv) is ours.GCNConv
    torch.jit.script(conv)
    assert restore(conv).swapped == {"": "GCNConv"} and type(conv) is pyg.GCNConv
    torch.testing.assert_close(torch.jit.script(conv)(*args), want, rtol=1e-4, atol=1e-5)


def test_a_scripted_layer_keeps_hooks_and_explainers() -> None:
    conv, args, seen = pyg.GCNConv(D, 4), arguments("xp", 0), []
    accelerate(conv)
    torch.jit.script(conv)
    conv.register_forward_pre_hook(lambda *_: seen.append(1))
    conv(*args)
    assert seen == [1]


def test_torchscript_of_a_subclass_raises() -> None:
    class Mine(ours.GCNConv):
        def message(self, x_j, edge_weight):
            return 2 * x_j

    with pytest.raises(NotImplementedError, match=r"cannot compile Mine, a subclass of sbp_kernels\.nn\.GCNConv"):
        torch.jit.script(Mine(D, 4))
    for layer in (ours.SBPConv(), ours.ContraNorm()):
        with pytest.raises(NotImplementedError, match=f"TorchScript cannot compile {type(layer).__name__}"):
            torch.jit.script(layer)


class Labels(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = ours.SBPConv(0.9, 0.5, 0.3)

    def forward(self, x: Tensor, edge_index: Tensor, y: Tensor, known: Tensor) -> Tensor:
        return self.conv(x, edge_index, y=y, known=known)


OWN: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "negative edges": (lambda: ours.SBPConv(0.9, 0.5, 0.3, num_steps=2), "xpn"),
    "unsigned": (lambda: ours.SBPConv(0.9, 0.5, 0.3), "xp"),
    "learnable": (lambda: ours.SBPConv(0.9, 0.5, num_steps=2, learnable=["lam", "beta"], layer_norm=True), "xpn"),
    "labels": (Labels, "xpyk"),
    "ContraNorm": (lambda: ours.ContraNorm(0.3), "x"),
    "ContraNorm, channels": (lambda: ours.ContraNorm(0.3, normalize=False, channels=D), "x"),
}


@pytest.mark.parametrize("program", PROGRAMS[1:], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", OWN)
def test_programs_of_layers_that_pyg_does_not_have(name: str, program: Callable[..., Any]) -> None:
    make, names = OWN[name]
    layer = make()
    same_outcome(outcome(program, layer, names), [layer(*arguments(names, seed)) for seed in (0, 1, 2)])


def test_gradients_of_a_program_that_looks_up_its_graph() -> None:
    layer, args = ours.SBPConv(0.9, 0.5, 0.3, num_steps=3, learnable=["alpha"]), arguments("xpn", 0)
    exported = export(layer, args)
    x = args[0].requires_grad_()
    grads = [torch.autograd.grad(f(*args).square().sum(), [x, *f.parameters()]) for f in (layer, exported)]
    torch.testing.assert_close(grads[1], grads[0])


class OwnGraph(torch.nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x * adjacency(edge_index, size=N).pos.num_edges + signed_adjacency(edge_index, edge_index).num_rows


@pytest.mark.parametrize("program", PROGRAMS[1:3], ids=lambda f: f.__name__)
def test_edges_that_would_become_constants_raise(program: Callable[..., Any]) -> None:
    args = arguments("xp", 0)
    with pytest.raises(NotImplementedError, match="would make the edges constants of the program"):
        program(OwnGraph(), args)
    x0 = torch.rand(N, 3, requires_grad=True)

    class Learnable(torch.nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return ours.SBPConv()(x, edge_index, x0=x0)

    with pytest.raises(NotImplementedError, match="would make the edges constants of the program"):
        program(Learnable(), args)


def test_every_replaced_layer_is_tested() -> None:
    from sbp_kernels.nn.accelerate import LAYERS

    tested = {type(pair(name)[1]) for name in CASES}
    assert tested == {*LAYERS.values(), *ours_directed.LAYERS.values()}
    assert all(issubclass(kind, pyg_class(kind)) for kind in tested)


def test_a_program_of_edges_with_loops_and_duplicates() -> None:
    conv = ours.GCNConv(D, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(conv, (torch.rand(N, D), edges(0)), check_trace=False)
    x, other = torch.rand(N, D), edges(5)
    torch.testing.assert_close(traced(x, other), conv(x, other), rtol=1e-4, atol=1e-5)
