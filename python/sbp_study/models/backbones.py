"""Networks that train a method end to end: its steps before, or between, layers with weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.inits import glorot

from sbp_kernels import CSR, SignedGraph, signed_propagate

from ..config import Config
from . import MODELS, Model, Network


class SGCNetwork(Network):
    """Steps, then one linear layer: the SGC backbone (arXiv 1902.07153) for steps that change during training.

    If the method is linear, the weights are applied first: it then propagates one column per class.
    """

    def __init__(self, model: Model, in_channels: int, num_classes: int) -> None:
        super().__init__(model)
        self.linear = nn.Linear(in_channels, num_classes)
        self._x: Tensor | None = None
        self._nonzeros: SignedGraph | None = None

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        model, steps = self.model, self.model.config.layers
        if model.linear:
            propagated = model.propagate(self._times_weight(x), steps)
            yield propagated
            yield model.output(propagated) + self.linear.bias
        else:
            propagated = model.output(model.propagate(x, steps))
            yield propagated
            yield self.linear(propagated)

    def _times_weight(self, x: Tensor) -> Tensor:
        """Return X W. If X has few nonzeros, as a bag of words has, only these are read."""
        weight, c = self.linear.weight, self.model.config
        if x is not self._x and not c.compile:
            self._x, self._nonzeros = x, _bipartite(x)
        if self._nonzeros is None:
            return F.linear(x, weight)
        return signed_propagate(weight.T.contiguous(), self._nonzeros, backend=c.backend)


def _bipartite(x: Tensor) -> SignedGraph | None:
    """Return the nonzeros of X as edges from features to nodes, or None if they are more than a tenth of X."""
    if torch.count_nonzero(x) * 10 > x.numel():
        return None
    node, feature = x.nonzero().T
    return SignedGraph(CSR.from_edge_index(torch.stack([feature, node]), x[node, feature], size=(x.size(1), x.size(0))))


class GCNNetwork(Network):
    """Layers of weights, a step of the method, and ReLU. The last layer uses the plain adjacency (arXiv 1609.02907)."""

    def __init__(self, model: Model, in_channels: int, num_classes: int) -> None:
        super().__init__(model)
        c = model.config
        widths = [in_channels] + [c.hidden] * (c.layers - 1) + [num_classes]
        self.linears = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.weights = nn.ModuleList(self.linears)
        for linear in self.linears:
            glorot(linear.weight)
            nn.init.zeros_(linear.bias)

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        *hidden, last = self.linears
        dropout = self.model.config.dropout
        for index, linear in enumerate(hidden):
            z = F.linear(F.dropout(x, dropout, self.training), linear.weight)
            x = F.relu(self.model.layer(z, x, index) + linear.bias)
            yield x
        yield self.model.spread(F.linear(F.dropout(x, dropout, self.training), last.weight)) + last.bias


class GCNIINetwork(Network):
    r"""\( H \leftarrow \mathrm{ReLU}(S ((1 - b_l) I + b_l W_l)) \), \( S = (1-a) \hat A H + a H_0 \).

    This is the initial residual and identity mapping of arXiv 2007.02133. A signed method adds a second step, on S.
    """

    def __init__(self, model: Model, in_channels: int, num_classes: int) -> None:
        super().__init__(model)
        c = model.config
        self.first, self.last = nn.Linear(in_channels, c.hidden), nn.Linear(c.hidden, num_classes)
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(c.hidden, c.hidden)) for _ in range(c.layers))
        for weight in self.weights:
            glorot(weight)

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        c = self.model.config
        drop = lambda h: F.dropout(h, c.dropout, self.training)  # noqa: E731
        h = h0 = F.relu(self.first(drop(x)))
        for index, weight in enumerate(self.weights):
            support = self.model.initial_residual(drop(h), h0)
            b = math.log(c.theta / (index + 1) + 1.0)
            h = F.relu(torch.addmm(support, support, weight, beta=1.0 - b, alpha=b))
            yield h
        yield self.last(drop(h))


_BACKBONES = {"sgc": SGCNetwork, "gcn": GCNNetwork, "gcnii": GCNIINetwork}


def build(data: Data, config: Config, num_classes: int) -> Network:
    """Return a network on the device of the data, with initial weights from torch's global generator."""
    model = MODELS[config.model](data, config)
    in_channels = data.x.size(1)
    network = model.network(in_channels, num_classes) or _BACKBONES[config.backbone](model, in_channels, num_classes)
    return network.to(data.x.device)
