"""Balance, critical beta and clamped dynamics: by hand, by brute force, and against the theorems."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from sbp_study import load_dataset
from sbp_study.theory.balance import constrained_dynamics, critical_beta, two_groups, weak_groups
from sbp_study.theory.scipy_conversion import from_scipy, signed_matrix, to_scipy
from sbp_study.training.metrics import dirichlet_energy
from tests.graphs import GRAPHS, edges, values
from tests.oracle import halves


def _graph(n: int, pos: list[tuple[int, int]], neg: list[tuple[int, int]]) -> SignedGraph:
    both = (torch.tensor(e, dtype=torch.int64).reshape(-1, 2).T for e in (pos, neg))
    return SignedGraph.from_edge_index(*(torch.cat([e, e.flip(0)], 1) for e in both), n)


def _complete(group: list[int]) -> SignedGraph:
    """Return the complete graph: positive edges inside a group, negative edges between groups."""
    pairs = list(itertools.combinations(range(len(group)), 2))
    pos = [(i, j) for i, j in pairs if group[i] == group[j]]
    return _graph(len(group), pos, [pair for pair in pairs if pair not in set(pos)])


TRIANGLE = [(0, 1), (1, 2), (0, 2)]


@pytest.mark.parametrize(
    ("pos", "neg", "two", "weak"),
    [
        (TRIANGLE, [], [0, 0, 0], [0, 0, 0]),
        (TRIANGLE[:1], TRIANGLE[1:], [0, 0, 1], [0, 0, 1]),
        (TRIANGLE[:2], TRIANGLE[2:], None, None),
        # Three groups that repel each other: weakly balanced only.
        ([], TRIANGLE, None, [0, 1, 2]),
        ([], [], [0, 0, 0], [0, 1, 2]),
        ([], [(1, 1)], None, None),
        ([(1, 1)], [(1, 2)], [0, 0, 1], [0, 1, 2]),
    ],
)
def test_groups_by_hand(
    pos: list[tuple[int, int]], neg: list[tuple[int, int]], two: list[int] | None, weak: list[int] | None
) -> None:
    graph = _graph(3, pos, neg)
    for got, wanted in ((two_groups(graph), two), (weak_groups(graph), weak)):
        assert got is None if wanted is None else got.tolist() == wanted


def _fits(entry: Tensor, group: Tensor) -> bool:
    same = group[:, None] == group[None]
    return bool(((entry >= 0) | ~same).all() and ((entry <= 0) | same).all())


@given(st.integers(1, 5), st.integers(0, 8), st.integers(0, 10**6), st.booleans())
@settings(max_examples=120, deadline=None)
def test_groups_by_brute_force(n: int, num_edges: int, seed: int, plant: bool) -> None:
    # Directed, weighted graphs. With `plant`, the signs are those of a random split, so that many are balanced.
    edge_index, weight = edges(num_edges, n, n, seed), values(num_edges, seed)
    generator = torch.Generator().manual_seed(seed)
    group = torch.randint(3, (n,), generator=generator)
    negative = group[edge_index[0]] != group[edge_index[1]]
    if not plant:
        negative = torch.rand(num_edges, generator=generator) < 0.3
    graph = SignedGraph.from_edge_weight(edge_index, torch.where(negative, -weight, weight), n)
    pos, neg = halves(graph)
    for got, num_groups in ((two_groups(graph), 2), (weak_groups(graph), n)):
        every = (torch.tensor(g) for g in itertools.product(range(num_groups), repeat=n))
        possible = any(_fits(pos - neg, group) for group in every)
        assert (got is not None) == possible
        assert got is None or (_fits(pos - neg, got) and int(got.max()) < num_groups)


def test_entries_of_both_halves_are_summed() -> None:
    one = CSR.from_edge_index(torch.tensor([[0], [1]]), num_nodes=2)
    assert signed_matrix(SignedGraph(one, one)).nnz == 0
    assert two_groups(SignedGraph(one, one.with_weight(torch.tensor([3.0])))).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["weighted+scaled", "duplicates", "bipartite", "no nodes", "row"])
def test_scipy_round_trip(name: str) -> None:
    half = GRAPHS[name]().pos
    matrix = to_scipy(half)
    np.testing.assert_allclose(matrix.toarray(), half.to_dense().numpy())
    torch.testing.assert_close(from_scipy(matrix).to_dense(), half.to_dense())


def test_critical_beta_by_hand() -> None:
    # One negative edge: alpha over the resistance of the positive edges between its ends.
    path = [(i, i + 1) for i in range(5)]
    assert critical_beta(_graph(6, path, [(0, 5)]), 0.4) == pytest.approx(0.4 / 5)
    assert critical_beta(_graph(6, path, [(1, 3)]), 0.4) == pytest.approx(0.4 / 2)
    # With equal halves, beta* = alpha.
    assert critical_beta(_graph(6, path, path), 0.3) == pytest.approx(0.3)
    # Mean centering on the complete graph: L+ = n I and L- = I orthogonal to the mean.
    k5 = _complete([0] * 5)
    assert critical_beta(SignedGraph(k5.pos, ClassBlock.mean(5)), 0.2) == pytest.approx(1.0)
    assert critical_beta(_graph(2, [(0, 1)], [(0, 1)]), 0.5) == pytest.approx(0.5)


def test_critical_beta_zero_and_infinite() -> None:
    assert critical_beta(_graph(3, TRIANGLE, []), 0.1) == math.inf
    assert critical_beta(SignedGraph(_graph(3, TRIANGLE, []).pos), 0.1) == math.inf
    # A node cannot repel itself, with either solver.
    for n in (3, 200):
        path = [(i, i + 1) for i in range(n - 1)]
        assert critical_beta(_graph(n, path, [(0, 0), (1, 1)]), 0.1) == math.inf
    # Only negative edges connect node 2.
    assert critical_beta(_graph(3, [(0, 1)], [(1, 2)]), 0.1) == 0.0


def _random(n: int, seed: int, extra: int = 2) -> SignedGraph:
    """Return a weighted graph that is connected by positive edges and has n / 2 negative edges."""
    generator = torch.Generator().manual_seed(seed)
    tree = torch.stack([torch.arange(1, n), (torch.rand(n - 1, generator=generator) * torch.arange(1, n)).long()])
    both = torch.cat([tree, edges(extra * n, n, n, seed)], 1), edges(max(n // 2, 1), n, n, seed + 1)
    index = [torch.cat([e, e.flip(0)], 1) for e in both]
    weight = [values(e.size(1), seed + k).repeat(2) for k, e in enumerate(both)]
    return SignedGraph.from_edge_index(*index, n, pos_edge_weight=weight[0], neg_edge_weight=weight[1])


def _matrix(graph: SignedGraph, alpha: float, beta: float) -> Tensor:
    """Return M = I - alpha L+ - beta L-_r, dense."""
    pos, neg = (torch.diag(a.sum(1)) - a for a in halves(graph))
    return torch.eye(graph.num_nodes, dtype=torch.float64) - alpha * pos + beta * neg


def _alpha(graph: SignedGraph) -> float:
    return 0.9 / float(halves(graph)[0].sum(1).max())


@pytest.mark.parametrize("n", [2, 3, 7, 12, 64, 66, 150])
@pytest.mark.parametrize("seed", [0, 1])
def test_critical_beta_solves_the_equation_of_theorem_32(n: int, seed: int) -> None:
    graph = _random(n, seed)
    alpha = _alpha(graph)
    beta = critical_beta(graph, alpha)
    if beta == math.inf:
        assert float(halves(graph)[1].fill_diagonal_(0).sum()) == 0
        return
    largest = torch.linalg.eigvalsh(_matrix(graph, alpha, beta) - 1 / n)[-1]
    assert float(largest) == pytest.approx(1.0, abs=1e-9)
    for factor, above in ((0.99, False), (1.01, True)):
        largest = torch.linalg.eigvalsh(_matrix(graph, alpha, factor * beta) - 1 / n)[-1]
        assert (float(largest) > 1.0) == above
    assert critical_beta(graph, alpha) == beta


def test_critical_beta_of_a_class_block_equals_that_of_its_matrix() -> None:
    graph = _random(90, 3)
    block = torch.tensor([[0.0, 0.02], [0.02, 0.01]], dtype=torch.float64)
    implicit = SignedGraph(graph.pos, ClassBlock(torch.arange(90) % 2, block))
    explicit = SignedGraph(graph.pos, from_scipy(sp.csr_array(implicit.neg.to_dense().numpy())))
    alpha = _alpha(graph)
    assert critical_beta(implicit, alpha) == pytest.approx(critical_beta(explicit, alpha), rel=1e-9)


def _karate() -> SignedGraph:
    club = load_dataset("karate")
    enemies = edges(12, 34, 34, 5)
    return SignedGraph.from_edge_index(club.edge_index, torch.cat([enemies, enemies.flip(0)], 1), 34)


@pytest.mark.parametrize("make", [_karate, lambda: _random(150, 4)], ids=["karate", "random"])
def test_two_regimes_of_theorem_32(make: Callable[[], SignedGraph]) -> None:
    """2 % below beta* every node converges to the initial mean; 2 % above it the norm diverges."""
    graph = make()
    n, alpha = graph.num_nodes, _alpha(graph)
    beta = critical_beta(graph, alpha)
    # alpha A+ = I - alpha L+ and A- = -L-, so one step of the package is X <- M X.
    pos, neg = (sp.diags_array(a.sum(axis=1)) - a for a in (to_scipy(graph.pos), to_scipy(graph.neg)))
    step = SignedGraph(from_scipy(sp.eye_array(n) / alpha - pos), from_scipy(-neg))
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edge_index = torch.from_numpy(np.stack(to_scipy(graph.pos).nonzero())).long()
    once = signed_propagate(x, step, alpha=alpha, beta=beta)
    torch.testing.assert_close(once, _matrix(graph, alpha, beta) @ x)
    below, above = (
        signed_propagate(x, step, alpha=alpha, beta=factor * beta, num_steps=50_000) for factor in (0.98, 1.02)
    )
    torch.testing.assert_close(below, x.mean(0).expand_as(x), rtol=0, atol=1e-6)
    assert dirichlet_energy(below, edge_index) < 1e-10
    assert not float(above.norm()) < 1e6


def _dynamics(graph: SignedGraph, x: Tensor, seed: int) -> Tensor:
    return constrained_dynamics(x, graph, alpha=0.3, beta=3.0, bound=2.0, num_steps=6000, seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_two_groups_of_theorem_42(seed: int) -> None:
    group = [0, 1, 0, 0, 1, 1, 0, 1, 1, 0]
    graph = _complete(group)
    x = torch.rand(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4 - 2
    end = _dynamics(graph, x, seed)
    assert torch.equal(end.abs(), torch.full((10,), 2.0, dtype=torch.float64))
    side = torch.tensor(group) * 2 - 1
    assert torch.equal(end * side, (end[1]).expand(10))
    assert two_groups(graph).tolist() == group


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_theorem_g2(seed: int) -> None:
    """m groups that repel each other: each converges to a corner of the cube, and not all to the same one."""
    group = torch.arange(12) % 4
    graph = _complete(group.tolist())
    x = torch.rand(12, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4 - 2
    end = _dynamics(graph, x, seed)
    assert torch.equal(end.abs(), torch.full((12, 3), 2.0, dtype=torch.float64))
    assert all(torch.equal(end[i], end[int(group[i])]) for i in range(12))
    assert len({tuple(row) for row in end.tolist()}) > 1
    assert two_groups(graph) is None and weak_groups(graph).tolist() == group.tolist()


def test_dynamics_are_reproducible_and_do_not_modify_the_input() -> None:
    graph, x = _complete([0, 0, 1]), torch.tensor([0.1, -0.2, 0.3])
    before = x.clone()
    run = lambda seed: constrained_dynamics(x, graph, alpha=0.3, beta=0.1, bound=1, num_steps=3, seed=seed)  # noqa: E731
    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2)) and torch.equal(x, before)
    assert run(1).dtype == torch.float32
    one = constrained_dynamics(x[:2], _graph(2, [(0, 1)], []), alpha=0.25, beta=1, bound=0.1, num_steps=1)
    # 0.1 - 0.25 * 0.3 and -0.2 + 0.25 * 0.3, clamped at -0.1.
    assert one.tolist() == pytest.approx([0.025, -0.1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_groups(GRAPHS["labels"]()), "both halves must be sparse here, got ClassBlock"),
        (lambda: weak_groups(GRAPHS["bipartite"]()), "must be square, got 9x17"),
        (lambda: critical_beta(GRAPHS["plain"](), 0.01), "pos must be symmetric"),
        (lambda: critical_beta(GRAPHS["block attracts"](), 0.01), "pos must be sparse, got ClassBlock"),
        (lambda: critical_beta(GRAPHS["no edges"](), 0.1), "graph must be connected; its positive edges leave 5"),
        (lambda: critical_beta(GRAPHS["one node"](), 0.1), "two nodes or more, got 1x1"),
        (lambda: critical_beta(_complete([0, 0, 0]), 0.5), "1 / max degree = 0.5.*, got 0.5"),
        (lambda: critical_beta(_complete([0, 0, 0]), 0.0), "alpha must lie in .* got 0.0"),
        (lambda: critical_beta(SignedGraph(_karate().pos, GRAPHS["features"]().neg), 0.01), "one shape"),
        (
            lambda: critical_beta(SignedGraph(_complete([0] * 23).pos, GRAPHS["features"]().neg), 0.01),
            "neg must be sparse or a ClassBlock, got Similarity",
        ),
        (
            lambda: critical_beta(SignedGraph(_complete([0] * 23).pos, GRAPHS["labels"]().neg), 0.01),
            "neg must be symmetric with entries >= 0, got ClassBlock",
        ),
        (lambda: _dynamics(_complete([0, 1]), torch.zeros(3), 0), r"shape \[num_nodes=2\]"),
        (lambda: _dynamics(GRAPHS["no edges"](), torch.zeros(5), 0), "there must be an edge"),
        (
            lambda: constrained_dynamics(torch.zeros(2), _complete([0, 1]), alpha=1, beta=1, bound=1, num_steps=1),
            "alpha must lie in",
        ),
    ],
)
def test_wrong_calls(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
