"""Signed graphs in Lightning, torch.export and HeteroConv."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import DataLoader, RandomNodeLoader
from torch_geometric.nn import HeteroConv

from sbp_kernels import SignedGraph, signed_propagate
from sbp_kernels.nn import SBPConv
from sbp_kernels.pyg import SignedData, ToSignedGraph, from_data, from_hetero_data
from tests.graphs import edges, values


def signed_data(seed: int = 0, n: int = 23) -> SignedData:
    weight = values(80, seed).float() * torch.tensor([1.0, -1.0]).repeat(40)
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    data = Data(x=x, edge_index=edges(80, n, n, seed), edge_weight=weight, y=torch.arange(n) % 3)
    return ToSignedGraph(normalize="sym")(data)


class Step(torch.nn.Module):
    """A layer of one signed step and a linear map, within one node type or between two."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.lin = torch.nn.LazyLinear(out_channels)

    def forward(self, x: Tensor | tuple[Tensor, Tensor], graph: SignedGraph) -> Tensor:
        x = x if isinstance(x, Tensor) else x[0]
        return self.lin(signed_propagate(x, graph, beta=0.5))


def test_hetero_conv():
    torch.manual_seed(0)
    data = HeteroData()
    data["user"].x, data["item"].x = torch.randn(9, 4), torch.randn(6, 5)
    for kind, size in {("user", "rates", "item"): (9, 6), ("item", "rated_by", "user"): (6, 9)}.items():
        data[kind].edge_index = edges(20, *size, 0)
        data[kind].edge_weight = torch.tensor([1.0, -1.0]).repeat(10)
    data["user", "trusts", "user"].edge_index = edges(15, 9, 9, 1)
    data["user", "trusts", "user"].edge_weight = torch.tensor([1.0, 1.0, -1.0]).repeat(5)
    graphs = from_hetero_data(data, normalize="row")
    conv = HeteroConv({kind: Step(3) for kind in data.edge_types}, aggr="sum")
    out = conv(data.x_dict, graphs)
    assert out["user"].shape == (9, 3) and out["item"].shape == (6, 3)
    user = sum(
        conv.convs[kind].lin(graph.pos.to_dense().float() @ x - 0.5 * graph.neg.to_dense().float() @ x)
        for kind, graph, x in ((k, graphs[k], data[k[0]].x) for k in graphs if k[2] == "user")
    )
    torch.testing.assert_close(out["user"], user)


def test_sbp_conv_accepts_graphs_of_relations():
    data = HeteroData()
    data["user"].x, data["item"].x = torch.randn(9, 4), torch.randn(6, 4)
    data["user", "rates", "item"].edge_index = edges(20, 9, 6, 0)
    data["user", "rates", "item"].edge_weight = torch.tensor([1.0, -1.0]).repeat(10)
    data["user", "trusts", "user"].edge_index = edges(15, 9, 9, 1)
    data["user", "trusts", "user"].edge_weight = torch.tensor([1.0, 1.0, -1.0]).repeat(5)
    graphs = from_hetero_data(data, normalize="row")
    out = HeteroConv({kind: SBPConv(beta=0.5, add_self_loops=False) for kind in graphs})(data.x_dict, graphs)
    options = {"beta": 0.5, "lam": 0.5}
    rates, trusts = graphs["user", "rates", "item"], graphs["user", "trusts", "user"]
    assert torch.equal(out["user"], signed_propagate(data["user"].x, trusts, **options))
    want = signed_propagate(data["user"].x, rates, residual=data["item"].x, **options)
    assert torch.equal(out["item"], want)
    with pytest.raises(ValueError, match="give nothing beside it"):
        SBPConv()(data["user"].x, trusts, edges(3, 9, 9, 2))


def test_export_of_a_model_that_holds_a_graph():
    class Model(torch.nn.Module):
        def __init__(self, graph: SignedGraph) -> None:
            super().__init__()
            self.graph, self.lin = graph, torch.nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = signed_propagate(self.lin(x), self.graph, lam=0.5, num_steps=3, layer_norm=True)
            return signed_propagate(h, self.graph, beta=0.3)

    data = signed_data()
    model = Model(data.signed_graph).eval()
    exported = torch.export.export(model, (data.x,))
    x = torch.randn(23, 4)
    torch.testing.assert_close(exported.module()(x), model(x))
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x))


def test_batches_of_random_nodes():
    data = signed_data()
    seen = 0
    for batch in RandomNodeLoader(data, num_parts=3, shuffle=True):
        want = from_data(Data(**batch.to_dict()), normalize="sym")
        got = batch.signed_graph
        assert torch.equal(got.pos.to_dense(), want.pos.to_dense())
        assert torch.equal(got.neg.to_dense(), want.neg.to_dense())
        seen += batch.num_nodes
    assert seen == 23


@pytest.mark.parametrize("loader", ["disjoint", "random"])
def test_lightning(loader, tmp_path):
    lightning = pytest.importorskip("pytorch_lightning", reason="Lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.lin = torch.nn.Linear(4, 3)
            self.losses: list[float] = []

        def training_step(self, batch: SignedData) -> Tensor:
            out = signed_propagate(self.lin(batch.x), batch.signed_graph, lam=0.5)
            loss = F.cross_entropy(out, batch.y)
            self.losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.05)

    torch.manual_seed(0)
    module, graphs = Module(), [signed_data(seed) for seed in range(4)]
    batches = DataLoader(graphs, batch_size=2) if loader == "disjoint" else RandomNodeLoader(graphs[0], 2)
    trainer = lightning.Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, batches)
    assert len(module.losses) == 20 and sum(module.losses[-4:]) < sum(module.losses[:4])
