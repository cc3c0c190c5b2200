"""Verdicts, means, bytes and figures, computed from synthetic rows."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import instructions, render
from benchmarks.cases import modes, traffic
from benchmarks.reporting import figures_resources, figures_speed, result_files
from benchmarks.reporting.queries import against, geometric_mean, share_of_roofline
from benchmarks.reporting.targets import TARGETS, Runs, Target
from benchmarks.timing.candidate import Candidate

RUN = {"threads": "2", "device": "test", "driver": "none", "torch": "2.13", "commit": "abc", "date": "2026-01-01"}


def row(method: str = modes.OURS, ms: float = 1.0, ratio: float = 1.0, **fields: object) -> dict[str, str]:
    """Return a row of a graph with 1,000 nodes and 10,000 edges."""
    found = dict.fromkeys(result_files.PROPAGATE_COLUMNS, "") | RUN | {
        "workload": "arxiv", "num_nodes": 1000, "num_edges_pos": 8000, "num_edges_neg": 2000, "width": "128",
        "dtype": "float32", "mode": "forward", "cache": "warm", "isa": "AVX-512", "method": method,
        "median_ms": ms, "ratio_to_ours": ratio, "extra_memory_bytes": 1000, "output_bytes": 1000,
        "gather_bytes": 8_000_000, "stream_bytes": 2_000_000, "gbs": 10, "copy_gbs": 20, "gather_gbs": 10,
        "stream_gbs": 20,
    }  # fmt: skip
    found |= {} if method == modes.OURS else {"ratio_low": 0.9 * ratio, "ratio_high": 1.1 * ratio}
    return {key: str(value) for key, value in (found | fields).items()}


def measured(text: str, *rows: dict[str, str], device: str = "AMD EPYC", implicit: tuple[dict[str, str], ...] = ()):
    target = next(t for t in (target.on(device) for target in TARGETS) if t.text.startswith(text))
    found = target.measure(Runs(list(rows), implicit=list(implicit)))
    return None if found is None else (pytest.approx(found.value), target.holds(found.value))


def test_a_mean_over_graphs_counts_each_graph_once():
    rows = [row("pyg_scatter", ratio=r, width=w) for r, w in ((10, "16"), (90, "32"))]
    rows.append(row("pyg_scatter", ratio=40, workload="cora"))
    assert geometric_mean(against(rows, "pyg_scatter")) == pytest.approx(34.641, rel=1e-4)
    assert measured("forward ≥ 30× PyG", *rows) == (34.641016, True)
    assert measured("forward ≥ 30× PyG", *rows[:1]) == (10.0, False)


def test_the_fastest_variant_of_a_peer_counts():
    rows = [row("merged_addmm_int32", ratio=3.0), row("merged_addmm_int64", ratio=1.1)]
    assert measured("forward ≥ 3.5× merged", *rows) == (1.1, False)
    assert measured("... and ≥ 1.2×", *rows) == (1.1, False)
    pair = [row("pyg_edge_index", ratio=7.0), row("torch_sparse_pair", ratio=6.0)]
    assert measured("forward ≥ 5×", *pair) == (6.0, True)


def test_means_exclude_cold_and_learnable_cases():
    assert measured("forward ≥ 30×", row("pyg_scatter", cache="cold", ratio=50)) is None
    assert measured("forward+backward ≥ 20×", row("pyg_scatter", mode="learnable weights", ratio=50)) is None


def test_the_bfloat16_target_uses_cases_beyond_l2():
    large = {"output_bytes": 2.2e6}
    rows = [row(ms=2.6), row(ms=2.0, dtype="bfloat16", **large), row(ms=9, workload="cora")]
    rows.append(row(ms=10, workload="cora", dtype="bfloat16"))
    assert measured("bfloat16 ≥", *rows) == (1.3, True)
    assert measured("... and never", *rows) == (0.9, False)


def test_threads_and_instruction_sets_compare_within_one_timing():
    other = {"ratio_low": 1, "ratio_high": 2}
    one = row(ratio=1.8, threads=1, **other)
    avx2 = row(ratio=1.5, isa="AVX2", **other)
    assert measured("two threads", row(), one, avx2) == (1.8, True)
    assert measured("AVX2", row(), one, avx2) == (1 / 1.5, True)
    assert measured("AVX2", row(isa="AVX2")) is None
    # These rows do not count as ours in other targets.
    assert measured("forward memory", row(), row(extra_memory_bytes=9e9, **other)) == (1.0, True)


def test_intel_has_bounds_of_its_own():
    rows = [row("merged_addmm_int32", ratio=1.6), row("merged_addmm_int32", ratio=1.1, width="16")]
    assert measured("forward ≥ 1.5× merged", *rows, device="Intel(R) Xeon(R)") == (pytest.approx(1.3266, 1e-4), False)
    assert measured("... and ≥ 1×", *rows, device="Intel(R) Xeon(R)") == (1.1, True)
    assert measured("... and ≥ 1.2×", *rows) == (1.1, False)


def test_high_degrees_are_measured_beyond_l2():
    high = {"workload": "degree-128", "num_nodes": 100, "output_bytes": 5e6}
    rows = [row("merged_addmm_int32", ratio=2.0, **high), row("merged_addmm_int32", ratio=9.0)]
    rows.append(row("merged_addmm_int32", ratio=9.0, **high | {"width": "16", "output_bytes": 4e6}))
    assert measured("... and ≥ 1.8× from mean degree", *rows, device="Intel") == (2.0, True)
    assert measured("... and ≥ 1.8× from mean degree", *rows[1:], device="Intel") is None


def test_the_slowest_deep_step_counts():
    def call(k: int, ms: float, name: str = "one call") -> dict[str, str]:
        return {"case": f"cora, K = {k}, λ = β = 0.5", "call": name, "median_ms": str(ms)}

    rows = call(16, 1.6), call(600, 90.0), call(1000, 100.0), call(1000, 900.0, "merged addmm, loop")
    assert measured("a step of K", implicit=rows) == (1.5, False)
    assert measured("a step of K", implicit=(rows[0], rows[2])) == (1.0, True)
    assert measured("a step of K", implicit=rows[1:]) is None


def test_share_of_the_roofline():
    # 8 MB at 10 GB/s take 0.8 ms, 2 MB at 20 GB/s take 0.1 ms, and a pass may do both at once.
    assert share_of_roofline(row(ms=1.0)) == pytest.approx(0.8)
    assert share_of_roofline(row(ms=1.0, stream_gbs=2.5)) == pytest.approx(0.8)
    assert share_of_roofline(row(ms=1.0, stream_gbs=2)) == pytest.approx(1.0)
    assert share_of_roofline(row(ms=3.2, mode="forward+backward")) == pytest.approx(0.5)
    assert share_of_roofline(row(gather_gbs="")) is None
    assert share_of_roofline(row(stream_gbs="")) is None, "rows of a run before the stream probe"
    assert measured("share of the roofline ≥", row(ms=0.8)) == (1.0, True)
    faster = [row(), row("merged_addmm_int32", ms=0.7)]
    assert measured("share of the roofline ≤", *faster) == (8 / 7, False)
    assert measured("share of the roofline ≤", faster[0]) == (0.8, True)


def test_bytes_by_formula():
    assert traffic.gather_bytes(100, 16, 4) == 100 * 64
    # Per edge a column and a factor; per node x, y and a row pointer.
    assert traffic.stream_bytes(10, 100, 16, 2) == 100 * 8 + 10 * (32 + 32 + 8)


def synthetic_run() -> list[dict[str, str]]:
    rows = []
    for name, nodes in (("cora", 2_000), ("road", 9_000), ("degree-4", 50_000), ("degree-8", 50_001)):
        for width in ("32", "64"):
            for mode in modes.MODES:
                case = {"workload": name, "num_nodes": nodes, "width": width, "mode": mode}
                rows.append(row(**case))
                rows += [
                    row(peer, ms=r, ratio=r, **case) for peer, r in (("pyg_scatter", 30), ("merged_addmm_int32", 2))
                ]
    other = {"ratio_low": 1, "ratio_high": 2}
    return [*rows, row(ratio=1.8, threads=1, **other), row(ratio=1.2, isa="AVX2", **other)]


def test_figures(tmp_path):
    steps = [("one call", k, k) for k in (1, 16, 300)] + [("merged addmm, loop", k, 2 * k) for k in (1, 16)]
    implicit = [RUN | {"case": f"cora, K = {k}", "width": "64", "call": c, "median_ms": str(ms)} for c, k, ms in steps]
    drawn, missing = render.draw(tmp_path, Runs(synthetic_run(), implicit=implicit))
    assert not missing and {f.stem for f in drawn} == {*render.FIGURES, "depth"}
    assert all(f.stat().st_size > 1000 for f in drawn)
    shown = render.pictures(drawn, [], tmp_path)
    assert shown.count("![") == len(render.FIGURES) + 1


def test_figures_without_rows(tmp_path):
    drawn, missing = render.draw(tmp_path, Runs([row()]))
    assert {f.stem for f in drawn} == {"roofline"}
    assert missing == ["speedup", "degree", "memory", "scaling", "depth"]
    assert render.pictures(drawn, missing, tmp_path).endswith("speedup, degree, memory, scaling, depth: not yet run.")
    assert figures_speed.degrees([], tmp_path / "x") is None and figures_resources.depth([], tmp_path / "x") is None


def test_instructions_by_type():
    counts = [
        (
            "???:void sbp::avx2::(anonymous namespace)::sum_tile<float, int>(sbp::SpmmParams const&) [/a/_C.abi3.so]",
            500,
        ),
        ("void sbp::spmm_rows<sbp::avx2::Bf16, int>(sbp::SpmmParams const&) [/a/_C.abi3.so]", 250),
        ("sbp_signed_spmm [/a/_C.abi3.so]", 160),
        ("malloc.c:_int_malloc [/lib/libc.so.6]", 800),
    ]
    found = instructions.by_type(counts)
    assert list(found.values()) == [50, 100, 2, 10]
    assert instructions.compare(found, found, same_torch=True) == []
    then = {name: int(n / 1.2) for name, n in found.items()}
    lines = instructions.compare(found, then, same_torch=True)
    assert len(lines) == 4 and "+20.5%" in lines[1] and instructions.OUTSIDE in lines[3]
    assert len(instructions.compare(found, then, same_torch=False)) == 3
    assert "no record" in instructions.compare(found, {}, same_torch=False)[0]


def test_instructions_are_skipped_without_valgrind_or_for_another_compiler(monkeypatch, tmp_path, capsys):
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"avx2": {"compiler": "GCC 1", "torch": "2", "counts": {}}}))
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    assert instructions.main(["--record", str(record)]) == 0
    assert "skipped: valgrind is not installed" in capsys.readouterr().out
    monkeypatch.setattr(instructions.shutil, "which", lambda name: "/usr/bin/valgrind")
    monkeypatch.setattr("benchmarks.timing.isa_worker.cpu_isa", lambda: "AVX2")
    assert instructions.main(["--record", str(record), "--isa", "avx2"]) == 0
    assert "avx2: skipped: built by" in capsys.readouterr().out


def test_the_record_has_all_counts():
    for entry in json.loads(instructions.RECORD.read_text()).values():
        assert set(entry) == {"compiler", "torch", "counts"}
        assert set(entry["counts"]) == set(instructions.by_type([]))


def test_a_worker_uses_another_instruction_set():
    from benchmarks.timing.isa_worker import Worker, cpu_isa

    if not cpu_isa():
        pytest.skip("the CPU kernels are not built")
    worker = Worker("baseline", "cora", 8, "forward", torch.float32, 0)
    try:
        candidate = worker.start()
        assert isinstance(candidate, Candidate) and candidate.isa == "baseline"
        assert candidate.sample(2, torch.device("cpu")) > 0
    finally:
        worker.stop()


def test_bounds_of_targets():
    assert Target("", 2.0, lambda runs: None).holds(2.0)
    assert not Target("", 2.0, lambda runs: None, at_least=False).holds(2.1)
