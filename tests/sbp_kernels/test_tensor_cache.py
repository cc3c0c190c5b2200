"""The cache of values derived from tensors: what invalidates a value, and what is never stored."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from sbp_kernels import tensor_cache
from sbp_kernels.tensor_cache import TensorCache, tensor_version


def build(value):
    return lambda: value


def test_a_new_tensor_at_an_old_address_is_another():
    cache, seen = TensorCache(capacity=4), set()
    for turn in range(200):
        # Each tensor is freed at once, so that addresses and ids are reused.
        tensor = torch.full((3,), turn)
        seen.add(id(tensor))
        assert cache.get((tensor,), (), tensor[0].item) == turn
        del tensor
    assert len(seen) < 200


def test_the_cache_is_bounded_and_evicts_the_least_recently_used():
    cache, tensors = TensorCache(capacity=3), [torch.zeros(1) for _ in range(5)]
    for i, tensor in enumerate(tensors):
        cache.get((tensor,), (), build(i))
        cache.get((tensors[0],), (), build(0))
    assert len(cache) == 3
    assert cache.get((tensors[0],), (), build(-1)) == 0 and cache.get((tensors[1],), (), build(-1)) == -1


@pytest.mark.parametrize("layout", ["strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"])
def test_a_change_in_place_invalidates(layout):
    blocks = (2, 2) if "bs" in layout else None
    layout = getattr(torch, layout)
    tensor = torch.eye(4).to_sparse(layout=layout, blocksize=blocks) if layout != torch.strided else torch.eye(4)
    cache, part = TensorCache(capacity=4), tensor
    if layout != torch.strided:
        part = tensor._values() if layout == torch.sparse_coo else tensor.values()
    assert [cache.get((tensor,), ("key",), build(i)) for i in range(2)] == [0, 0]
    part.mul_(2.0)
    assert [cache.get((tensor,), ("key",), build(i)) for i in (2, 3)] == [2, 2]
    assert cache.get((tensor,), ("another key",), build(4)) == 4 and len(cache) == 2
    cache.clear()
    assert len(cache) == 0 and cache.get((tensor,), ("key",), build(5)) == 5


def test_a_value_dies_with_any_of_its_tensors():
    cache, first, second = TensorCache(capacity=4), torch.zeros(2), torch.zeros(2)
    value = torch.ones(1)
    cache.get((first, None, second), (), build(value))
    alive = weakref.ref(value)
    del second, value
    gc.collect()
    assert alive() is None and len(cache) == 0


def test_a_cached_none_is_a_value():
    cache, tensor, calls = TensorCache(capacity=4), torch.zeros(2), []
    for _ in range(2):
        assert cache.get((tensor,), (), lambda: calls.append(1)) is None
    assert calls == [1]


def test_tensors_without_a_version_are_not_stored():
    with torch.inference_mode():
        tensor = torch.zeros(2)
    cache = TensorCache(capacity=4)
    assert tensor_version(tensor) is None
    assert [cache.get((tensor,), (), build(i)) for i in range(2)] == [0, 1] and len(cache) == 0
    assert tensor_version(torch.ones(4, 4).to_mkldnn()) is None and tensor_version("not a tensor") == ()
    assert torch.func.grad(lambda x: (x * float(tensor_version(x) is None)).sum())(torch.ones(2)).tolist() == [1.0, 1.0]
    assert torch.func.vmap(lambda x: x * float(tensor_version(x) is None))(torch.ones(2)).tolist() == [1.0, 1.0]


def test_values_are_built_outside_of_the_contexts_of_the_caller():
    cache, tensor, weight = TensorCache(capacity=4), torch.ones(2), torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        value = cache.get((tensor,), ("inference",), lambda: tensor + 1)
    assert not value.is_inference()
    assert not cache.get((tensor,), ("grad",), lambda: weight * tensor).requires_grad


def test_an_entry_that_another_thread_evicts(monkeypatch):
    """The eviction happens after `get` found the entry and before it marks the entry as recently used."""
    cache, tensor = TensorCache(capacity=4), torch.zeros(1)
    assert cache.get((tensor,), (), build("first")) == "first"
    monkeypatch.setattr(tensor_cache._Entry, "is_current", lambda *_: cache.clear() or True)
    assert cache.get((tensor,), (), build("second")) == "first"
