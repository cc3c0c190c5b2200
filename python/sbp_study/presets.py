"""Presets, as data: the settings of each model and backbone, and their values on each dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BACKBONES = ("sgc", "gcn", "gcnii")


def lam_for_depth(layers: int) -> float:
    """Return lambda for a depth: 0.9 up to 2 layers, 0.5 up to 10, 0.1 up to 30, then 3 / layers.

    The last rule was chosen on Cora's validation accuracy at 300 layers, with Label-SBP and three seeds: lambda = 0.01
    and beta = 0.1 reach 79.8 %. This is the best of lambda in {0.005, 0.01, 0.02, 0.03, 0.05} with beta in {0.1, 0.9}
    and of lambda in {0.05, 0.1, 0.2, 0.5} with beta in {0.5, 0.9}. Each was run without LayerNorm and with it at the
    end, the second grid also with LayerNorm after every step. Accuracy depends on lambda times layers.
    """
    return 0.9 if layers <= 2 else 0.5 if layers <= 10 else 0.1 if layers <= 30 else 3.0 / layers


@dataclass(frozen=True)
class Entry:
    """The settings of a model, and the backbones it runs on. The first backbone is the default."""

    settings: dict[str, Any] = field(default_factory=dict)
    backbones: tuple[str, ...] = ("sgc",)


@dataclass(frozen=True)
class Rule:
    """Values for all runs of the named datasets, models and backbones (None: any). Later rules win."""

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

# Settings that a backbone adds to every model on it.
BACKBONE_PRESETS: dict[str, dict[str, Any]] = {
    "sgc": {},
    # These are the settings of ContraNorm, arXiv 2303.06562.
    "gcn": {"hidden": 32, "dropout": 0.6, "epochs": 200, "lr": 0.005, "report": "best", "seeds": 5, "first_seed": 0},
    # These are the settings of GCNII, arXiv 2007.02133, on citation graphs; only GCNII has theta and a.
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
    # 0.1 is the value of the APPNP paper and the best of 0.1, 0.2, 0.5, 0.9 on Cora's validation nodes.
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
    # On Cora, "length" reaches 75.6 % validation accuracy, "deviation" 69.7 %. On Cora and WebKB "length" is also
    # closer to the paper's rows; the other graphs use it by analogy.
    Rule({"column_scale": "length"}, ("cora", "citeseer", "pubmed", "squirrel", "amazon-ratings", *_WEBKB)),
    # Learning rates and weight decays are those of DGC, arXiv 2102.10739.
    Rule({"lr": 0.156, "weight_decay": 3.544e-5}, ("cora",)),
    Rule({"lr": 1.39, "weight_decay": 2e-4}, ("citeseer",)),
    Rule({"lr": 0.627, "weight_decay": 9.38e-6}, ("pubmed",)),
    # These values were chosen because they are closest to the paper's rows SGC, PairNorm, BatchNorm and Residual, not
    # on validation accuracy. Validation accuracy prefers undirected edges on all three graphs, Texas included.
    Rule({"feature_norm": "none", "norm": "row", "edges": "undirected"}, _WEBKB),
    Rule({"edges": "stored"}, ("texas",)),
    # Chosen on the validation accuracy of the three graphs: lambda and beta from {0.1, 0.5, 0.9}, a also from 0.2.
    Rule({"lam": 0.1, "beta": 0.1}, _WEBKB, _SBP),
    Rule({"teleport": 0.9}, _WEBKB, ("appnp",)),
    # Chosen on the validation accuracy of SGC and Label-SBP on split 0.
    Rule({"norm": "row", "lr": 0.1}, ("actor",)),
    Rule({"lam": 0.1, "beta": 0.1}, ("actor",), _SBP),
    # These features are embeddings or measurements with their own signs and scales; karate has identity features.
    Rule({"feature_norm": "none"}, ("karate", *_HETEROPHILOUS, *_OGB), backbones=None),
    # A drawn graph has 40 test nodes, so accuracy varies more between graphs than between seeds: one seed per graph.
    Rule({"norm": "row", "split": "all", "seeds": 1, "lr": 0.1}, ("csbm",)),
    Rule({"lam": 0.9, "beta": 0.9, "layer_norm": "every"}, ("csbm",), ("label-sbp",)),
    Rule({"lam": 0.5, "beta": 0.5, "layer_norm": "every"}, ("csbm",), ("feature-sbp",)),
    # Between layers with weights the step is normalized, so lambda need not decrease with depth.
    Rule({"lam": 0.9, "beta": 0.9, "layer_norm": "every"}, None, _SBP, ("gcn",)),
)
