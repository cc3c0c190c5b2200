"""Every example runs with its default settings in this process and prints plausible results."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "python/examples"


def numbers(name: str, monkeypatch, capsys, *args: str) -> list[float]:
    """Run an example and return the numbers with a decimal point that it prints."""
    monkeypatch.setattr("sys.argv", [name, *args])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return [float(number) for number in re.findall(r"\d+\.\d+", capsys.readouterr().out)]


def test_link_signs(monkeypatch, capsys, tmp_path):
    pytest.importorskip("sklearn", reason="PyG's SignedGCN.test needs scikit-learn")
    auc, f1, _, fast_auc, fast_f1, _, _ = numbers("link_signs.py", monkeypatch, capsys, "--epochs", "12")
    assert 0.7 < auc <= 1.0 and 0.7 < f1 <= 1.0
    assert abs(auc - fast_auc) < 0.02 and abs(f1 - fast_f1) < 0.02
    lines = [f"{i % 40},{(7 * i + 1) % 40},{1.0 if i % 3 else -1.0}" for i in range(300)]
    (tmp_path / "ratings.csv").write_text("\n".join(["id1,id2,sign", "0,1,", *lines]))
    args = ["--csv", str(tmp_path / "ratings.csv"), "--epochs", "2", "--seeds", "1"]
    assert len(numbers("link_signs.py", monkeypatch, capsys, *args)) == 7


def test_deep_gcn(monkeypatch, capsys):
    accuracies = numbers("deep_gcn.py", monkeypatch, capsys, "--epochs", "20")
    assert len(accuracies) == 4 and all(0.1 < accuracy <= 1.0 for accuracy in accuracies)


def test_mini_batches(monkeypatch, capsys):
    _, accuracy = numbers("mini_batches.py", monkeypatch, capsys)
    # There are three classes; features alone give an accuracy of about 0.5.
    assert accuracy > 0.65


def test_add_signs(monkeypatch, capsys):
    plain, *signed = numbers("add_signs.py", monkeypatch, capsys)
    assert len(signed) == 4 and min(signed) > 2 * plain


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    namespace: dict[str, object] = {}
    for cell in cells:
        exec("".join(cell["source"]), namespace)
    assert namespace["accuracy"] > 0.6
