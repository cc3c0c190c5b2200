"""The structural imbalance degree of a signed graph (arXiv 2502.11394, appendix H)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sbp_kernels import CSR, ClassBlock, SignedGraph, Similarity

from .scipy_conversion import edge_values

# Entries per tile: limits each temporary to 16 MB, independent of the size of the graph.
_TILE = 1 << 21
# Two halves that cancel up to rounding count as zero.
_CANCELLED = 1e-12

Implicit = ClassBlock | Similarity


class Imbalance(NamedTuple):
    """The structural imbalance degree and its two parts, in nodes."""

    sid: float
    P: float
    N: float


@torch.no_grad()
def structural_imbalance(graph: SignedGraph, y: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Imbalance:
    r"""Return \( \mathrm{SID} = \frac{1}{2n} \sum_v |P(v)| + |N(v)| \) of \( \alpha A^+ - \beta A^- \).

    P(v) is the set of nodes of v's class, v included, whose entry in row v is not positive. N(v) is the set of nodes
    of other classes whose entry is not negative. An absent edge is an entry 0 and counts. P and N are the mean sizes
    of these sets and SID is half their sum, so SID is 0 if every entry has the sign that separates the classes. With
    two classes of 100 nodes, as in the paper's Table 6, the values can be read as percentages.
    The cost is O(E) for sparse halves, the number of groups squared for `ClassBlock`, and tiles of rows for
    `Similarity`.

    Args:
        graph: n by n, with halves of any kind.
        y: int64 `[n]`, the class of each node.
        alpha, beta: strengths of attraction and repulsion.

    Source: arXiv 2502.11394, Definition H.1 and Table 6.
    """
    n = graph.num_nodes
    if graph.num_cols != n or not n:
        raise ValueError(f"graph must be square with a node or more, got {n}x{graph.num_cols}")
    if y.dtype != torch.int64 or tuple(y.shape) != (n,):
        raise ValueError(f"y must be int64 of shape [num_nodes={n}], got {y.dtype} {tuple(y.shape)}")
    # Relabel the classes consecutively, so that they can be used in keys.
    y = torch.unique(y.to(graph.device), return_inverse=True)[1]
    halves = [(c, half) for c, half in ((alpha, graph.pos), (-beta, graph.neg)) if half is not None and c]
    dense = _Dense([(c, half) for c, half in halves if not isinstance(half, CSR)])
    sparse = [(c, half) for c, half in halves if isinstance(half, CSR)]
    right = _count_dense(dense, y) + _count_sparse(sparse, dense, y)
    size = torch.bincount(y)
    same = int(size.square().sum())
    p, q = (same - int(right[0])) / n, (n * n - same - int(right[1])) / n
    return Imbalance((p + q) / 2, p, q)


class _Dense:
    """The sum of the implicit halves, evaluated entry by entry. Without implicit halves every entry is 0."""

    def __init__(self, halves: list[tuple[float, Implicit]]) -> None:
        self.halves = halves
        # Computed once, because every tile reads them.
        self.x0 = {id(half): half.x0.double() for _, half in halves if isinstance(half, Similarity)}
        self.lse = {id(half): self._log_sum_exp(half) for _, half in halves if isinstance(half, Similarity)}

    def read(self, row: Tensor, col: Tensor, outer: bool) -> tuple[Tensor, Tensor]:
        """Return entries and sums of magnitudes, for all pairs `[rows, cols]` if `outer`, else for each (row, col).

        With `outer`, the columns are those of `kinds`: all nodes, if there is a `Similarity`.
        """
        at = (row[:, None], col[None]) if outer else (row, col)
        value = torch.zeros(torch.broadcast_shapes(*(i.shape for i in at)), dtype=torch.float64, device=row.device)
        size = value.clone()
        for c, half in self.halves:
            if isinstance(half, ClassBlock):
                part = _block_entries(half, row, col, outer)
            else:
                lse = self.lse[id(half)][at[half.transposed]]
                # A softmax is positive, even if it underflows in float64.
                part = (
                    (self._logits(half, row, None if outer else col) - lse)
                    .exp()
                    .clamp_min(torch.finfo(torch.float64).tiny)
                )
            value, size = value + c * part, size + (c * part).abs()
        return value, size

    def _logits(self, half: Similarity, row: Tensor, col: Tensor | None) -> Tensor:
        """Return the logits of rows with all nodes, `[rows, n]`, or of each (row, col)."""
        x0 = self.x0[id(half)]
        a = half.sign / half.temperature * x0[row]
        return a @ x0.T if col is None else (a * x0[col]).sum(1)

    def _log_sum_exp(self, half: Similarity) -> Tensor:
        every = torch.arange(half.num_nodes, device=half.device)
        tiles = every.split(max(1, _TILE // half.num_nodes))
        return torch.cat([self._logits(half, rows, None).logsumexp(1) for rows in tiles])

    def kinds(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return one node of each kind and the size of each kind. Nodes of the same kind have equal entries."""
        n = y.numel()
        every = torch.arange(n, device=y.device)
        # A node of a similarity or of soft groups has entries of its own.
        if any(isinstance(half, Similarity) or half.group.dim() == 2 for _, half in self.halves):
            return every, torch.ones_like(every)
        key = y
        for _, half in self.halves:
            assert isinstance(half, ClassBlock)
            key = torch.unique(key * half.block.size(0) + half.group, return_inverse=True)[1]
        count = torch.bincount(key)
        return torch.empty_like(count).index_copy_(0, key, every), count


