"""Metrics on cases with known answers."""

from __future__ import annotations

import pytest
import torch

from sbp_study.training import metrics
from sbp_study.training.metrics import accuracy, dirichlet_energy, effective_rank


def test_accuracy_is_a_percentage_of_the_mask() -> None:
    y = torch.tensor([0, 1, 2, 1])
    predicted = torch.tensor([0, 1, 1, 0])
    assert accuracy(predicted, y, torch.tensor([True, True, True, False])) == pytest.approx(200 / 3)
    assert accuracy(predicted, y, torch.zeros(4, dtype=torch.bool)) is None


def test_dirichlet_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 4, generator=generator)
    edges = torch.randint(0, 9, (2, 30), generator=generator)
    wanted = sum(float((x[i] - x[j]).square().sum()) for j, i in edges.T.tolist()) / 9
    assert dirichlet_energy(x, edges) == pytest.approx(wanted)
    monkeypatch.setattr(metrics, "_EDGE_CHUNK", 7)
    assert dirichlet_energy(x, edges) == pytest.approx(wanted)


def test_dirichlet_energy_of_nearly_equal_rows_is_accurate() -> None:
    x = torch.full((2, 1), 1000.0)
    x[1] += 2**-10
    assert dirichlet_energy(x, torch.tensor([[0, 1], [1, 0]])) == pytest.approx(2.0**-20)


@pytest.mark.parametrize("shape", [(6, 6), (20, 6), (6, 20)])
def test_effective_rank_of_orthogonal_and_of_collapsed_features(shape: tuple[int, int]) -> None:
    assert effective_rank(torch.eye(*shape)) == pytest.approx(6.0)
    assert effective_rank(torch.ones(shape)) == pytest.approx(1.0, abs=1e-5)
    assert effective_rank(torch.zeros(shape)) == 0.0


def test_effective_rank_is_the_entropy_of_singular_values() -> None:
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    p = torch.linalg.svdvals(x.double())
    p = p / p.sum()
    assert effective_rank(x) == pytest.approx(float((-(p * p.log()).sum()).exp()))
