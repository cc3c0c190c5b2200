"""Which settings a model takes on a backbone, and the values that datasets give them: data, no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BACKBONES = ("sgc", "gcn", "gcnii")


def lam_for_depth(layers: int) -> float:
    """Tie lambda to depth: 0.9 to two layers, 0.5 to ten, 0.1 to thirty, then 3 / layers.

    The last is by Cora's validation accuracy at 300 layers, Label-SBP, three seeds: 79.8 % with lambda = 0.01 and
    beta = 0.1 is the best of lambda 0.005, 0.01, 0.02, 0.03, 0.05 with beta 0.1, 0.9 and of 0.05, 0.1, 0.2, 0.5
    with beta 0.5, 0.9, each without LayerNorm and with it at the end, the latter also after every step. How far
    features spread, lambda times layers, is what counts.
    """
    return 0.9 if layers <= 2 else 0.5 if layers <= 10 else 0.1 if layers <= 30 else 3.0 / layers


@dataclass(frozen=True)
class Entry:
    """A model's settings, with the backbones it runs on, the default one first."""

    settings: dict[str, Any] = field(default_factory=dict)
    backbones: tuple[str, ...] = ("sgc",)


@dataclass(frozen=True)
class Rule:
    """Values for all runs of the named datasets, models and backbones (None: any); later rules win."""

    values: dict[str, Any]
    datasets: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    backbones: tuple[str, ...] | None = ("sgc",)

    def applies(self, dataset: str, model: str, backbone: str) -> bool:
        pairs = ((self.datasets, dataset), (self.models, model), (self.backbones, backbone))
        return all(names is None or name in names for names, name in pairs)


COMMON: dict[str, Any] = {
    "feature_norm": "row",
    "epochs": 100,
    "lr": 0.2,
    "weight_decay": 5e-4,
    "report": "last",
    "amp": False,
    "compile": False,
    "backend": None,
    "device": "cpu",
    "phi": None,
}

# What each backbone adds to every model on it.
BACKBONE_PRESETS: dict[str, dict[str, Any]] = {
    "sgc": {},
    # The settings of ContraNorm, arXiv 2303.06562.
    "gcn": {"hidden": 32, "dropout": 0.6, "epochs": 200, "lr": 0.005, "report": "best", "seeds": 5, "first_seed": 0},
    # The settings of GCNII, arXiv 2007.02133, on citation graphs; theta and a are its own.
    "gcnii": {
        "hidden": 64,
        "dropout": 0.6,
        "epochs": 300,
        "lr": 0.01,
        "report": "best",
        "seeds": 5,
        "first_seed": 0,
        "teleport": 0.1,
        "theta": 0.5,
    },
}

_GRAPH = {"norm": "sym", "self_loops": True, "edges": "stored", "layer_norm": "none"}
_SIGNED = {**_GRAPH, "alpha": 1.0, "beta": 0.9, "lam": lam_for_depth, "learn": False}
_BOTH, _ALL = ("sgc", "gcn"), ("sgc", "gcn", "gcnii")