def _count_dense(dense: _Dense, y: Tensor) -> Tensor:
    """Count the correctly signed entries of the implicit halves: (same class and > 0, other class and < 0), `[2]`."""
    total = torch.zeros(2, dtype=torch.float64, device=y.device)
    if not dense.halves:
        return total
    if len(dense.halves) == 1 and isinstance(dense.halves[0][1], Similarity):
        # A softmax is positive everywhere, so alone it has the signs of the mean.
        dense = _Dense([(dense.halves[0][0], ClassBlock.mean(y.numel(), y.device))])
    node, count = dense.kinds(y)
    weight = count.double()
    tile = max(1, _TILE // node.numel())
    for rows, row_weight in zip(node.split(tile), weight.split(tile), strict=True):
        sign = _sign(*dense.read(rows, node, outer=True))
        for k, right in enumerate(_right(sign, y[rows][:, None] == y[node][None])):
            total[k] += row_weight @ (right.double() @ weight)
    return total


def _count_sparse(halves: list[tuple[float, CSR]], dense: _Dense, y: Tensor) -> Tensor:
    """Return what the sparse halves add to `_count_dense`, `[2]`: entries made correct minus entries made wrong."""
    total = torch.zeros(2, dtype=torch.float64, device=y.device)
    if not halves:
        return total
    n = y.numel()
    place = torch.cat([half.pattern.row_index() * n + half.col.long() for _, half in halves])
    value = torch.cat([c * edge_values(half) for c, half in halves])
    place, entry = torch.unique(place, return_inverse=True)
    value, size = (
        torch.zeros(place.numel(), dtype=torch.float64, device=y.device).index_add(0, entry, part)
        for part in (value, value.abs())
    )
    width = max((half.x0.size(1) for _, half in dense.halves if isinstance(half, Similarity)), default=1)
    step = max(1, _TILE // max(width, 1))
    for at, own, own_size in zip(place.split(step), value.split(step), size.split(step), strict=True):
        row, col = at // n, at % n
        base, base_size = dense.read(row, col, outer=False)
        after, before = _sign(own + base, own_size + base_size), _sign(base, base_size)
        for sign, step_sign in ((after, 1), (before, -1)):
            total += step_sign * torch.stack([right.sum() for right in _right(sign, y[row] == y[col])])
    return total


def _sign(value: Tensor, size: Tensor) -> Tensor:
    return value.sign() * (value.abs() > _CANCELLED * size)


def _right(sign: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    return (sign > 0) & same, (sign < 0) & ~same


def _block_entries(half: ClassBlock, row: Tensor, col: Tensor, outer: bool) -> Tensor:
    """Return entries of S B S^T in float64: all pairs `[rows, cols]` if `outer`, else each (row, col)."""
    group, block = half.group, half.block.double()
    if group.dim() == 1:
        return block[group[row][:, None], group[col]] if outer else block[group[row], group[col]]
    left, right = group[row].double() @ block, group[col].double()
    return left @ right.T if outer else (left * right).sum(1)
