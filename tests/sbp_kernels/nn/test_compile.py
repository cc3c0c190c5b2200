"""Accelerated layers under torch.compile have no graph break, the same results and never an outdated graph."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as pyg

from sbp_kernels.backends._extension import NOT_LOADED
from sbp_kernels.nn import FAConv, GCNConv, SBPConv, accelerate
from tests.sbp_kernels.nn.layers import edges, in_form

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gcn, self.appnp = pyg.GCNConv(6, 8), pyg.APPNP(3, 0.1)
        self.gcn2, self.signed = pyg.GCN2Conv(8, 0.1, 0.5, 2), pyg.SignedConv(8, 4, first_aggr=True)
        self.norm = pyg.PairNorm()

    def forward(self, x, edge_index, neg_edge_index):
        x = self.gcn(x, edge_index).relu()
        x = self.norm(self.gcn2(self.appnp(x, edge_index), x, edge_index))
        x = self.gcn2(x, x, edge_index)
        return self.signed(x, edge_index, neg_edge_index)


def check(compiled, plain, x, *adjacency):
    want, got = (f(x, *adjacency) for f in (plain, compiled))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    wanted = [x, *plain.parameters()]
    for g, w in zip(*(torch.autograd.grad(y.square().sum(), wanted) for y in (got, want)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-4)


def test_a_compiled_model_follows_its_graph():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Model()
    accelerate(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x, pos, neg = torch.randn(13, 6, requires_grad=True), edges(0), edges(1, 30)
    check(compiled, model, x, pos, neg)
    # Other edges of the same shapes; then the first edges again; then a copy at the address of dead edges.
    other = pos.flip(0).contiguous()
    check(compiled, model, x, other, neg)
    check(compiled, model, x, pos, neg)
    del other
    check(compiled, model, x, edges(7)[:, : pos.size(1)].clone(), neg)
    # An in-place change cannot cause a recompilation, so it raises.
    pos[:, 0] = pos[:, 1].clone()
    with pytest.raises(RuntimeError, match="changed in place after it was compiled"):
        compiled(x, pos, neg)
    # Edges of other sizes.
    bigger = torch.randn(17, 6, requires_grad=True)
    check(compiled, model, bigger, edges(2, 50, 17), neg)


def test_labels_and_learnable_coefficients():
    torch._dynamo.reset()
    torch.manual_seed(0)
    x, pos = torch.randn(13, 6, requires_grad=True), edges(0)
    y, known = torch.randint(0, 3, (13,)), torch.rand(13) < 0.5
    conv = SBPConv(beta=0.5, learnable=["lam"], num_steps=2)

    def step(x, edge_index):
        return conv(x, edge_index, y=y, known=known)

    compiled = torch.compile(step, fullgraph=True)
    want, got = (torch.autograd.grad(f(x, pos).square().sum(), [x, conv.lam]) for f in (step, compiled))
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-4)


def test_what_does_not_compile_says_so_or_runs_eager():
    torch.manual_seed(0)
    x, pos = torch.randn(13, 6), edges(0)
    conv, gated = GCNConv(6, 8), FAConv(6)
    weight = torch.rand(pos.size(1), requires_grad=True)
    calls = [(conv, (x, pos, weight)), (gated, (x, x, pos)), (conv, (x, in_form("csr", pos, None)[0]))]
    for layer, arguments in calls:
        torch._dynamo.reset()
        with pytest.raises(Exception, match=r"edge weights that require a gradient|does not support sparse"):
            torch.compile(layer, fullgraph=True, backend="eager")(*arguments)
        torch._dynamo.reset()
        got = torch.compile(layer, backend="eager")(*arguments)
        torch.testing.assert_close(got, layer(*arguments))
