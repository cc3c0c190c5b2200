"""A zoo of small signed graphs: one entry a kind of adjacency or a shape that once broke somebody's kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity


def edges(num_edges: int, num_sources: int, num_targets: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(num_sources, (num_edges,), generator=generator)
    target = torch.randint(num_targets, (num_edges,), generator=generator)
    return torch.stack([source, target])


def values(size: int, seed: int) -> torch.Tensor:
    """Weights away from zero, so that their signs are safe under finite differences."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.25


def plain(n: int = 23) -> SignedGraph:
    return SignedGraph.from_edge_index(edges(90, n, n, 0), edges(60, n, n, 1), n)


def normalized(mode: str) -> SignedGraph:
    return plain().add_self_loops().normalize(mode)


def joint() -> SignedGraph:
    return plain().normalize("sym", joint=True)


def weighted() -> SignedGraph:
    return SignedGraph.from_edge_index(
        edges(90, 23, 23, 2),
        edges(60, 23, 23, 3),
        23,
        pos_edge_weight=values(90, 0),
        neg_edge_weight=values(60, 1),
    )


def weighted_and_scaled() -> SignedGraph:
    return weighted().normalize("sym")


def signed_weights() -> SignedGraph:
    weight = values(120, 2) * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64).repeat(40)
    return SignedGraph.from_edge_weight(edges(120, 23, 23, 4), weight, 23)


def bipartite() -> SignedGraph:
    size = (17, 9)
    return SignedGraph.from_edge_index(edges(50, *size, 5), edges(30, *size, 6), size=size).normalize("sym")


def long_columns() -> SignedGraph:
    graph = normalized("row")
    halves = []
    for half in (graph.pos, graph.neg):
        assert isinstance(half, CSR)
        halves.append(CSR(half.rowptr, half.col.long(), None, half.row_scale, half.col_scale))
    return SignedGraph(*halves)


def mixed_columns() -> SignedGraph:
    wide, narrow = long_columns(), normalized("row")
    return SignedGraph(wide.pos, narrow.neg)


def one_sided(sign: str) -> SignedGraph:
    half = plain().pos
    return SignedGraph(pos=half) if sign == "pos" else SignedGraph(neg=half)


def edgeless(n: int) -> SignedGraph:
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    return SignedGraph.from_edge_index(nothing, nothing, n)


def hub() -> SignedGraph:
    """One node that all others point to, and nodes without any edge."""
    n = 400
    into_hub = torch.stack([torch.arange(1, 350), torch.zeros(349, dtype=torch.int64)])
    return SignedGraph.from_edge_index(into_hub, into_hub.flip(0), n).normalize("row")


def duplicates_and_loops() -> SignedGraph:
    repeated = torch.tensor([[0, 0, 0, 1, 1, 2], [1, 1, 1, 1, 1, 0]])
    return SignedGraph.from_edge_index(repeated, repeated.flip(0), 4)


def labelled(share: float, over: str = "all") -> SignedGraph:
    generator = torch.Generator().manual_seed(7)
    y = torch.randint(4, (23,), generator=generator)
    known = torch.rand(23, generator=generator) < share
    return SignedGraph(plain().pos, ClassBlock.from_labels(y, known, over))


def many_classes() -> SignedGraph:
    """So many classes that their block is stored as factors; most of them have no member."""
    y = torch.arange(23) % 9 * 60
    return SignedGraph(plain().pos, ClassBlock.from_labels(y, torch.arange(23) % 4 != 0))


def mean_centring() -> SignedGraph:
    return SignedGraph(normalized("sym").pos, ClassBlock.mean(23))


def block_attracts() -> SignedGraph:
    group = torch.arange(23) % 3
    block = torch.tensor([[0.5, 0.1, 0.0], [0.2, 0.0, 0.3], [0.0, 0.4, 0.1]], dtype=torch.float64)
    return SignedGraph(ClassBlock(group, block), plain().neg)


def soft_groups() -> SignedGraph:
    """Both halves of groups to which nodes belong to some degree, beside hard ones."""
    share = torch.rand(23, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    block = torch.randn(4, 4, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    return SignedGraph(ClassBlock(share, block), block_attracts().pos)


def feature(sign: float) -> SignedGraph:
    x0 = torch.randn(23, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    return SignedGraph(plain().pos, Similarity(x0, sign, 0.7))


GRAPHS: dict[str, Callable[[], SignedGraph]] = {
    "plain": plain,
    "row": lambda: normalized("row"),
    "sym": lambda: normalized("sym"),
    "joint": joint,
    "weighted": weighted,
    "weighted+scaled": weighted_and_scaled,
    "signed weights": signed_weights,
    "bipartite": bipartite,
    "int64 columns": long_columns,
    "mixed columns": mixed_columns,
    "only pos": lambda: one_sided("pos"),
    "only neg": lambda: one_sided("neg"),
    "no edges": lambda: edgeless(5),
    "one node": lambda: edgeless(1),
    "no nodes": lambda: edgeless(0),
    "hub": hub,
    "duplicates": duplicates_and_loops,
    "labels": lambda: labelled(0.5),
    "all labels": lambda: labelled(1.0),
    "no labels": lambda: labelled(0.0),
    "labelled only": lambda: labelled(0.5, "labelled"),
    "many classes": many_classes,
    "mean": mean_centring,
    "block attracts": block_attracts,
    "soft groups": soft_groups,
    "features": lambda: feature(-1.0),
    "features attract": lambda: feature(1.0),
}
