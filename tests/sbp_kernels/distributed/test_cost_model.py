"""The cost model's halo is that of counted partitions; the table names its constants."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import SignedGraph
from sbp_kernels.distributed import Partition, cost_model, partition_report
from sbp_kernels.distributed.cost_model import Constants, Workload
from tests.graphs import edges


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_halo_of_random_owners(ranks):
    n, positive, negative = 5000, 40_000, 10_000
    graph = SignedGraph.from_edge_index(edges(positive, n, n, 0), edges(negative, n, n, 1), n)
    owner = torch.randint(ranks, (n,), generator=torch.Generator().manual_seed(0))
    report = partition_report(graph, Partition.from_owner(owner, ranks))
    expected = cost_model.expected_halo_rows(Workload("", n, positive + negative), ranks)
    assert expected == pytest.approx(sum(report.halo_rows) / ranks, rel=0.03)


def test_step_cost():
    graph, rates = Workload("", 1000, 10_000), Constants(1e6, 1e5, 1e-3)
    alone = cost_model.step_cost(graph, 1, 8, 4, rates)
    assert (alone.transfer, alone.halo_rows, alone.messages) == (0.0, 0.0, 0)
    assert alone.total == alone.compute == pytest.approx((10_000 * 36 + 2 * 1000 * 32) / 1e6)
    random, cut = (cost_model.step_cost(graph, 4, 8, 4, rates, c) for c in (None, 0.1))
    assert cut.halo_rows < random.halo_rows < 750 and cut.total < random.total
    assert random.transfer == pytest.approx(random.halo_bytes / 1e5 + 3e-3)
    assert max(random.compute, random.transfer) <= random.total <= random.compute + random.transfer


def test_command(capsys):
    given = ["--gather-rate", "1e12", "--link-rate", "5e10", "--latency", "2e-5", "--edge-cut", "0.1"]
    cost_model.main(given)
    printed = capsys.readouterr().out
    assert "Row pass: 1000.00 GB/s per rank (given)." in printed
    assert "50.00 GB/s per rank, 20 us per message (given)" in printed
    assert sum(line.startswith(("| papers100M", "| signed")) for line in printed.splitlines()) == 2 * 3 * 2
    with pytest.raises(SystemExit, match="give --link-rate and --latency"):
        cost_model.main(["--gather-rate", "1e12"])


def test_measures_the_row_pass(monkeypatch):
    monkeypatch.setattr(cost_model, "_NODES", 2000)
    monkeypatch.setattr(cost_model, "_EDGES", 20_000)
    assert 1e7 < cost_model.measure_gather_rate(torch.device("cpu")) < 1e14
