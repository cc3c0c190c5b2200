"""The probes of the roofline: what they read and write, and which of them counts."""

from __future__ import annotations

from functools import reduce
from itertools import product
from operator import xor

import numpy as np
import pytest
import torch

from benchmarks.cases.oracle import Coefficients, Oracle
from benchmarks.cases.workloads import Size, generate
from benchmarks.timing import bandwidth, probes
from benchmarks.timing.bandwidth import GATHER, STREAM, Probe, best_gbs

CPU = torch.device("cpu")
GRAPH = generate("small", Size(50, 200, 100, exponent=2.5))
needs_probes = pytest.mark.skipif(probes.missing() is not None, reason=str(probes.missing()))


def xor_of(rows: torch.Tensor) -> int:
    """Return the XOR of the rows as 64-bit words; the last bytes of a row count as a word of their own."""
    data = rows.contiguous().view(torch.uint8).numpy()
    padded = np.pad(data, ((0, 0), (0, -data.shape[1] % 8)))
    return int(reduce(xor, np.ascontiguousarray(padded).view(np.uint64).ravel().tolist(), 0))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@needs_probes
@pytest.mark.parametrize("width", [1, 3, 8, 16, 24, 32, 64, 100, 128, 256, 513])
def test_every_way_to_gather_reads_the_rows_of_all_edges(width, two_threads):
    # Enough edges for two threads.
    x, col = torch.randn(50, width), torch.randint(50, (20_001,))
    gather, row_bytes = probes.compiled().Gather(x, 4 * width, col.int()), 4 * width
    want = xor_of(x[col])
    for hint, unroll, ahead in product((0, 2, 3), (1, 2, 4), (0, 7, 64)):
        for tile in (0, *(t for t in (64, 128) if row_bytes % t == 0 and t < row_bytes)):
            assert gather.run(hint, unroll, ahead, tile) == want, (hint, unroll, ahead, tile)


@needs_probes
def test_bad_variants_raise():
    gather = probes.compiled().Gather(torch.randn(4, 32), 128, torch.zeros(3, dtype=torch.int32))
    for arguments, message in (
        ((0, 1, 65, 0), "ahead must be"),
        ((0, 1, 0, 48), "must divide"),
        ((0, 1, 0, 128), "two"),
    ):
        with pytest.raises(ValueError, match=message):
            gather.run(*arguments)
    with pytest.raises(ValueError, match="64-byte lines"):
        probes.compiled().stream(8, 1, 64, 1, False)
    with pytest.raises(ValueError, match="as many lines"):
        probes.compiled().stream(64, 1, 128, 2, False)


@needs_probes
@pytest.mark.parametrize(("read", "written"), [(1, 1), (30_000, 30_000), (50_000, 20_000), (9, 0)])
def test_streams_write_the_first_lines_and_read_the_rest(read, written, two_threads):
    source, target = torch.randint(256, (64 * read,), dtype=torch.uint8), torch.zeros(64 * written + 64).byte()
    for call in probes.streams(source, 64 * read, target, 64 * written + 63).values():
        target.zero_()
        assert call() == xor_of(source[64 * written :].view(-1, 64))
        assert torch.equal(target[: 64 * written], source[: 64 * written])
        assert not target[64 * written :].any(), "a part of a line is not written"


@needs_probes
def test_the_fastest_ways_to_gather_read_the_rows_of_the_graph():
    oracle = Oracle(GRAPH, 32, torch.float32, Coefficients())
    x, _ = oracle.inputs(32)
    found = bandwidth.roofline_probes(GRAPH, oracle, 32, torch.float32)
    want = xor_of(x[torch.cat([GRAPH.pos[0], GRAPH.neg[0]])])
    gathers, streams = ([p for p in found if p.kind == kind] for kind in (GATHER, STREAM))
    assert len(gathers) == 3 and all(p.call() == want and p.moved_bytes == 300 * 128 for p in gathers)
    assert len(streams) == 2 and all(p.moved_bytes == 300 * 8 + 50 * (2 * 128 + 8) for p in streams)


def test_columns_are_sorted_by_row_and_cut(monkeypatch):
    source, target = torch.cat([GRAPH.pos, GRAPH.neg], 1)
    order = sorted(zip(target.tolist(), source.tolist(), strict=True))
    assert bandwidth._columns(GRAPH).tolist() == [column for _, column in order]
    monkeypatch.setattr(bandwidth, "_PROBE_ROWS", 20)
    col = bandwidth._columns(GRAPH)
    assert 0 < col.numel() <= 20 and col.tolist() == [column for _, column in order][: col.numel()]


def test_the_fastest_probe_of_a_kind_and_type_counts():
    found = [
        Probe("a", torch.float32, samples=[1e-3], moved_bytes=1_000_000),
        Probe("b", torch.float32, samples=[5e-4], moved_bytes=1_000_000),
        Probe("c", torch.bfloat16, samples=[1e-6], moved_bytes=1_000_000),
        Probe("d", torch.float32, kind=STREAM, samples=[1e-5], moved_bytes=1_000_000),
        Probe("e", torch.float32, kind=STREAM, moved_bytes=1_000_000),
    ]
    assert best_gbs(found, GATHER, torch.float32) == pytest.approx(2.0)
    assert best_gbs(found, STREAM, torch.float32) == pytest.approx(100.0)
    assert best_gbs(found, STREAM, torch.bfloat16) is None


def test_without_compiled_probes_the_copy_is_torchs(monkeypatch):
    monkeypatch.setattr(bandwidth, "COPY_BYTES", 1 << 16)
    assert bandwidth.copy_gbs(CPU) > 0
    monkeypatch.setattr(probes, "missing", lambda: "not supported: no compiler")
    assert bandwidth.copy_gbs(CPU) > 0
    oracle = Oracle(GRAPH, 8, torch.float32, Coefficients())
    (probe,) = bandwidth.roofline_probes(GRAPH, oracle, 8, torch.float32)
    assert probe.call is None and probe.note == "not supported: no compiler"
    assert best_gbs([probe], GATHER, torch.float32) is None


def test_the_torch_probe_copies_the_rows_of_the_graph(monkeypatch):
    monkeypatch.setattr(bandwidth, "_BLOCK_BYTES", 256)
    seen: list[torch.Tensor] = []
    select = torch.index_select
    monkeypatch.setattr(torch, "index_select", lambda *a, out: seen.append(select(*a, out=out).clone()))
    x, col = torch.randn(50, 8), torch.randint(50, (101,))
    bandwidth._select(x, col)()
    assert torch.equal(torch.cat(seen), x[col])
