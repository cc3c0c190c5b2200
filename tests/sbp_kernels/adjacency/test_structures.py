"""The graph classes by themselves: constructors, transposes, degrees, definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from sbp_kernels import CSR, ClassBlock, SignedGraph, signed_propagate
from sbp_kernels.adjacency.sparsity import SparsityPattern
from tests.graphs import GRAPHS, edges, plain, values


def dense_from(edge_index, weight, num_targets, num_sources):
    dense = torch.zeros(num_targets, num_sources, dtype=torch.float64)
    return dense.index_put((edge_index[1], edge_index[0]), weight.double(), accumulate=True)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_from_edge_index_is_the_matrix_of_its_edges(data):
    num_sources, num_targets = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))
    num_edges = data.draw(st.integers(0, 20))
    pairs = data.draw(
        st.lists(
            st.tuples(st.integers(0, num_sources - 1), st.integers(0, num_targets - 1)),
            min_size=num_edges,
            max_size=num_edges,
        )
    )
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    weight = values(num_edges, 0)
    matrix = CSR.from_edge_index(index, weight, size=(num_sources, num_targets))
    want = dense_from(index, weight, num_targets, num_sources)
    assert torch.equal(matrix.to_dense(), want)
    assert torch.equal(matrix.T.to_dense(), want.T)
    assert torch.equal(matrix.T.T.to_dense(), want)
    for row in range(num_targets):
        col = matrix.col[matrix.rowptr[row] : matrix.rowptr[row + 1]]
        assert bool((col.diff() >= 0).all())


@pytest.mark.parametrize("name", GRAPHS)
def test_transpose_is_the_transpose(name):
    graph = GRAPHS[name]()
    for half in (graph.pos, graph.neg):
        if half is not None:
            torch.testing.assert_close(half.T.to_dense(), half.to_dense().T, rtol=1e-15, atol=1e-15)
            assert half.T is half.T


def test_compiled_and_torch_sorting_agree(monkeypatch):
    index = edges(300, 20, 30, 0)
    compiled, order = SparsityPattern.from_coo(index[1], index[0], 30, 20)
    flipped, flipped_order = compiled.transpose()
    monkeypatch.setattr("sbp_kernels.adjacency.sparsity.NOT_LOADED", "pretend")
    plain_torch, plain_order = SparsityPattern.from_coo(index[1], index[0], 30, 20)
    assert torch.equal(order, plain_order)
    for got, want in ((compiled, plain_torch), (flipped, plain_torch.transpose()[0])):
        assert (
            torch.equal(got.rowptr, want.rowptr) and torch.equal(got.col, want.col) and got.col.dtype == want.col.dtype
        )
    assert torch.equal(flipped_order, plain_torch.transpose()[1])


def test_a_symmetric_matrix_keeps_its_arrays_once():
    index = edges(40, 12, 12, 0)
    matrix = CSR.from_edge_index(torch.cat([index, index.flip(0)], 1), num_nodes=12).normalize("sym")
    assert matrix.T.pattern._rowptr is matrix.pattern._rowptr and matrix.T.pattern._col is matrix.pattern._col
    row_normalized = CSR.from_edge_index(torch.cat([index, index.flip(0)], 1), num_nodes=12).normalize("row")
    assert row_normalized.T.pattern._col is row_normalized.pattern._col
    torch.testing.assert_close(row_normalized.T.to_dense(), row_normalized.to_dense().T)


@pytest.mark.parametrize("weighted", [False, True])
def test_normalize_sym_is_gcn_norm(weighted):
    index = edges(60, 15, 15, 0)
    weight = values(60, 0) if weighted else torch.ones(60, dtype=torch.float64)
    norm_index, norm_weight = gcn_norm(index, weight, 15, add_self_loops=True)
    want = dense_from(norm_index, norm_weight, 15, 15)
    got = CSR.from_edge_index(index, weight if weighted else None, 15).add_self_loops().normalize("sym")
    # gcn_norm keeps one loop a node; duplicates of a loop add up here, so compare without them.
    loops = index[0][index[0] == index[1]]
    if loops.unique().numel() == loops.numel():
        torch.testing.assert_close(got.to_dense(), want)


def test_normalize_takes_absolute_degrees_and_leaves_isolated_nodes():
    index = torch.tensor([[0, 1, 2, 2], [1, 0, 0, 1]])
    weight = torch.tensor([-2.0, 1.0, 3.0, -2.0], dtype=torch.float64)
    matrix = CSR.from_edge_index(index, weight, 4)
    row = matrix.normalize("row").to_dense()
    torch.testing.assert_close(row.abs().sum(1), torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    assert bool(torch.isfinite(matrix.normalize("sym").to_dense()).all())


def test_normalizing_learnt_weights_passes_the_gradient_through_the_degrees():
    index = edges(20, 6, 6, 0)

    def normalized(weight):
        return CSR.from_edge_index(index, weight, 6).normalize("sym").weight

    assert torch.autograd.gradcheck(normalized, values(20, 0).requires_grad_())


def test_joint_degrees_count_both_signs():
    graph = plain().normalize("row", joint=True)
    total = graph.pos.to_dense().sum(1) + graph.neg.to_dense().sum(1)
    torch.testing.assert_close(total, torch.ones(23, dtype=torch.float64))


def test_self_loops_are_added_where_missing():
    matrix = CSR.from_edge_index(torch.tensor([[0, 1], [0, 0]]), num_nodes=3).add_self_loops(2.0)
    want = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    assert torch.equal(matrix.to_dense(), want)


def test_signed_weights_split_by_sign_and_units_are_not_stored():
    index = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])
    graph = SignedGraph.from_edge_weight(index, torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert graph.pos.weight is None and graph.neg.weight is None
    graph = SignedGraph.from_edge_weight(index, torch.tensor([0.5, -1.5, 1.0, 0.0]))
    both = graph.pos.to_dense() - graph.neg.to_dense()
    assert both[1, 0] == 0.5 and both[2, 1] == -1.5 and both[0, 2] == 1.0 and graph.neg.num_edges == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_from_labels_is_the_dense_softmax(share):
    generator = torch.Generator().manual_seed(0)
    y, known = torch.randint(5, (40,), generator=generator), torch.rand(40, generator=generator) < share
    both = known[:, None] & known[None, :]
    same = y[:, None] == y[None, :]
    label_matrix = torch.where(both, torch.where(same, -1.0, 1.0), 0.0).double()
    got = ClassBlock.from_labels(y, known).to_dense()
    torch.testing.assert_close(got, torch.softmax(label_matrix, dim=1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("over", ["all", "labelled"])
@pytest.mark.parametrize("flip", [False, True], ids=["", "transposed"])
def test_many_classes_are_kept_as_factors(over, flip, monkeypatch):
    """The same matrix whichever way it is stored, and never a square of classes in memory."""
    y, known = torch.arange(40) % 7 * 50, torch.arange(40) % 3 != 0
    few = ClassBlock.from_labels(y, known, over)
    monkeypatch.setattr("sbp_kernels.adjacency.class_block.MANY_GROUPS", 10**6)
    matrix = ClassBlock.from_labels(y, known, over)
    few, matrix = (few.T, matrix.T) if flip else (few, matrix)
    assert few._block is None and matrix._factors is None and few.num_groups == matrix.num_groups == 302
    torch.testing.assert_close(few.to_dense(), matrix.to_dense(), rtol=1e-14, atol=1e-16)
    torch.testing.assert_close(few.to("cpu").to_dense(), few.to_dense())
    x = torch.randn(40, 3, dtype=torch.float64)
    got = signed_propagate(x, SignedGraph(neg=few), lam=0.5)
    torch.testing.assert_close(got, 0.5 * x - 0.5 * matrix.to_dense() @ x, rtol=1e-12, atol=1e-12)


def test_ten_thousand_classes_cost_as_much_as_their_nodes():
    y = torch.arange(20_000) % 10_000
    block = ClassBlock.from_labels(y, torch.ones(20_000, dtype=torch.bool))
    x = torch.randn(20_000, 4, dtype=torch.float64)
    got = signed_propagate(x, SignedGraph(neg=block), lam=1.0)
    e, total = torch.e, x.sum(0)
    own = torch.zeros(10_000, 4, dtype=torch.float64).index_add_(0, y, x)[y]
    want = (e * (total - own) + own / e) / (2 * (e * 9_999 + 1 / e))
    torch.testing.assert_close(got, -want, rtol=1e-10, atol=1e-12)


def test_unknown_labels_are_never_read():
    y, known = torch.tensor([0, 1, -1, 7]), torch.tensor([True, True, False, False])
    a = ClassBlock.from_labels(y, known)
    b = ClassBlock.from_labels(torch.tensor([0, 1, 3, -5]), known)
    assert torch.equal(a.group, b.group) and torch.equal(a.block, b.block)


def test_labelled_softmax_spreads_over_labelled_nodes_only():
    y, known = torch.tensor([0, 1, 0, 1]), torch.tensor([True, True, True, False])
    dense = ClassBlock.from_labels(y, known, "labelled").to_dense()
    torch.testing.assert_close(dense.sum(1), torch.ones(4, dtype=torch.float64))
    assert bool((dense[:, 3] == 0).all())


def test_graphs_move_between_devices():
    for make in GRAPHS.values():
        graph = make()
        moved = graph.to("cpu")
        for a, b in zip((graph.pos, graph.neg), (moved.pos, moved.neg), strict=True):
            assert a is None or torch.equal(a.to_dense(), b.to_dense())


def test_no_cycle_keeps_a_graph_alive():
    import gc
    import weakref

    gc.disable()
    try:
        for name in ("sym", "weighted", "labels"):
            graph = GRAPHS[name]().prepare()
            halves = [
                weakref.ref(h.pattern._rowptr if isinstance(h, CSR) else h._groups.values)
                for h in (graph.pos, graph.neg)
            ]
            del graph
            assert all(ref() is None for ref in halves), name
    finally:
        gc.enable()


def test_a_learnable_block_is_shared_and_a_fixed_one_copied():
    group, block, x = torch.arange(6) % 3, torch.randn(3, 3), torch.randn(6, 2)
    fixed, learnable = ClassBlock(group, block), ClassBlock(group, torch.nn.Parameter(block.clone()))
    want = fixed.to_dense()
    block.zero_()
    with torch.no_grad():
        learnable.learnable_weight(torch.float32).mul_(2.0)
    torch.testing.assert_close(learnable.to_dense(), 2 * want)
    assert torch.equal(fixed.to_dense(), want)
    for half in (learnable, learnable.T):
        for num_steps in (1, 3):
            got = signed_propagate(x, SignedGraph(half), num_steps=num_steps, lam=1.0)
            exact = torch.linalg.matrix_power(half.to_dense().detach(), num_steps) @ x.double()
            torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-5)


def test_another_block_on_the_same_groups():
    group, block = torch.rand(6, 3), torch.randn(3, 3)
    half = ClassBlock(group, torch.eye(3)).with_weight(block)
    torch.testing.assert_close(half.to_dense(), (group @ block @ group.T).double())
    with pytest.raises(ValueError, match="soft groups must have shape"):
        ClassBlock(group, torch.eye(3)).with_weight(torch.eye(4))
    assert ClassBlock(group, block).num_groups == 3 and half.num_nodes == 6


def test_the_gradient_of_a_block_needs_no_matrix_of_all_nodes():
    """At 50,000 nodes an n x n matrix would take 10 GB."""
    n = 50_000
    block = torch.nn.Parameter(torch.randn(5, 5, dtype=torch.float64))
    x = torch.randn(n, 4, dtype=torch.float64)
    for group in (torch.arange(n) % 5, torch.rand(n, 5)):
        y = signed_propagate(x, SignedGraph(ClassBlock(group, block)))
        (got,) = torch.autograd.grad(y.sum(), block)
        share = torch.nn.functional.one_hot(group, 5).float() if group.dim() == 1 else group
        want = share.double().sum(0)[:, None] * (share.double().T @ x.double()).sum(1)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-6)
