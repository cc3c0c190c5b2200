"""PyG's negative sampling, with the same random numbers as PyG; the edges are sorted once and cached."""

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
    """Return PyG's `negative_sampling` of all edges, positive and negative: `[2, about num_edges]`, no self-loops."""
    with outside():
        return _absent_edges(unwrapped(pos_edge_index), unwrapped(neg_edge_index), num_nodes)


def _absent_edges(pos_edge_index: Tensor, neg_edge_index: Tensor, num_nodes: int) -> Tensor:
    codes, num_codes = lookup(_sorted_codes_without_loops, (num_nodes,), pos_edge_index, neg_edge_index)
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
    """Return PyG's `structured_negative_sampling`: for every edge (i, j) a k such that (i, k) is not an edge."""
    codes = lookup(_sorted_codes, (num_nodes,), edge_index)
    first = edge_index[0] * num_nodes
    # PyG draws on the CPU, whatever the device of the edges.
    drawn = torch.randint(num_nodes, (first.numel(),)).to(first.device)
    rejected = _contains(codes, first + drawn).nonzero().view(-1)
    while rejected.numel():
        redrawn = torch.randint(num_nodes, (rejected.numel(),)).to(first.device)
        drawn[rejected] = redrawn
        rejected = rejected[_contains(codes, first[rejected] + redrawn)]
    return drawn


def sample(population: int, k: int) -> Tensor:
    """Return `random.sample(range(population), k)`, vectorised, and advance Python's generator by as many numbers.

    PyG samples with Python's `random`, so a seed must give the same edges here. The result is equal to that of CPython,
    which draws until it has k distinct numbers; NumPy's MT19937 continues from the state of Python's generator.
    """
    bits = population.bit_length()
    # CPython shuffles a list of a small population, and draws two words for a number of more than 32 bits.
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
        # Duplicates are rare, so it is enough to examine little more than k numbers.
        inside = (drawn < population).nonzero()[0][: k + size // 8]
        first = inside[_first_of_each(drawn[inside])]
    used = int(first[k - 1]) + 1
    generator.state = start
    generator.random_raw(used)
    end = generator.state["state"]
    random.setstate((version, (*map(int, end["key"]), int(end["pos"])), gauss))
    return torch.from_numpy(drawn[first[:k]].astype(np.int64))


def _first_of_each(values: np.ndarray) -> np.ndarray:
    """Return the index of the first occurrence of each value, ascending."""
    ordered = np.sort(values)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    # A population of many nodes gives few duplicates; a search for each is faster than a stable sort.
    if repeated.size > 64:
        return np.sort(np.unique(values, return_index=True)[1])
    duplicate = np.zeros(values.size, dtype=bool)
    for value in np.unique(repeated):
        duplicate[(values == value).nonzero()[0][1:]] = True
    return (~duplicate).nonzero()[0]


def _sorted_codes(options: tuple[int], edge_index: Tensor) -> Tensor:
    """Return one integer per edge (i, j), i * num_nodes + j, sorted."""
    return (edge_index[0] * options[0] + edge_index[1]).sort()[0]


def _sorted_codes_without_loops(options: tuple[int], *edge_indices: Tensor) -> tuple[Tensor, int]:
    """Return the sorted positions of edges among the num_nodes * (num_nodes - 1) possible ones, and their number."""
    row, col = torch.cat(edge_indices, 1)
    row, col = row[row != col], col[row != col]
    codes = row * (options[0] - 1) + col - (row < col).long()
    return codes.sort()[0], codes.numel()


def _contains(codes: Tensor, wanted: Tensor) -> Tensor:
    """Return a mask of the `wanted` numbers that the sorted codes contain."""
    if not codes.numel():
        return torch.zeros_like(wanted, dtype=torch.bool)
    index = torch.searchsorted(codes, wanted).clamp_(max=codes.numel() - 1)
    return codes[index] == wanted
