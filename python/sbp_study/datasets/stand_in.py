"""Small synthetic graphs that replace a dataset, to try commands without its files."""

from __future__ import annotations

import zlib

import torch
from torch_geometric.data import Data
from torch_geometric.utils import index_to_mask, stochastic_blockmodel_graph

from .source import Source

NUM_NODES, MIN_CLASS_SIZE, MAX_FEATURES, DEGREE = 300, 8, 32, 6


def draw(source: Source, split: int) -> Data:
    r"""Generate a block model of about 300 nodes with the classes and homophily h of `source`.

    Its accuracies are meaningless.

    Expected degree 6: edge probability \( 6 h / m \) inside a class of m nodes, \( 6 (1 - h) / (n - m) \) across.
    Features, at most 32, are \( N(\mu_c, I) \) with \( \mu_c \sim N(0, I) \). The name determines the
    graph, `split` the masks: 60 % training, 20 % validation, 20 % test.
    """
    classes, h = source.size.classes, source.size.homophily
    m = max(MIN_CLASS_SIZE, NUM_NODES // classes)
    n, features = m * classes, min(source.size.features, MAX_FEATURES)
    inside, across = DEGREE * h / m, DEGREE * (1 - h) / (n - m)
    probability = torch.full((classes, classes), across).fill_diagonal_(inside)
    y = torch.arange(n) // m
    # PyG's block model uses torch's global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(source.title.encode()))
        edge_index = stochastic_blockmodel_graph([m] * classes, probability)
        x = torch.randn(classes, features)[y] + torch.randn(n, features)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(split))
    parts = order.tensor_split([int(0.6 * n), int(0.8 * n)])
    masks = {f"{role}_mask": index_to_mask(part, n) for role, part in zip(("train", "val", "test"), parts, strict=True)}
    return Data(x=x, y=y, edge_index=edge_index, **masks)
