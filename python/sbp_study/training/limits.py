"""Size limits of a run: its estimated multiply-adds and memory against a stated limit."""

from __future__ import annotations

import os

from ..config import Config

# About ten minutes on two cores, where the streamed softmax runs 7e10 multiply-adds per second.
MAX_PRODUCTS = 4e13
_DENSE = ("contranorm", "feature-sbp")


def too_large(config: Config, nodes: int, edges: int, features: int) -> str:
    """Return why a run is too large for this machine, or "" if it is not.

    The n x n softmax of ContraNorm and Feature-SBP takes n² (width of x0 + width of x) multiply-adds per step: once
    for its sums, once for the result, and three times as many in training.
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
    why = too_much_memory(config, nodes, edges, features)
    return f"{why} (--all runs it)" if why else ""


def too_much_memory(config: Config, nodes: int, edges: int, features: int, classes: int = 1) -> str:
    """Return why a run does not fit into this machine's memory, or "" if it does.

    The estimate counts six copies of the n x d features, four copies of each hidden layer, and four numbers per
    weight: the weight, its gradient and Adam's two moments.
    """
    numbers = 6.0 * nodes * features
    if config.backbone == "sgc":
        numbers += 4.0 * features * classes * len(config.seeds) + config.layers * _saved_per_step(
            config, nodes, features, classes
        )
    else:
        wide = float(config.hidden) * (config.heads or 1)
        numbers += config.layers * (4.0 * nodes * wide + 4.0 * wide * config.hidden) + 4.0 * features * wide
    needed, memory = 4.0 * numbers + 40.0 * edges, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed <= memory:
        return ""
    sizes = f"n = {nodes:,}, d = {features:,}" + ("" if config.backbone == "sgc" else f", hidden = {config.hidden:,}")
    return f"too large: {needed / 2**30:.0f} GiB for {sizes}, more than this machine's {memory / 2**30:.0f}"


def _saved_per_step(config: Config, nodes: int, features: int, classes: int) -> float:
    """Return how many numbers each step of the SGC backbone saves until the end; most methods save none."""
    if config.model == "jknet" and config.jump == "cat":
        return 2.0 * nodes * features + 4.0 * features * classes * len(config.seeds)
    if config.model in ("dropmessage",) or (config.learn and config.layer_norm != "none"):
        return 2.0 * nodes * features
    if config.model == "dagnn" or config.jump == "learned":
        return 4.0 * nodes * (classes if config.layer_norm == "none" else features)
    return 0.0
