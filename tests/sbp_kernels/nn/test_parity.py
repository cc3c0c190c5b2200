"""Each layer equals PyG's layer in outputs, all gradients, parameters and text."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.sbp_kernels.nn.layers import CASES, FORMS, both, edges, in_form, inputs, name_of, run

pytestmark = pytest.mark.filterwarnings("error:.*runs PyG's own forward", "ignore:.*([Ss]parse|CSR)")


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def adjacency_of(case, form, seed=0, num_edges=60, learnable=False):
    name, _, weighted = case
    if name == "SignedConv":
        return [in_form(form, edges(seed, num_edges), None)[0], in_form(form, edges(seed + 1, num_edges // 2), None)[0]]
    edge_index = edges(seed, num_edges)
    weight = torch.rand(edge_index.size(1), requires_grad=learnable) if weighted and (learnable or seed != 5) else None
    return [a for a in in_form(form, edge_index, weight) if a is not None]


def compare(case, adjacency, features=None):
    theirs, mine = both(*case[:2])
    # PyG's gradients of int32 indices are not those of the same int64 indices.
    long = [a.long() if isinstance(a, torch.Tensor) and a.dtype == torch.int32 else a for a in adjacency]
    features = inputs(case[0]) if features is None else features
    if any(p is torch.nn.parameter.UninitializedParameter for p in map(type, theirs.parameters())):
        for layer in (theirs, mine):
            torch.manual_seed(1)
            layer(*features, *adjacency)
    for _ in range(2):
        for g, w in zip(run(mine, features, adjacency)[1], run(theirs, features, long)[1], strict=True):
            assert (g is None) == (w is None)
            if w is not None:
                same(g, w)
    same(run(mine, features, adjacency)[0], run(theirs, features, long)[0])


def comparable(case, form):
    name, arguments, _ = case
    # PyG does not normalize CSC matrices, and applies dropout to a matrix in another order.
    if form == "csc" and (name == "FAConv" or (name != "SignedConv" and arguments.get("normalize", True))):
        return False
    return not (arguments.get("dropout") and form in ("coo", "csr", "csc"))


PAIRS = [(case, form) for case in CASES for form in FORMS if comparable(case, form)]


@pytest.mark.parametrize(("case", "form"), PAIRS, ids=[f"{name_of(case)}-{form}" for case, form in PAIRS])
def test_every_kind_of_adjacency(case, form):
    compare(case, adjacency_of(case, form))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_unweighted_and_empty_graphs(case):
    if not (case[0] in ("FAConv",) and not case[1].get("normalize", True)):
        compare(case, adjacency_of(case, "edge_index", seed=5))
    compare(case, adjacency_of(case, "edge_index", num_edges=0))


@pytest.mark.parametrize("case", [c for c in CASES if c[2] and not c[1].get("cached")], ids=name_of)
def test_learnable_weights(case):
    compare(case, adjacency_of(case, "edge_index", learnable=True))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_reversed_flow(case):
    compare((case[0], {**case[1], "flow": "target_to_source"}, case[2]), adjacency_of(case, "edge_index"))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_parameters_and_text(case):
    theirs, mine = both(*case[:2])
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert isinstance(mine, type(theirs))
    features, adjacency = inputs(case[0]), adjacency_of(case, "edge_index")
    mine.eval(), theirs.eval()
    theirs(*features, *adjacency), mine(*features, *adjacency)
    mine.reset_parameters()
    mine.load_state_dict(theirs.state_dict())
    want = theirs(*features, *adjacency)
    same(mine(*features, *adjacency), want)
    same(copy.deepcopy(mine)(*features, *adjacency), want)
    theirs.load_state_dict(mine.state_dict())
