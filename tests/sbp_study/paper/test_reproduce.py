"""Tables and figures of the paper: every command on synthetic graphs, skipped cells, and resuming."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sbp_study import Options
from sbp_study.cli.commands import main
from sbp_study.config import resolve
from sbp_study.paper.printed_values import PAPER
from sbp_study.paper.reproduce import Request, reproduce
from sbp_study.paper.tables import PLANS, make_plan
from sbp_study.reporting import paper_comparison
from sbp_study.training import runner
from sbp_study.training.limits import too_large
from sbp_study.training.run_cache import RunCache

# The largest and deepest tables, restricted to cells that still cover all their features.
RESTRICTED = {
    "table2": ["--datasets", "cora,texas"],
    "table10": ["--layers", "2,20"],
    "table11": ["--layers", "2,16"],
    "table14": ["--datasets", "citeseer", "--layers", "2,8"],
    "fig3": ["--layers", "2,40"],
    "fig4": ["--datasets", "csbm", "--layers", "2"],
    "fig5": ["--datasets", "cora"],
}


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["reproduce", *argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


@pytest.mark.parametrize("name", PLANS)
def test_every_command_on_synthetic_graphs(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = _json(capsys, name, "--quick", "--out", str(tmp_path), *RESTRICTED.get(name, []))
    assert found["name"] == name and json.loads((tmp_path / f"{name}.json").read_text()) == found
    assert found["reading"].startswith("These numbers are meaningless: they come from synthetic graphs")
    if name == "table4":
        assert found["cells"] == [] and "the paper's values are not available here" in found["reading"]
        return
    # 50 steps with beta = 50 and only a final LayerNorm overflow float32 on some graphs.
    empty = [cell for cell in found["cells"] if cell["ours_mean"] is None]
    assert all(name == "table12" and cell["note"] == "its features are no longer finite numbers" for cell in empty), (
        empty
    )
    with (tmp_path / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["cells"]) and {row["table"] for row in rows} == {name}
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / f"{name}.svg").stat().st_size
    if name.startswith("fig"):
        assert "Our interpretation of figure" in found["reading"] and "not available" in found["reading"]
        assert all(cell["paper"] is None for cell in found["cells"])
    else:
        assert any(cell["paper"] is not None for cell in found["cells"])


def test_the_printed_values_of_the_paper() -> None:
    for printed in PAPER.values():
        assert all(len(values) == len(printed.columns) for values in printed.rows.values())
    assert PAPER["table2"].value("label-sbp", "texas") == 78.38
    assert PAPER["table3"].value("contranorm", "16") == "out of memory"
    assert PAPER["table6"].value("Label-SBP", "SID") == 34.31
    assert PAPER["table10"].value("feature-sbp", "200") == 82.0
    assert PAPER["table11"].value("gat", "64") == 28.38
    assert PAPER["table12"].value("beta=20", "50") == 59.46
    assert PAPER["table2"].value("gnc", "texas") is None and PAPER["table2"].value("sgc", "actor") is None
    # The plan of a table contains every printed value.
    for name, printed in PAPER.items():
        cells = [c for c in make_plan(name.split()[0]).cells if name.split()[-1] in (name, c.dataset)]
        assert sum(c.paper is not None for c in cells) == len(printed.rows) * len(printed.columns), name


@pytest.mark.parametrize(
    "name", [name for name in PLANS if name not in ("table4", "table6", "table8", "table9", "fig4")]
)
def test_a_table_has_sbp_its_ablation_and_the_linear_model(name: str) -> None:
    cells = make_plan(name).cells
    rows = {c.row for c in cells}
    assert "mlp" in rows or name == "fig5"
    assert all(c.settings["beta"] == 0 for c in cells if "beta=0" in c.row.split(", ") and "lam" not in c.panel)
    if name not in ("table12",):
        assert {f"{row}, beta=0" for row in rows & {"label-sbp", "feature-sbp"}} <= rows


def test_a_note_names_a_missing_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path, no_network: None) -> None:
    argv = ["table2", "--datasets", "citeseer", "--root", str(tmp_path / "none"), "--out", str(tmp_path), "--quiet"]
    assert main(["reproduce", *argv]) == 0
    out = capsys.readouterr().out
    assert "[1] citeseer could not be downloaded" in out and "0 of 14 cells have a value here" in out
    assert "none/CiteSeer/raw" in out.replace("\n", "") and "71.88" in out


def test_the_size_limit() -> None:
    arxiv, products = (169343, 2315598, 128), (2449029, 123718280, 100)
    assert too_large(resolve("ogbn-arxiv", "feature-sbp"), *arxiv) == ""
    assert too_large(resolve("ogbn-products", "label-sbp"), *products) == ""
    assert "n² · 2 d · steps" in too_large(resolve("ogbn-products", "feature-sbp"), *products)
    assert too_large(resolve("ogbn-products", "feature-sbp", beta=0.0), *products) == ""
    assert "products" in too_large(resolve("ogbn-arxiv", "contranorm", backbone="gcn"), *arxiv)
    assert "GiB" in too_large(resolve("ogbn-products", "sgc"), 10**12, 10, 100)


def test_depths_that_are_too_large_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbp_study.training.limits.MAX_PRODUCTS", 1e8)
    made, found = reproduce("fig3", Options(stand_ins=True), Request(layers=(2, 200), quick=True))
    assert [o.cell for o in found] == list(made.cells)
    left_out = {(o.cell.row, o.cell.column) for o in found if o.note.startswith("too large")}
    assert left_out == {("contranorm", "200"), ("feature-sbp", "200")}
    _, found = reproduce("fig3", Options(stand_ins=True), Request(layers=(2, 200), quick=True, everything=True))
    assert not [o for o in found if o.note]


def test_an_interrupted_table_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fitted: list[int] = []
    fit = runner.fit_linear

    def counted(x: Any, *args: Any, **more: Any) -> Any:
        if len(fitted) == stop:
            raise KeyboardInterrupt
        fitted.append(x.size(0))
        return fit(x, *args, **more)

    monkeypatch.setattr(runner, "fit_linear", counted)
    options, request = Options(run_cache=RunCache(tmp_path), stand_ins=True), Request(("cornell",), quick=True)
    stop = 7
    with pytest.raises(KeyboardInterrupt):
        reproduce("table12", options, request)
    stop = -1
    made, found = reproduce("table12", options, request)
    # The linear model has no depth, so its five cells are one run.
    finite = [outcome for outcome in found if outcome.value is not None]
    assert len(fitted) == len(finite) - 4 > 7
    again = reproduce("table12", options, request)[1]
    assert len(fitted) == len(finite) - 4
    assert paper_comparison.rows(made, again) == paper_comparison.rows(made, found)


def test_learned_coefficients_have_rows() -> None:
    rows = {c.row for c in make_plan("table2", ("cora",), learn=True).cells}
    assert {"label-sbp, learned", "feature-sbp, learned"} <= rows
    _, found = reproduce("table2", Options(stand_ins=True), Request(("cora",), learn=True, quick=True))
    learned = [o.config for o in found if "learned" in o.cell.row]
    assert [c.learn for c in learned if c] == [True, True]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("table10 --datasets cora", "table10 has no dataset cora: it has csbm"),
        ("table2 --layers 3", "layers cannot be chosen for table2: its columns are not depths"),
        ("table6 --learn", "no model of this table has coefficients that can be learned"),
        ("table10 --seeds 0 --quiet", "seeds must be >= 1, got 0"),
        ("table1", "invalid choice: 'table1'"),
    ],
)
def test_wrong_requests(
    argv: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["reproduce", *argv.split()])
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and err.startswith("error: ") and message in err and err.count("\n") == 1
