"""Signed propagation over many processes, on torch.distributed: rows, features or both are divided among the ranks."""

from .mesh import local_block, shard
from .partition import Partition, PartitionReport, partition_report, row_degree
from .shard import Shard

__all__ = ["Partition", "PartitionReport", "Shard", "local_block", "partition_report", "row_degree", "shard"]
