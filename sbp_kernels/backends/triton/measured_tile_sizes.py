"""Tiles measured by `python -m benchmarks.tune`, which writes this file.

{device name: {(kernel, bytes of a number, width, depth): tile}}
"""

TUNED: dict[str, dict[tuple[str, int, int, int], tuple[int, ...]]] = {}
