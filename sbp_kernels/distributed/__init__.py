"""Signed propagation over many processes, on torch.distributed: rows, features or both are divided among the ranks."""

from .build import from_edge_file
from .mesh import local_block, shard
from .partition import Partition, PartitionReport, partition_report, row_degree
from .shard import Shard
from .streaming import precompute

__all__ = [
    "Partition",
    "PartitionReport",
    "Shard",
    "from_edge_file",
    "local_block",
    "partition_report",
    "precompute",
    "row_degree",
    "shard",
]
