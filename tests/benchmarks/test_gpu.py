"""The GPU preset, measured on the CPU as in `make gpu-check`."""

from __future__ import annotations

import csv
import json

import pytest

from benchmarks.cases import presets
from benchmarks.cases.presets import Preset, grid
from benchmarks.cases.workloads import SIZES, Size
from benchmarks.competitors import comparisons
from benchmarks.gpu import check, measure, notes


@pytest.fixture(autouse=True)
def small_copy(monkeypatch):
    monkeypatch.setattr("benchmarks.timing.bandwidth.COPY_BYTES", 1 << 16)


def test_measure_logs_and_records(monkeypatch, tmp_path, capsys):
    few = grid("cora", [8], methods=("sbp_kernels", "pyg_scatter", "merged_addmm_cached"))
    broken = grid("arxiv", [8], ["forward"])
    monkeypatch.setitem(presets.PRESETS, "gpu", Preset((*broken, *few), repeats=3, budget=0.01))
    for name in ("cora", "arxiv"):
        monkeypatch.setitem(SIZES, name, Size(200, 800, 400, exponent=2.5))
    monkeypatch.setitem(SIZES, "arxiv", Size(10, 3, 2, exponent=2.5))
    monkeypatch.setattr(measure, "measure_comparisons", lambda session, path: None)
    # An invalid size is an error; a case that runs out of memory is only logged.
    with pytest.raises(ValueError, match="must be even"):
        measure.main(["--device", "cpu", "--results", str(tmp_path)])
    monkeypatch.setitem(presets.PRESETS, "gpu", Preset(tuple(few), repeats=3, budget=0.01))
    capsys.readouterr()
    assert measure.main(["--device", "cpu", "--results", str(tmp_path)]) == 0
    (tmp_path / "measure.log").write_text(capsys.readouterr().out)
    check.write(tmp_path, [{"stage": "measure", "exit": 0, "seconds": 1.0, "last": ""}], "a GPU")
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {r["method"] for r in rows if r.get("workload") == "cora"} == {
        "build", "sbp_kernels", "pyg_scatter", "merged_addmm_cached",
    }  # fmt: skip
    summary = (tmp_path / "summary.txt").read_text()
    assert "copy bandwidth" in summary and "cora      d=8    float32   forward+backward  ours" in summary
    assert len(next(tmp_path.rglob("propagate.csv")).read_text().splitlines()) == 1 + 2 * 3
    got = notes.measured(tmp_path / "results.csv")
    assert set(got) == {("cora", 8, "float32")} and got["cora", 8, "float32"] > 0


def test_a_failed_case_is_logged(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(presets.PRESETS, "gpu", Preset(tuple(grid("cora", [8], ["forward"])), repeats=3, budget=0.01))
    monkeypatch.setitem(SIZES, "cora", Size(200, 800, 400, exponent=2.5))
    monkeypatch.setattr(measure, "measure_comparisons", lambda session, path: None)

    def out_of_memory(self, spec):
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(measure.Session, "rows", out_of_memory)
    assert measure.main(["--device", "cpu", "--results", str(tmp_path)]) == 0
    assert '"note": "failed: CUDA out of memory"' in capsys.readouterr().out


def test_comparisons_are_logged_and_recorded(monkeypatch, tmp_path, capsys):
    for name in ("cora", "arxiv"):
        monkeypatch.setitem(SIZES, name, Size(200, 800, 400, exponent=2.5))
    monkeypatch.setattr(comparisons, "_UNROLLED", 1)
    session = measure.Session({"preset": "gpu", "date": "today"}, measure.torch.device("cpu"), 3, 0.01)
    measure.measure_comparisons(session, tmp_path)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["mode"] for line in lines} == {"cora, K = 16", "cora, K = 300", "arxiv, 40 classes"}
    with (tmp_path / "implicit.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(lines)


def test_table_of_predicted_and_measured_times():
    lines = notes.table({("cora", 64, "float32"): 3.0}).splitlines()
    assert len(lines) == 2 + 5 * 2 * 2
    assert lines[2].startswith("| cora | 64 | float32 |") and lines[2].endswith("| 3.0 |")
    assert all(line.endswith("| not yet run on a GPU |") for line in lines[3:])
