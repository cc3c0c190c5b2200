"""Signed graphs: generated from a seed at the sizes of known data sets, or read from files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Size:
    """The parameters of a generated graph; edges are counted in both directions, as in an `edge_index`.

    Degrees follow a power law with `exponent`; 0 generates a road network instead.
    """

    num_nodes: int
    num_edges_pos: int
    num_edges_neg: int
    exponent: float


# The exponents give hubs of about the same degree as in the data set. On the CPU, generation peaks at about 64 bytes
# per edge, and a peer's matrix takes 48 more: reddit needs 14 GB with one peer, products 21 GB. Therefore 24 GiB
# suffice for products only without peers (`bench_implicit` has that case).
SIZES = {
    "cora": Size(2_708, 10_556, 5_278, exponent=3.0),
    "pubmed": Size(19_717, 88_648, 44_324, exponent=3.5),
    "arxiv": Size(169_343, 1_543_732, 771_866, exponent=2.5),
    "road": Size(142_129, 236_880, 118_440, exponent=0.0),
    "bitcoin-otc": Size(5_881, 36_562, 6_306, exponent=2.1),
    "wiki-rfa": Size(11_381, 276_000, 80_000, exponent=2.3),
    "reddit": Size(232_965, 114_615_892, 11_461_588, exponent=2.5),
    "products": Size(2_449_029, 123_718_280, 61_859_140, exponent=2.5),
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
        return torch.bincount(self.pos[1], minlength=self.num_nodes) + torch.bincount(
            self.neg[1], minlength=self.num_nodes
        )

    def to(self, device: torch.device) -> Workload:
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def load(name: str, seed: int = 0, device: torch.device | str = "cpu", root: Path | None = None) -> Workload:
    """Return the workload of a name: a size of `SIZES`, `NAME+` for its unsigned graph, or `degree-D`.

    `degree-D` is a power-law graph of 50,000 nodes with D edges per node, a third of them negative. With `root`, a real
    graph is read from files if they exist.
    """
    base = name.removesuffix("+")
    if root is not None and (found := _read(base, root, torch.Generator().manual_seed(seed))):
        graph = found.to(torch.device(device))
    elif base.startswith("degree-") and base[7:].isdigit():
        half = 50_000 * int(base[7:]) // 6
        graph = generate(name, Size(50_000, 4 * half, 2 * half, exponent=2.5), seed, device)
    elif base in SIZES:
        graph = generate(name, SIZES[base], seed, device)
    else:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, degree-D, or one of them with +, got {name!r}")
    if base == name:
        return graph
    return replace(graph, name=name, neg=graph.neg[:, :0], neg_weight=graph.neg_weight[:0])


def generate(name: str, size: Size, seed: int = 0, device: torch.device | str = "cpu") -> Workload:
    """Draw the pairs of a Chung-Lu graph or a lattice, then assign random signs."""
    if size.num_edges_pos % 2 or size.num_edges_neg % 2:
        raise ValueError(
            "num_edges_pos and num_edges_neg count both directions and must be even, "
            f"got {size.num_edges_pos} and {size.num_edges_neg}"
        )
    generator = torch.Generator(device).manual_seed(seed)
    half_pos, half_neg = size.num_edges_pos // 2, size.num_edges_neg // 2
    if size.exponent == 0:
        pairs = _draw_streets(size.num_nodes, half_pos + half_neg, generator)
    else:
        pairs = _draw_pairs(size.num_nodes, half_pos + half_neg, size.exponent, generator)
        # Random numbering: otherwise the hubs would be adjacent in memory.
        pairs = torch.randperm(size.num_nodes, generator=generator, device=device)[pairs]
    pos, neg = (torch.cat([p, p.flip(0)], dim=1) for p in pairs.split([half_pos, half_neg], dim=1))
    return _weighted(name, size.num_nodes, pos, neg)


def _draw_pairs(num_nodes: int, count: int, exponent: float, generator: torch.Generator) -> Tensor:
    """Return `count` distinct pairs u < v; node i is drawn with probability ~ (i+1)^(-1/(exponent-1))."""
    if exponent <= 1:
        raise ValueError(f"exponent must be greater than 1, or 0 for a road network, got {exponent}")
    if 4 * count > num_nodes * (num_nodes - 1):
        raise ValueError(f"at most half of all pairs of num_nodes={num_nodes} nodes can be drawn, got {count}")
    device = generator.device
    rank = torch.arange(1, num_nodes + 1, dtype=torch.float64, device=device)
    cdf = rank.pow(-1.0 / (exponent - 1.0)).cumsum(0)
    keys = torch.empty(0, dtype=torch.int64, device=device)
    while keys.numel() < count:
        missing = count - keys.numel()
        shape = (2, missing + missing // 5 + 64)
        draw = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        ends = torch.searchsorted(cdf, draw.mul_(cdf[-1])).clamp_(max=num_nodes - 1)
        low, high = ends.amin(0), ends.amax(0)
        fresh = (low * num_nodes + high)[low != high]
        keys = torch.unique(torch.cat([keys, fresh]))
    keys = keys[torch.randperm(keys.numel(), generator=generator, device=device)[:count]]
    return torch.stack([keys // num_nodes, keys % num_nodes])


def _draw_streets(num_nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` edges of a square lattice: small degrees, long paths, neighbours near in memory.

    With more than half of the edges most nodes are connected, and the diameter is about twice the side.
    """
    side = math.isqrt(num_nodes)
    if side * side != num_nodes:
        raise ValueError(f"a road network needs a square number of nodes, got {num_nodes}")
    node = torch.arange(num_nodes, device=generator.device).view(side, side)
    across = torch.stack([node[:, :-1].flatten(), node[:, 1:].flatten()])
    down = torch.stack([node[:-1].flatten(), node[1:].flatten()])
    streets = torch.cat([across, down], 1)
    if count > streets.size(1):
        raise ValueError(f"a lattice of {num_nodes} nodes has {streets.size(1)} streets, got {count}")
    return streets[:, torch.randperm(streets.size(1), generator=generator, device=generator.device)[:count]]


