"""The peers that tables and figures show."""

from __future__ import annotations

from collections.abc import Iterable

from .queries import Row

# Prefix of method names: label, colour, marker, in the order of the legend. The colours are from Okabe and Ito's
# colour-blind safe palette.
PEERS = {
    "pyg_scatter": ("PyG scatter", "#0072B2", "o"),
    "torch_sparse_pair": ("two torch.sparse products", "#E69F00", "s"),
    "merged_addmm": ("one merged torch.addmm", "#009E73", "^"),
    "mkl_handle": ("MKL with a cached handle", "#CC79A7", "v"),
}


def measured_peers(rows: Iterable[Row]) -> dict[str, tuple[str, str, str]]:
    """Return the peers that have a timed row: a legend names no other."""
    timed = {row["method"] for row in rows if row["median_ms"]}
    return {peer: style for peer, style in PEERS.items() if any(method.startswith(peer) for method in timed)}
