"""An accelerated PyG model keeps its parameters, optimizer, hooks and results; PyG's code runs what cannot be fused."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
import torch_geometric.nn as pyg
from torch_geometric.explain import Explainer, GNNExplainer

import sbp_kernels.nn as ours
from sbp_kernels.nn import accelerate, restore
from sbp_kernels.nn.accelerate import LAYERS
from tests.sbp_kernels.nn.layers import edges


class Deep(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = pyg.Linear(6, 8)
        self.convs = torch.nn.ModuleList(pyg.GCN2Conv(8, 0.1, 0.5, i + 1, cached=True) for i in range(4))
        self.norm, self.attention = pyg.PairNorm(), pyg.GATConv(8, 5)

    def forward(self, x, edge_index):
        x = x_0 = self.first(x).relu()
        for conv in self.convs:
            x = self.norm(conv(x, x_0, edge_index)).relu()
        return self.attention(x, edge_index)


MODELS = {
    "GCN": lambda: pyg.GCN(6, 8, num_layers=3, out_channels=4, dropout=0.3, norm="batch"),
    "Sequential": lambda: pyg.Sequential(
        "x, edge_index", [(pyg.SGConv(6, 8, K=2), "x, edge_index -> x"), torch.nn.ReLU(), pyg.Linear(8, 3)]
    ),
    "lists": Deep,
    "one layer": lambda: pyg.GCNConv(-1, 5),
    "LightGCN": lambda: pyg.LightGCN(13, 6, num_layers=2),
}


def arguments_of(name):
    torch.manual_seed(0)
    x = torch.randn(13, 6)
    return (edges(0),) if name == "LightGCN" else (x, edges(0))


def train(model, optimizer, arguments, steps=3):
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = model(*arguments).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("name", MODELS)
def test_training_continues_with_the_same_losses(name):
    torch.manual_seed(0)
    plain, arguments = MODELS[name](), arguments_of(name)
    if name == "one layer":
        plain(*arguments)
    model = copy.deepcopy(plain)
    parameters, keys, text = list(model.parameters()), list(model.state_dict()), str(model)
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.01) for m in (plain, model)]
    train(plain, optimizers[0], arguments), train(model, optimizers[1], arguments)
    report = accelerate(model)
    assert report.swapped and all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == keys and str(model) == text
    want = train(plain, optimizers[0], arguments)
    assert train(model, optimizers[1], arguments) == pytest.approx(want, rel=1e-4)
    assert restore(model).swapped.keys() == report.swapped.keys()
    assert {type(m) for m in model.modules()} == {type(m) for m in plain.modules()}
    want = train(plain, optimizers[0], arguments)
    assert train(model, optimizers[1], arguments) == pytest.approx(want, rel=1e-4)


def test_the_report_of_a_model():
    class Mine(pyg.GCNConv):
        pass

    model = torch.nn.ModuleList([Deep(), Mine(6, 2), pyg.GCNConv(6, 2, aggr="max"), pyg.SignedGCN(6, 8, 2)])
    report = accelerate(model)
    assert report.swapped["0.convs.3"] == "GCN2Conv" and report.swapped["3.convs.0"] == "SignedConv"
    assert report.left == {
        "0.attention": "no accelerated GATConv",
        "1": "Mine is a subclass of GCNConv",
        "2": "its aggregation is 'max', not one of add, sum",
    }
    assert "swapped 3.conv1: SignedConv" in str(report) and "left    1: Mine is" in str(report)
    assert not accelerate(model).swapped and str(accelerate(torch.nn.Linear(2, 2))) == "nothing to swap"


def test_the_report_lists_modules_that_run():
    class MyNorm(pyg.PairNorm):
        pass

    class MyModel(pyg.SignedGCN):
        pass

    shared = pyg.GCNConv(6, 6)
    model = torch.nn.ModuleDict(
        {
            "norm": pyg.PairNorm(),
            "each": pyg.PairNorm(scale_individually=True),
            "mine": MyNorm(),
            "signed": pyg.SignedGCN(6, 8, 2),
            "subclass": MyModel(6, 8, 1),
            "first": shared,
            "second": torch.nn.Sequential(shared),
            "own": ours.GCNConv(6, 2),
            "sbp": ours.SBPConv(),
        }
    )
    before = {name: type(module) for name, module in model.named_modules()}
    report = accelerate(model)
    assert report.swapped == {
        "norm": "PairNorm",
        "signed": "SignedGCN",
        "signed.conv1": "SignedConv",
        "signed.convs.0": "SignedConv",
        "subclass.conv1": "SignedConv",
        "first": "GCNConv",
    }
    assert report.left == {
        "each": "scale_individually=True needs the norm of every row",
        "mine": "MyNorm is a subclass of PairNorm",
        "subclass": "MyModel is a subclass of SignedGCN",
    }
    # The report agrees with the classes of the modules.
    after = {name: type(module) for name, module in model.named_modules()}
    assert {name for name in after if after[name] is not before[name]} == set(report.swapped)
    assert all(after[name].__module__.startswith("sbp_kernels.") for name in report.swapped)
    # A second call changes nothing and reports no swaps.
    again = accelerate(model)
    assert not again.swapped and again.left == report.left
    assert {name: type(module) for name, module in model.named_modules()} == after
    undone = restore(model)
    assert set(undone.swapped) == {*report.swapped, "own"} and undone.left == {"sbp": "PyG has no SBPConv"}
    before["own"] = pyg.GCNConv
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert not restore(model).swapped and model["second"][0] is shared


def test_a_restored_layer_equals_one_of_pyg():
    """PyG inspects and pickles it as one of its own, even if it was created as an accelerated layer."""
    mine, theirs = ours.SignedGCN(6, 8, 2), pyg.SignedGCN(6, 8, 2)
    accelerate(theirs), restore(theirs), restore(mine)
    for module in (*mine.modules(), *theirs.modules()):
        assert type(module).__module__.startswith(("torch_geometric.", "torch."))
        if isinstance(module, pyg.MessagePassing):
            assert module.inspector._cls is type(module)
    for a, b in zip(mine.modules(), theirs.modules(), strict=True):
        assert a.__dict__.keys() == b.__dict__.keys()
    assert b"sbp_kernels" not in pickle.dumps(mine)


@pytest.mark.parametrize("function", [accelerate, restore])
def test_only_modules_are_accelerated(function):
    with pytest.raises(ValueError, match="got the class GCN instead of an instance of it"):
        function(pyg.GCN)
    for model in (None, [pyg.GCNConv(6, 4)], pyg.GCNConv(6, 4).state_dict(), "model", lambda x: x):
        with pytest.raises(ValueError, match=f"model must be a torch.nn.Module, got {type(model).__name__}"):
            function(model)


def test_one_warning_per_layer_and_reason():
    conv, arguments = ours.GCNConv(6, 4), arguments_of("GCN")
    handle = conv.register_message_forward_hook(lambda module, inputs, out: out)
    keys, state = list(conv.__dict__), list(conv.state_dict())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(20):
            conv(*arguments)
        assert len(seen) == 1
        # Another reason or another layer causes another warning.
        conv.aggr = "max"
        for _ in range(5):
            conv(*arguments)
        assert len(seen) == 2
        other = copy.deepcopy(conv)
        for _ in range(5):
            other(*arguments)
        assert len(seen) == 3
        conv.aggr = "add"
        handle.remove()
        conv(*arguments)
        assert len(seen) == 3
    # The warnings are not stored in the layer.
    assert list(conv.__dict__) == keys and list(conv.state_dict()) == state


def test_an_explainer_warns_once_per_layer():
    torch.manual_seed(0)
    model, arguments = pyg.GCN(6, 8, num_layers=2, out_channels=3), arguments_of("GCN")
    accelerate(model)
    explainer = Explainer(
        model,
        GNNExplainer(epochs=20),
        explanation_type="model",
        edge_mask_type="object",
        model_config=dict(mode="multiclass_classification", task_level="node", return_type="raw"),
    )
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(3):
            explainer(*arguments)
    assert len([w for w in seen if "runs PyG's own forward: an explainer" in str(w.message)]) == 2


def test_modules_keep_hooks_and_mode():
    conv, seen = pyg.GCNConv(6, 4).eval(), []
    conv.register_forward_hook(lambda *_: seen.append("after"))
    conv.register_forward_pre_hook(lambda *_: seen.append("before"))
    accelerate(conv)
    conv(*arguments_of("GCN"))
    assert seen == ["before", "after"] and not conv.training


def test_copies_and_pickles():
    model, arguments = Deep(), arguments_of("lists")
    accelerate(model)
    want = model(*arguments)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other.convs[0]) is ours.GCN2Conv
        torch.testing.assert_close(other(*arguments), want)


def hooked(conv):
    conv.register_message_forward_hook(lambda module, inputs, out: 2 * out)


def custom_message(conv):
    conv.message = lambda x_j, edge_weight: 3 * x_j


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (hooked, "a hook in _message_forward_hooks"),
        (custom_message, r"its own message\(\)"),
        (lambda conv: setattr(conv, "aggr", "max"), "its aggregation is 'max'"),
    ],
)
def test_pyg_runs_what_a_fused_pass_cannot(change, reason):
    arguments = arguments_of("GCN")
    layers = []
    for package in (pyg, ours):
        torch.manual_seed(0)
        layers.append(package.GCNConv(6, 4))
        change(layers[-1])
    with pytest.warns(UserWarning, match=f"GCNConv runs PyG's own forward: .*{reason}"):
        got = layers[1](*arguments)
    torch.testing.assert_close(got, layers[0](*arguments))
    report = accelerate(layers[0])
    assert not report.swapped and type(layers[0]) is pyg.GCNConv and list(report.left) == [""]


def test_a_subclass_with_its_custom_message():
    class Doubled(ours.GCNConv):
        def message(self, x_j, edge_weight):
            return 2 * edge_weight.view(-1, 1) * x_j

    torch.manual_seed(0)
    doubled = Doubled(6, 4)
    torch.manual_seed(0)
    want = 2 * ours.GCNConv(6, 4)(*arguments_of("GCN"))
    with pytest.warns(UserWarning, match=r"Doubled has its own message\(\)"):
        torch.testing.assert_close(doubled(*arguments_of("GCN")), want)


def test_an_explainer_sees_the_messages():
    torch.manual_seed(0)
    model, arguments = pyg.GCN(6, 8, num_layers=2, out_channels=3), arguments_of("GCN")
    masks = []
    for swap in (False, True):
        if swap:
            accelerate(model)
        torch.manual_seed(1)
        explainer = Explainer(
            model,
            GNNExplainer(epochs=3),
            explanation_type="model",
            edge_mask_type="object",
            model_config=dict(mode="multiclass_classification", task_level="node", return_type="raw"),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            masks.append(explainer(*arguments).edge_mask)
    torch.testing.assert_close(masks[1], masks[0], rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(*arguments)


def test_accelerated_classes_add_no_state():
    for pyg_layer, accelerated in LAYERS.items():
        assert issubclass(accelerated, pyg_layer) and accelerated.__name__ == pyg_layer.__name__
        if accelerated is not ours.SignedGCN:
            assert accelerated.__init__ is pyg_layer.__init__
