"""PyG's samplers of absent edges: the same draws, looked up in codes of the edges that were sorted once."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.utils import negative_sampling

from ..pyg.autodiff import unwrapped
from ..pyg.compiled import lookup
from ..transforms import outside


@torch.compiler.disable
def absent_edges(pos_edge_index: Tensor, neg_edge_index: Tensor, num_nodes: int) -> Tensor:
    """PyG's `negative_sampling` of both kinds of edges together: `[2, about num_edges]`, no loops."""
    with outside():
        return _absent_edges(unwrapped(pos_edge_index), unwrapped(neg_edge_index), num_nodes)


def _absent_edges(pos_edge_index: Tensor, neg_edge_index: Tensor, num_nodes: int) -> Tensor:
    codes, num_codes = lookup(_codes_without_loops, (num_nodes,), pos_edge_index, neg_edge_index)
    wanted = pos_edge_index.size(1) + neg_edge_index.size(1)
    population = num_nodes * (num_nodes - 1)
    share = 1.0 - num_codes / max(population, 1)
    drawn_at_once = int(1.1 * wanted / share) if share > 0 else population
    if drawn_at_once >= population:
        return negative_sampling(torch.cat([pos_edge_index, neg_edge_index], 1), num_nodes)
    found = codes.new_empty(0)
    for _ in range(3):
        drawn = sample(population, drawn_at_once).to(codes.device)
        absent = ~_contains(codes, drawn)
        if found.numel():
            absent &= ~torch.isin(drawn, found)
        found = torch.cat([found, drawn[absent]])
        if found.numel() >= wanted:
            break
    found = found[:wanted]
    row, col = found // (num_nodes - 1), found % (num_nodes - 1)
    return torch.stack([row, col + (col >= row)])


def absent_targets(edge_index: Tensor, num_nodes: int) -> Tensor:
    """PyG's `structured_negative_sampling`: for every edge (i, j) a k such that (i, k) is no edge."""
    codes = lookup(_codes, (num_nodes,), edge_index)
    first = edge_index[0] * num_nodes
    # PyG draws on the CPU.
    drawn = torch.randint(num_nodes, (first.numel(),)).to(first.device)
    rest = _contains(codes, first + drawn).nonzero().view(-1)
    while rest.numel():
        again = torch.randint(num_nodes, (rest.numel(),)).to(first.device)
        drawn[rest] = again
        rest = rest[_contains(codes, first[rest] + again)]
    return drawn


def sample(population: int, k: int) -> Tensor:
    """`random.sample(range(population), k)`, from the same draws of the same generator, in one go."""
    bits = population.bit_length()
    # Where CPython shuffles a list of the population instead of drawing from it; or draws twice for a number.
    if k == 0 or bits > 32 or population <= 21 + 4 ** math.ceil(math.log(3 * k, 4)):
        return torch.tensor(random.sample(range(population), k), dtype=torch.int64)
    version, state, gauss = random.getstate()
    generator = np.random.MT19937()
    start: Any = {"bit_generator": "MT19937", "state": {"key": np.array(state[:-1], dtype=np.uint32), "pos": state[-1]}}
    generator.state = start
    size, first = k + 64, np.empty(0, dtype=np.int64)
    while first.size < k:
        generator.state, size = start, 2 * size
        drawn = generator.random_raw(size) >> (32 - bits)
        # Few are drawn twice, so little more than k are looked at.
        inside = (drawn < population).nonzero()[0][: k + size // 8]
        first = inside[_first_of_each(drawn[inside])]
    used = int(first[k - 1]) + 1
    generator.state = start
    generator.random_raw(used)
    end = generator.state["state"]
    random.setstate((version, (*map(int, end["key"]), int(end["pos"])), gauss))
    return torch.from_numpy(drawn[first[:k]].astype(np.int64))


def _first_of_each(values: np.ndarray) -> np.ndarray:
    """Where each value stands for the first time, ascending."""
    ordered = np.sort(values)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    # Few, among many nodes: to look for each of them beats a second, stable sort.
    if twice.size > 64:
        return np.sort(np.unique(values, return_index=True)[1])
    again = np.zeros(values.size, dtype=bool)
    for value in np.unique(twice):
        again[(values == value).nonzero()[0][1:]] = True
    return (~again).nonzero()[0]


def _codes(options: tuple[int], edge_index: Tensor) -> Tensor:
    return (edge_index[0] * options[0] + edge_index[1]).sort()[0]


def _codes_without_loops(options: tuple[int], *edge_indices: Tensor) -> tuple[Tensor, int]:
    row, col = torch.cat(edge_indices, 1)
    row, col = row[row != col], col[row != col]
    codes = row * (options[0] - 1) + col - (row < col).long()
    return codes.sort()[0], codes.numel()


def _contains(codes: Tensor, wanted: Tensor) -> Tensor:
    if not codes.numel():
        return torch.zeros_like(wanted, dtype=torch.bool)
    place = torch.searchsorted(codes, wanted).clamp_(max=codes.numel() - 1)
    return codes[place] == wanted