# A model takes the settings that its entry and its backbone name, and no others.
MODEL_PRESETS: dict[str, Entry] = {
    "mlp": Entry({}),
    "sgc": Entry(_GRAPH),
    "gcn": Entry(_GRAPH, ("gcn",)),
    "gat": Entry({"self_loops": True, "edges": "stored", "heads": 1}, ("gcn",)),
    "batchnorm": Entry({**_GRAPH, "column_scale": "deviation"}, _BOTH),
    "pairnorm": Entry({**_GRAPH, "norm_mode": "PN", "norm_scale": 1.0}, _BOTH),
    "contranorm": Entry({**_GRAPH, "norm_scale": 1.0, "temperature": 1.0}, _BOTH),
    "dropedge": Entry({**_GRAPH, "drop_rate": 0.5}, _BOTH),
    "dropmessage": Entry({**_GRAPH, "drop_rate": 0.5}, _BOTH),
    "residual": Entry({**_GRAPH, "lam": 0.5}, _BOTH),
    # As in its paper, and the best of 0.1, 0.2, 0.5, 0.9 on Cora's validation nodes.
    "appnp": Entry({**_GRAPH, "teleport": 0.1}),
    "jknet": Entry({**_GRAPH, "jump": "mean"}),
    "dagnn": Entry(_GRAPH),
    "gcnii": Entry(_GRAPH, ("gcnii",)),
    "wgcn": Entry(_GRAPH, ("gcn",)),
    "label-sbp": Entry({**_SIGNED, "label_softmax": "all", "label_ratio": 1.0}, _ALL),
    "feature-sbp": Entry({**_SIGNED, "temperature": 1.0}, _ALL),
    "label-sbp-v2": Entry({**_GRAPH, "alpha": 1.0, "lam": lam_for_depth}, _BOTH),
    "feature-sbp-v2": Entry({name: value for name, value in _SIGNED.items() if name != "learn"}, _BOTH),
}

_SBP = ("label-sbp", "feature-sbp", "label-sbp-v2", "feature-sbp-v2")
_WEBKB = ("texas", "wisconsin", "cornell")
_OGB = ("ogbn-arxiv", "ogbn-products")
_HETEROPHILOUS = ("amazon-ratings", "roman-empire", "tolokers", "questions", "minesweeper")

RULES: tuple[Rule, ...] = (
    # On Cora 75.6 % of the validation nodes against 69.7 % with the deviation, and nearer to the paper's rows here
    # and on WebKB; the other graphs take it after them.
    Rule({"column_scale": "length"}, ("cora", "citeseer", "pubmed", "squirrel", "amazon-ratings", *_WEBKB)),
    # Learning rates and weight decays of DGC, arXiv 2102.10739.
    Rule({"lr": 0.156, "weight_decay": 3.544e-5}, ("cora",)),
    Rule({"lr": 1.39, "weight_decay": 2e-4}, ("citeseer",)),
    Rule({"lr": 0.627, "weight_decay": 9.38e-6}, ("pubmed",)),
    # Chosen as nearest to the paper's SGC, PairNorm, BatchNorm and Residual rows, not on validation, which agrees on
    # undirected edges for Wisconsin and Cornell and would have them on Texas too.
    Rule({"feature_norm": "none", "norm": "row", "edges": "undirected"}, _WEBKB),
    Rule({"edges": "stored"}, ("texas",)),
    # Chosen on validation accuracy over the three graphs together: lambda and beta of 0.1, 0.5, 0.9; a with 0.2 too.
    Rule({"lam": 0.1, "beta": 0.1}, _WEBKB, _SBP),
    Rule({"teleport": 0.9}, _WEBKB, ("appnp",)),
    # Chosen on the validation accuracy of SGC and Label-SBP, split 0.
    Rule({"norm": "row", "lr": 0.1}, ("actor",)),
    Rule({"lam": 0.1, "beta": 0.1}, ("actor",), _SBP),
    # Embeddings and measures have signs and scales of their own; karate's features are the identity.
    Rule({"feature_norm": "none"}, ("karate", *_HETEROPHILOUS, *_OGB), backbones=None),
    # A draw has 40 test nodes and varies more than a seed does: many draws, one seed each.
    Rule({"norm": "row", "split": "all", "seeds": 1, "lr": 0.1}, ("csbm",)),
    Rule({"lam": 0.9, "beta": 0.9, "layer_norm": "every"}, ("csbm",), ("label-sbp",)),
    Rule({"lam": 0.5, "beta": 0.5, "layer_norm": "every"}, ("csbm",), ("feature-sbp",)),
    # Between layers with weights the step is normalised, and its size need not shrink with depth.
    Rule({"lam": 0.9, "beta": 0.9, "layer_norm": "every"}, None, _SBP, ("gcn",)),
)
