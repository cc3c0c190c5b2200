"""A pytest plugin: tiles of many rows, because the interpreter takes the same time for a small tile as for a large one.

`test_kernels.py` runs the tiles of GPUs under the interpreter.
"""

import pytest

from sbp_kernels.backends.triton import degree_bins, tile_sizes

SUBNORMAL = "test_extreme_values_are_stored_as_torch_stores_them[triton-torch.bfloat16]"

degree_bins.LIMITS = degree_bins.LIMITS._replace(light=degree_bins.LIMITS.hub, light_min_rows=1)
tile_sizes.ROW_DEFAULT["light"] = tile_sizes.RowTile(4, 1 << 14, 1)
tile_sizes.ROW_DEFAULT["segment"] = tile_sizes.RowTile(32, 1 << 14, 1)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == SUBNORMAL:
            item.add_marker(pytest.mark.xfail(strict=True, reason="the interpreter widens subnormal bfloat16 wrongly"))