# Workload name: the name under which `python -m sbp_study` reads the real graph.
REAL = {"cora": "cora", "pubmed": "pubmed", "arxiv": "ogbn-arxiv", "products": "ogbn-products"}


def _read(name: str, root: Path, generator: torch.Generator) -> Workload | None:
    """Read a real graph from files under `root`; None if the name has no files.

    In graphs without signs, a random third of the pairs becomes negative.
    """
    if name == "bitcoin-otc":
        return _read_signed(name, root / "signed" / "bitcoin_otc.csv")
    if name not in REAL:
        return None
    from sbp_study.datasets import load_dataset

    data = load_dataset(REAL[name], root=str(root))
    n, (source, target) = int(data.num_nodes), data.edge_index
    keys = torch.unique(torch.minimum(source, target) * n + torch.maximum(source, target))
    pairs = torch.stack([keys // n, keys % n])
    pairs = pairs[:, pairs[0] != pairs[1]]
    pairs = pairs[:, torch.randperm(pairs.size(1), generator=generator)]
    third = pairs.size(1) // 3
    neg, pos = (torch.cat([p, p.flip(0)], 1) for p in pairs.split([third, pairs.size(1) - third], dim=1))
    return _weighted(name, n, pos, neg)


def _read_signed(name: str, path: Path) -> Workload:
    """Read lines `source,target,sign` below a header; the graph becomes undirected, and a pair may have both signs.

    Lines with an empty sign (the published file has some) are skipped.
    """
    if not path.exists():
        raise FileNotFoundError(f"{name} needs {path}: lines of source,target,sign under a header")
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    ends = torch.tensor([[int(a), int(b)] for a, b, _ in rows]).T
    sign = torch.tensor([float(s or 0) for *_, s in rows])
    num_nodes = int(ends.max()) + 1
    halves = []
    for mask in (sign > 0, sign < 0):
        edges = torch.cat([ends[:, mask], ends[:, mask].flip(0)], 1)
        keys = torch.unique(edges[0] * num_nodes + edges[1])
        halves.append(torch.stack([keys // num_nodes, keys % num_nodes]))
    return _weighted(name, num_nodes, *halves)


def _weighted(name: str, num_nodes: int, pos: Tensor, neg: Tensor) -> Workload:
    return Workload(name, num_nodes, pos, neg, _sym_weights(pos, num_nodes), _sym_weights(neg, num_nodes))


def _sym_weights(edge_index: Tensor, num_nodes: int) -> Tensor:
    degree = torch.bincount(edge_index[1], minlength=num_nodes).double()
    inverse_root = degree.clamp(min=1).rsqrt()
    return inverse_root[edge_index[0]] * inverse_root[edge_index[1]]
