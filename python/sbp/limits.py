"""The rule by which a run is left out: what it would cost, in products and in memory, against a stated limit."""

from __future__ import annotations

import os

from .config import Config

# Some ten minutes on two cores, at the 7e10 multiply-adds a second of the streamed softmax.
MAX_PRODUCTS = 4e13
_DENSE = ("contranorm", "feature-sbp")


def too_large(config: Config, nodes: int, edges: int, features: int) -> str:
    """Return why a run is too large for this machine, "" if it is not.

    The n x n softmax of ContraNorm and Feature-SBP takes n² (width of x0 + width of x) products a step, forward and
    for its sums, and three times that in training; n x d features are held about six times over.
    """
    width = features if config.backbone == "sgc" else config.hidden
    if config.model in _DENSE and config.beta != 0:
        passes = 2 if config.backbone == "sgc" and not config.learn else 4 * config.epochs * len(config.seeds)
        products = float(nodes) ** 2 * 2 * width * config.layers * passes
        if products > MAX_PRODUCTS:
            return (
                f"too large: n² · 2 d · steps = {products:.1e} products for n = {nodes:,}, d = {width}, "
                f"more than {MAX_PRODUCTS:.0e} (--all runs it)"
            )
    held = 4.0 * nodes * (6 * features + (0 if config.backbone == "sgc" else 4 * config.hidden * config.layers))
    needed, memory = held + 40.0 * edges, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        return (
            f"too large: {needed / 2**30:.0f} GiB for n = {nodes:,}, d = {features}, "
            f"more than this machine's {memory / 2**30:.0f} (--all runs it)"
        )
    return ""
