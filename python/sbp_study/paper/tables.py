"""The plan of each table and figure of the paper, and our interpretation where the paper is ambiguous."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .printed_values import NOT_AVAILABLE, PAPER
from .table_plan import Cell, Column, Plan, grid, with_layers, with_learned

# The methods of the SGC backbone whose features are propagated once, before training.
_FIXED = ("mlp", "sgc", "batchnorm", "pairnorm", "contranorm", "residual", "appnp", "jknet", "feature-sbp", "label-sbp")


def make_plan(name: str, datasets: Sequence[str] = (), layers: Sequence[int] = (), learn: bool = False) -> Plan:
    """Return the plan of a table or figure, restricted to `datasets`, with the columns `layers` if they are depths.

    `learn` adds SBP with learned coefficients. Raises ValueError if the plan does not have what is requested.
    """
    plan = PLANS[name]()
    if layers:
        plan = with_layers(plan, layers)
    known = list(dict.fromkeys(cell.dataset for cell in plan.cells))
    unknown = [d for d in datasets if d not in known]
    if unknown:
        raise ValueError(f"{name} has no dataset {', '.join(unknown)}: it has {', '.join(known)}")
    cells = tuple(c for c in plan.cells if not datasets or c.dataset in datasets)
    return replace(plan, cells=with_learned(cells) if learn else cells)


def _table(name: str, cells: Sequence[Cell], **more: Any) -> Plan:
    printed = PAPER[name]
    return Plan(name, printed.title, tuple(cells), unit=printed.unit, **more)


def _by_dataset(name: str, models: Sequence[str]) -> Plan:
    return _table(name, grid(models, [Column(d, d) for d in PAPER[name].columns], name))


def _by_depth(name: str, dataset: str, models: Sequence[str], backbone: str = "sgc", reading: str = "") -> Plan:
    columns = [Column(text, dataset, int(text)) for text in PAPER[name].columns]
    return _table(name, grid(models, columns, name, backbone=backbone), reading=reading, axis="layers")


def _table6() -> Plan:
    names = (*PAPER["table6"].rows, "Label-SBP, softmax")
    cells = [
        Cell("", row, column, "csbm", row, paper=PAPER["table6"].value(row, column))
        for row in names
        for column in PAPER["table6"].columns
    ]
    reading = (
        "Mean of five drawn graphs. The paper's row Label-SBP counts the signs of the label matrix before its softmax. "
        "After the softmax every entry is positive and repels: the last row."
    )
    return _table("table6", cells, reading=reading, measure="imbalance")


def _seconds(name: str, dataset: str, models: Sequence[str]) -> Plan:
    cells = grid(models, [Column(c, dataset) for c in PAPER[name].columns], name)
    reading = (
        "Seconds of one seed on this machine, 2 layers, 100 epochs: median of three runs. For methods that propagate "
        "in every epoch (dropedge, dagnn), all time counts as training. The paper used a different machine."
    )
    return _table(name, [c for c in cells if "beta=0" not in c.row], reading=reading, measure="seconds")


def _table12() -> Plan:
    # These settings have the best validation accuracy over the whole table, 61.9 %. Row-normalized features, edges as
    # stored and LayerNorm after every step are closer to the paper's beta = 20, but reach 59.3 % on validation.
    own = {"lam": 0.1, "layer_norm": "final"}
    columns = [Column(text, "cornell", int(text)) for text in PAPER["table12"].columns]
    cells = grid(("mlp",), columns)
    for row in ("beta=0", *PAPER["table12"].rows):
        beta = float(row.removeprefix("beta="))
        for c in columns:
            paper = PAPER["table12"].value(row, c.name)
            cells.append(Cell("", row, c.name, "cornell", "feature-sbp", c.layers, {**own, "beta": beta}, paper))
    reading = (
        "Feature-SBP: the paper's 72.97 at two layers equals its Feature-SBP value in Table 2, not Label-SBP's. The "
        "settings are chosen on validation accuracy over the table: raw features, lambda = 0.1, LayerNorm at the end. "
        "None of the settings that we tried shows that a larger beta preserves accuracy at greater depth."
    )
    return _table("table12", cells, reading=reading, axis="layers")


def _table14() -> Plan:
    cells: list[Cell] = []
    for dataset in ("cora", "citeseer"):
        name = f"table14 {dataset}"
        columns = [Column(text, dataset, int(text)) for text in PAPER[name].columns]
        cells += grid(("mlp", "gcnii", "feature-sbp", "label-sbp"), columns, name, dataset, backbone="gcnii")
    return Plan("table14", "GCNII, without and with SBP", tuple(cells), axis="layers")


def _fig3() -> Plan:
    columns = [Column(str(n), "cora", n) for n in (2, 10, 50, 100, 300)]
    reading = (
        "Our interpretation of figure 3: accuracy against depth on Cora, SGC backbone, up to 300 layers. SBP has one "
        "setting, chosen on validation accuracy at 300 layers: lambda = 3 / layers above 30, beta = 0.1, no LayerNorm. "
        "ContraNorm's scale is 0.1: with 1, features grow 1.9x per step and overflow float32 long before 300 layers. "
        f"For this figure {NOT_AVAILABLE}."
    )
    cells = grid(_FIXED, columns, beta=0.1, layer_norm="none")
    cells = [replace(c, settings={**c.settings, "norm_scale": 0.1}) if c.model == "contranorm" else c for c in cells]
    return Plan("fig3", "Cora, SGC backbone, by layers", tuple(cells), reading, axis="layers")


def _fig4() -> Plan:
    cells = [
        Cell(d, model, str(n), d, model, n)
        for d in ("csbm", "cora")
        for model in ("sgc", "feature-sbp", "label-sbp")
        for n in (2, 10, 50)
    ]
    reading = (
        "Our interpretation of figure 4: t-SNE (scikit-learn) of the input features of the linear layer, split 0. "
        "The number is the silhouette score of the classes in the plane, from -1 to 1: how well they are separated. "
        f"For this figure {NOT_AVAILABLE}."
    )
    return Plan("fig4", "t-SNE of features, by layers", tuple(cells), reading, "embedding", "layers", "silhouette")


def _fig5() -> Plan:
    cells: list[Cell] = []
    for dataset, layers in (("cora", 2), ("cornell", 2), ("csbm", 10)):
        for setting, values in (
            ("beta", (0.0, 0.1, 0.5, 0.9, 2.0, 5.0)),
            ("lam", (0.1, 0.3, 0.5, 0.7, 0.9)),
            ("label_ratio", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ):
            columns = [Column(f"{v:g}", dataset, layers, {setting: v}) for v in values]
            models = ("label-sbp",) if setting == "label_ratio" else ("feature-sbp", "label-sbp")
            panel = f"{dataset}, {layers} layers, by {setting.replace('_', ' ')}"
            ablated = "beta=0" if setting == "lam" else "no such row"
            found = grid(models, columns, "", panel)
            cells += [c for c in found if "beta=0" not in c.row or ablated in c.row]
    reading = (
        "Our interpretation of figure 5: accuracy against beta, lambda and the fraction of training labels used for "
        f"negative edges; the other settings are those of the presets. For this figure {NOT_AVAILABLE}."
    )
    return Plan("fig5", "by beta, lambda and label ratio", tuple(cells), reading, axis="value")


def _fig6() -> Plan:
    cells: list[Cell] = []
    for layers in (2, 10, 50):
        columns = [Column(f"{phi:g}", "csbm", layers, {"phi": phi}) for phi in (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)]
        cells += grid(("mlp", "sgc", "feature-sbp", "label-sbp"), columns, "", f"csbm, {layers} layers, by phi")
    reading = (
        "Our interpretation of figure 6: accuracy against CSBM's homophily phi, from -1 (all edges between classes) to "
        f"1 (all edges inside a class). For this figure {NOT_AVAILABLE}."
    )
    return Plan("fig6", "CSBM by homophily", tuple(cells), reading, axis="phi")


def _table4() -> Plan:
    reading = (
        f"For Table 4 {NOT_AVAILABLE}, nor are its rows and columns, so there is nothing to run. "
        "table13 has the other heterophilic graphs."
    )
    return Plan("table4", "not available", reading=reading)


_TABLE3 = ("mlp", *PAPER["table3"].rows, "feature-sbp-v2", "label-sbp", "feature-sbp")
_EXACT = "Rows without the paper's values are not in the paper: they are exact where the paper approximates."

PLANS: dict[str, Callable[[], Plan]] = {
    "table2": lambda: _by_dataset("table2", tuple(PAPER["table2"].rows)),
    "table3": lambda: _by_depth("table3", "ogbn-arxiv", _TABLE3, "gcn", _EXACT),
    "table4": _table4,
    "table6": _table6,
    "table8": lambda: _seconds("table8", "cora", tuple(PAPER["table8"].rows)),
    "table9": lambda: _seconds("table9", "ogbn-arxiv", (*PAPER["table9"].rows, "label-sbp", "feature-sbp")),
    "table10": lambda: _by_depth("table10", "csbm", ("mlp", *PAPER["table10"].rows)),
    "table11": lambda: _by_depth("table11", "cora", ("mlp", *PAPER["table11"].rows), "gcn"),
    "table12": _table12,
    "table13": lambda: _by_dataset("table13", ("mlp", *PAPER["table13"].rows)),
    "table14": _table14,
    "table15": lambda: _table15(),
    "fig3": _fig3,
    "fig4": _fig4,
    "fig5": _fig5,
    "fig6": _fig6,
}


def _table15() -> Plan:
    models = ("mlp", *PAPER["table15"].rows, "label-sbp-v2", "feature-sbp-v2", "contranorm")
    reading = f"Our interpretation: SGC backbone for SBP and BatchNorm, GCN backbone for GCN. {_EXACT}"
    return _table("table15", grid(models, [Column("ogbn-products", "ogbn-products")], "table15"), reading=reading)
