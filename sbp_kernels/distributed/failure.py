"""Which rank was lost, when a collective fails."""

from __future__ import annotations

from datetime import timedelta

import torch.distributed as dist

# Seconds in which a rank that lives notices the failure of another one, and answers.
_ANSWER, _FAREWELL = 10.0, 3.0
_KEY = "sbp_kernels/failure"


def named_failure(group: dist.ProcessGroup | None) -> RuntimeError:
    """Return an error that names the ranks of the default group that do not answer.

    Every rank that notices a failure writes a key into the store of the process group, and waits for the keys of the
    others. Ranks that are blocked in a collective notice it when a connection closes, or after the group's timeout.
    """
    own = dist.get_rank()
    ranks = dist.get_process_group_ranks(group) if group is not None else list(range(dist.get_world_size()))
    try:
        lost = _roll_call(own, [rank for rank in ranks if rank != own])
    except (RuntimeError, ValueError):
        return RuntimeError(
            f"rank {own} has lost the store of its process group: the process that hosts it, usually rank 0, has ended"
        )
    if lost:
        names = ", ".join(map(str, lost))
        return RuntimeError(f"rank {own} has lost rank {names}, which has ended or does not answer")
    return RuntimeError(
        f"a collective has failed on rank {own}, although all ranks run: they have not made the same calls"
    )


def _roll_call(own: int, others: list[int]) -> list[int]:
    """Return the ranks that do not answer."""
    store = dist.PrefixStore(_KEY, dist.distributed_c10d._get_default_store())
    store.set(f"noticed/{own}", "1")
    lost = _without(store, "noticed", others, _ANSWER)
    store.set(f"answered/{own}", "1")
    if own == 0:
        # The store often lives in this process.
        _without(store, "answered", [rank for rank in others if rank not in lost], _FAREWELL)
    return lost


def _without(store: dist.Store, what: str, ranks: list[int], seconds: float) -> list[int]:
    """Return the ranks that do not write their key within `seconds`, taken together."""
    try:
        if ranks:
            store.wait([f"{what}/{rank}" for rank in ranks], timedelta(seconds=seconds))
        return []
    except dist.DistStoreError:
        return [rank for rank in ranks if not store.check([f"{what}/{rank}"])]
