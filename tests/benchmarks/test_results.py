"""The commands write rows; verdicts, figures and tables are computed from rows."""

import csv
import shutil

import pytest
import torch

from benchmarks import (
    bench_build,
    bench_implicit,
    bench_layers,
    bench_propagate,
    bench_reorder,
    check_targets,
    render,
)
from benchmarks.cases import modes
from benchmarks.cases.presets import CORE
from benchmarks.cases.workloads import SIZES, Size
from benchmarks.reporting import markdown, result_files, run_info
from benchmarks.reporting.devices import devices
from benchmarks.reporting.targets import TARGETS

SHORT = ["--repeats", "3", "--budget", "0.01", "--threads", "1"]

START, END = "<!-- bench:start -->", "<!-- bench:end -->"


@pytest.fixture(scope="module")
def tiny():
    """Make the named sizes small enough for a test, and restore torch's number of threads after it."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cora", "arxiv"):
            patch.setitem(SIZES, name, Size(200, 800, 400, exponent=2.5))
        patch.setattr("benchmarks.timing.bandwidth.COPY_BYTES", 1 << 16)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def results(tiny, tmp_path_factory):
    """A folder with a run of both benchmarks."""
    path = tmp_path_factory.mktemp("results")
    methods = ["--methods", ",".join(CORE)]
    argv = ["--sizes", "cora,arxiv", "--widths", "128", *methods, *SHORT, "--results", str(path)]
    assert bench_propagate.main(argv) == 0
    assert bench_build.main([*SHORT, "--results", str(path)]) == 0
    return path


def folder(results):
    return results / run_info.device_slug(torch.device("cpu"))


def test_rows(results):
    with (folder(results) / "propagate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == result_files.PROPAGATE_COLUMNS
    assert len(rows) == 2 * 2 * 2 * len(CORE)
    for row in rows:
        assert row["note"] or row["median_ms"], "a row must have a time or a reason"
        if row["median_ms"]:
            assert float(row["p20_ms"]) <= float(row["median_ms"]) <= float(row["p80_ms"])
            assert float(row["ratio_to_ours"]) > 0
            assert int(row["extra_memory_bytes"]) >= int(row["output_bytes"])
            assert int(row["gather_bytes"]) == 1200 * 128 * (4 if row["dtype"] == "float32" else 2)
            assert float(row["gbs"]) > 0 and float(row["copy_gbs"]) > 0
            assert bool(row["gather_gbs"]) == (row["mode"] == "forward"), "only forward cases have a gather probe"
            if row["method"] != modes.OURS:
                assert float(row["ratio_low"]) <= float(row["ratio_to_ours"]) * 1.001
                assert float(row["ratio_to_ours"]) <= float(row["ratio_high"]) * 1.001
        for name in ("device", "driver", "torch", "commit", "date", "threads", "cache"):
            assert row[name], name
    ours = [row for row in rows if row["method"] == modes.OURS]
    assert all(row["ratio_to_ours"] == "1" and row["backend"] for row in ours)
    with (folder(results) / "build.csv").open(newline="") as file:
        assert tuple(next(csv.DictReader(file))) == result_files.BUILD_COLUMNS


def test_check_targets(results, capsys):
    code = check_targets.main(["--preset", "some", "--results", str(results)])
    shown = capsys.readouterr().out
    assert code == 1, "with one thread and one instruction set some targets are not measured"
    # This run has no other threads or instruction set, no large or high-degree graph, no MKL and no deep calls.
    assert shown.count("not measured") == 6
    assert all(target.on("").text in shown for target in TARGETS)


def test_targets_that_are_not_measured_do_not_hold(results, tmp_path, capsys):
    copy = tmp_path / folder(results).name
    copy.mkdir()
    shutil.copy(folder(results) / "propagate.csv", copy)
    assert check_targets.main(["--preset", "some", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("not measured") == 7


def test_tables_of_a_run(results, tmp_path):
    page, readme = tmp_path / "BENCHMARKS.md", tmp_path / "README.md"
    page.write_text((render.ROOT / "BENCHMARKS.md").read_text(encoding="utf-8"), encoding="utf-8")
    markers = "\n".join(f"<!-- {b}:start -->\nold\n<!-- {b}:end -->" for b in ("bench", "layers"))
    readme.write_text(f"before\n{markers}\nafter\n", encoding="utf-8")
    argv = ["--preset", "some", "--results", str(results), "--root", str(tmp_path)]
    assert render.main(argv) == 0
    once = readme.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")
    assert once[0].startswith("before\n") and once[0].endswith("\nafter\n") and "old" not in once[0]
    assert " | cora | forward | float32 |" in once[0]
    assert "| cora | 128 | bfloat16 | forward+backward |" in once[1] and "break-even" in once[1]
    assert "degree, roofline" not in once[1] and "scaling, depth: not yet run." in once[1]
    assert "| NVIDIA GPU | gpu | not yet run |" in once[1]
    assert render.main(argv) == 0
    assert (readme.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")) == once
    for name in ("roofline.png", "memory.png"):
        assert (folder(results) / name).stat().st_size > 1000


def test_pages_show_every_processor(tmp_path):
    names = result_files.PROPAGATE_COLUMNS
    case = {
        "workload": "cora", "num_nodes": 100, "num_edges_pos": 300, "num_edges_neg": 100, "width": 128,
        "dtype": "float32", "mode": "forward", "cache": "warm", "method": modes.OURS, "backend": "native",
        "median_ms": 2.0, "ratio_to_ours": 1.0, "extra_memory_bytes": 10, "output_bytes": 10, "threads": 2,
        "preset": "full", "torch": "2", "date": "2026-01-01",
    }  # fmt: skip
    results, page, readme = tmp_path / "results", tmp_path / "BENCHMARKS.md", tmp_path / "README.md"
    page.write_text((render.ROOT / "BENCHMARKS.md").read_text(encoding="utf-8"), encoding="utf-8")
    readme.write_text((render.ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")

    def shown(slug: str, device: str, commit: str) -> tuple[str, str]:
        row = dict.fromkeys(names, "") | case | {"device": device, "commit": commit}
        result_files.append(results / slug / "propagate.csv", names, [row])
        assert render.main(["--results", str(results), "--root", str(tmp_path)]) == 0
        return page.read_text(encoding="utf-8"), readme.read_text(encoding="utf-8")

    for text in shown("cpu-intel-xeon", "Intel(R) Xeon(R) Processor", "abc"):
        assert "The rows of one step are of commit abc. AMD EPYC: not yet run." in text
    both = shown("cpu-amd-epyc", "AMD EPYC", "def")
    for text in both:
        assert "of different commits (AMD EPYC: def, Intel Xeon: abc)." in text
    assert "| AMD EPYC | cora | forward | float32 | 2.00 |" in both[1]
    assert "| Intel Xeon | cora | forward | float32 | 2.00 |" in both[1]
    assert both[0].count("### AMD EPYC") == both[0].count("### Intel Xeon") > 5
    assert "forward ≥ 1.5× merged" in both[0] and "forward ≥ 3.5× merged" in both[0]
    other = shown("cpu-arm", "Neoverse", "abc")
    assert other[0].count("### Neoverse") == both[0].count("### Intel Xeon")


def test_a_model_stands_for_its_vendor(tmp_path):
    row = dict.fromkeys(result_files.PROPAGATE_COLUMNS, "") | {"preset": "full", "date": "2026", "device": "Xeon 8480"}
    result_files.append(tmp_path / "cpu-intel-xeon-8480" / "propagate.csv", result_files.PROPAGATE_COLUMNS, [row])
    assert [(device.name, bool(device.runs)) for device in devices(tmp_path, "full")] == [
        ("AMD EPYC", False),
        ("Xeon 8480", True),
    ]


def test_render_without_runs(tmp_path, capsys):
    with pytest.raises(SystemExit):
        render.main(["--results", str(tmp_path)])
    assert "holds a propagate.csv with a run of preset 'full'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no markers", f"{END}\n{START}", f"{START} only"])
def test_readme_without_markers(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="bench:start"):
        markdown.rewrite(readme, "bench", "table")
    assert readme.read_text(encoding="utf-8") == text


def test_demo_writes_no_results_by_default(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "RESULTS", tmp_path / "results")
    assert bench_propagate.main(["--demo", "--sizes", "cora", *SHORT]) == 0
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sizes", "cora,citeseer"], "got 'citeseer'"),
        (["--methods", "mkl"], "--methods must be of"),
        (["--widths", "many"], "--widths must be numbers, got 'many'"),
        (["--repeats", "0"], "--repeats must be at least 1, got 0"),
    ],
)
def test_bad_arguments(argv, message, capsys):
    with pytest.raises(SystemExit):
        bench_propagate.main(argv)
    assert message in capsys.readouterr().err


def test_latest_and_unknown_columns(tmp_path):
    path = tmp_path / "x" / "propagate.csv"
    columns = ("method", "preset", "date")
    dates = [("full", "2026-01-02"), ("quick", "2026-01-03"), ("full", "2026-01-01")]
    result_files.append(path, columns, [dict(zip(columns, ("a", *pair), strict=True)) for pair in dates])
    assert [row["date"] for row in result_files.latest(path)] == ["2026-01-02"]
    with pytest.raises(ValueError, match="no run of preset"):
        result_files.latest(path, "demo")
    with pytest.raises(ValueError, match="other columns"):
        result_files.append(path, ("method",), [])
    with pytest.raises(FileNotFoundError, match=r"devices with a propagate\.csv in .*: x"):
        result_files.find(tmp_path, "y", "propagate.csv")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("AMD EPYC", "cpu-amd-epyc"),
        ("AMD EPYC 9654 96-Core Processor", "cpu-amd-epyc-9654-96-core"),
        ("Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz", "cpu-intel-xeon-platinum-8480"),
    ],
)
def test_device_slug(monkeypatch, name, slug):
    monkeypatch.setattr(run_info, "device_name", lambda device: name)
    assert run_info.device_slug(torch.device("cpu")) == slug


def test_bench_implicit_measures_and_appends(tmp_path, capsys, monkeypatch):
    # A loop of 16 steps compiles for half a minute.
    monkeypatch.setattr("benchmarks.competitors.comparisons._UNROLLED", 1)
    argv = ["--cases", "steps-16", "--repeats", "3", "--budget", "0.1", "--results", str(tmp_path)]
    assert bench_implicit.main(argv) == 0
    assert "one call per step" in capsys.readouterr().out
    rows = result_files.latest(next(tmp_path.rglob("implicit.csv")), "some")
    timed = [row["call"] for row in rows if row["median_ms"]]
    assert timed == ["one call", "one call per step", "merged addmm, loop", "PyG scatter, loop"]
    assert all(row["note"] for row in rows if row["call"] not in timed)
    shown = markdown.implicit(rows)
    assert "| cora, K = 16 | 200 | 16 | one call |" in shown and "| a CUDA graph needs a GPU |" in shown
    with pytest.raises(SystemExit):
        bench_implicit.main(["--cases", "nothing"])
    assert "--cases must be of label-step, " in capsys.readouterr().err


def test_bench_reorder(tiny, tmp_path):
    assert bench_reorder.main(["--sizes", "cora", "--repeats", "3", "--budget", "0.1", "--results", str(tmp_path)]) == 0
    rows = result_files.latest(next(tmp_path.rglob("reorder.csv")), "some")
    assert [row["order"] for row in rows] == list(bench_reorder.ORDERS)
    assert "| cora | 128 | rcm |" in markdown.reorder(rows)


@pytest.mark.parametrize(
    ("took", "calls"),
    [
        ({"pyg_scatter forward": 5.0}, 2.0),
        ({"pyg_scatter forward": 0.5}, "never"),
        ({"pyg_scatter forward": 5.0, "pyg_scatter build and transpose": 10.0}, 0.0),
    ],
)
def test_break_even(took, calls):
    ours = {bench_build.FORWARD: 1.0, "build and transpose": 8.0}
    assert bench_build.break_even(ours | took, "pyg_scatter forward") == calls
    assert bench_build.break_even(ours | took, "build and transpose") == ""


def test_a_repeated_case_has_the_median_over_its_runs(tmp_path):
    path, columns = tmp_path / "r.csv", ("workload", "width", "median_ms", "preset", "commit", "date")
    runs = [("full", "1", 9.0), ("full", "2", 3.0), ("custom", "3", 1.0), ("custom", "4", 2.0)]
    for preset, date, ms in runs:
        both = [("cora", ms), ("pubmed", 7.0)] if preset == "full" else [("cora", ms)]
        rows = [dict(zip(columns, (name, 32, value, preset, "abc", date), strict=True)) for name, value in both]
        result_files.append(path, columns, rows)
    got = {row["workload"]: float(row["median_ms"]) for row in result_files.latest(path)}
    assert got == {"cora": 2.0, "pubmed": 7.0}


def test_bench_layers_measures_and_appends(tmp_path, capsys):
    edges, signs = torch.randint(30, (80, 2)).tolist(), torch.randint(2, (80,)).mul(2).sub(1).tolist()
    signed = tmp_path / "signed.csv"
    signed.write_text("a,b,sign\n" + "".join(f"{a},{b},{s}\n" for (a, b), s in zip(edges, signs, strict=True)))
    common = ["--root", str(tmp_path), "--signed", str(signed), "--results", str(tmp_path)]
    bench_layers.main(["--cases", "signed-gcn", "--repeats", "3", "--budget", "0.1", *common])
    rows = result_files.latest(next(tmp_path.rglob("layers.csv")), "some")
    assert [row["call"] for row in rows] == ["accelerated", "PyG, edge_index"]
    with pytest.raises(SystemExit):
        bench_layers.main(["--cases", "nothing", *common])
    assert "--cases must be of gcnii" in capsys.readouterr().err
