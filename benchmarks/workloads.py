"""Signed power-law graphs of the sizes of known data sets, made from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Size:
    """What to generate; edges are counted in both directions, as in an `edge_index`."""

    num_nodes: int
    num_edges_pos: int
    num_edges_neg: int
    exponent: float


# The exponents give hubs of about the degree that the data set of that name has.
SIZES = {
    "cora": Size(2_708, 10_556, 5_278, exponent=3.0),
    "pubmed": Size(19_717, 88_648, 44_324, exponent=3.5),
    "arxiv": Size(169_343, 1_543_732, 771_866, exponent=2.5),
}


@dataclass(frozen=True)
class Workload:
    """An undirected signed graph with D^-1/2 A D^-1/2 weights for each sign."""

    name: str
    num_nodes: int
    pos: Tensor  # [2, E+] int64, row 0 = source, row 1 = target
    neg: Tensor  # [2, E-]
    pos_weight: Tensor  # [E+] float64
    neg_weight: Tensor  # [E-]

    @property
    def num_edges(self) -> int:
        return self.pos.shape[1] + self.neg.shape[1]

    def degrees(self) -> Tensor:
        return torch.bincount(torch.cat([self.pos[1], self.neg[1]]), minlength=self.num_nodes)

    def to(self, device: torch.device) -> Workload:
        return replace(
            self,
            pos=self.pos.to(device),
            neg=self.neg.to(device),
            pos_weight=self.pos_weight.to(device),
            neg_weight=self.neg_weight.to(device),
        )


def load(name: str, seed: int = 0) -> Workload:
    """The workload of a named size."""
    if name not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {name!r}")
    return generate(name, SIZES[name], seed)


def generate(name: str, size: Size, seed: int = 0) -> Workload:
    """Draw the pairs of a Chung-Lu graph, then deal them at random to the two signs."""
    if size.num_edges_pos % 2 or size.num_edges_neg % 2:
        raise ValueError(
            "num_edges_pos and num_edges_neg count both directions and must be even, "
            f"got {size.num_edges_pos} and {size.num_edges_neg}"
        )
    generator = torch.Generator().manual_seed(seed)
    half_pos, half_neg = size.num_edges_pos // 2, size.num_edges_neg // 2
    pairs = _draw_pairs(size.num_nodes, half_pos + half_neg, size.exponent, generator)
    # Random names, so that the hubs do not lie side by side in memory.
    pairs = torch.randperm(size.num_nodes, generator=generator)[pairs]
    pos, neg = (torch.cat([p, p.flip(0)], dim=1) for p in pairs.split([half_pos, half_neg], dim=1))
    return Workload(
        name=name,
        num_nodes=size.num_nodes,
        pos=pos,
        neg=neg,
        pos_weight=_sym_weights(pos, size.num_nodes),
        neg_weight=_sym_weights(neg, size.num_nodes),
    )


def _draw_pairs(num_nodes: int, count: int, exponent: float, generator: torch.Generator) -> Tensor:
    """`count` distinct pairs u < v, an end at node i with probability ~ (i+1)^(-1/(exponent-1))."""
    if exponent <= 1:
        raise ValueError(f"exponent must be greater than 1, got {exponent}")
    if 4 * count > num_nodes * (num_nodes - 1):
        raise ValueError(f"at most half of all pairs of num_nodes={num_nodes} nodes can be drawn, asked for {count}")
    rank = torch.arange(1, num_nodes + 1, dtype=torch.float64)
    cdf = rank.pow(-1.0 / (exponent - 1.0)).cumsum(0)
    keys = torch.empty(0, dtype=torch.int64)
    while keys.numel() < count:
        missing = count - keys.numel()
        draw = torch.rand(2, missing + missing // 5 + 64, generator=generator, dtype=torch.float64)
        ends = torch.searchsorted(cdf, draw * cdf[-1]).clamp_(max=num_nodes - 1)
        low, high = ends.amin(0), ends.amax(0)
        fresh = (low * num_nodes + high)[low != high]
        keys = torch.unique(torch.cat([keys, fresh]))
    keys = keys[torch.randperm(keys.numel(), generator=generator)[:count]]
    return torch.stack([keys // num_nodes, keys % num_nodes])


def _sym_weights(edge_index: Tensor, num_nodes: int) -> Tensor:
    degree = torch.bincount(edge_index[1], minlength=num_nodes).double()
    inverse_root = degree.clamp(min=1).rsqrt()
    return inverse_root[edge_index[0]] * inverse_root[edge_index[1]]
