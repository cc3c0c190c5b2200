"""The drawings of the page of concepts, as SVG that is legible on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

BLUE, RED, GRAY, GREEN, INK = "#2f5fd0", "#c8372d", "#d9dde5", "#2e8b57", "#1b1f27"


def _rect(x: float, y: float, w: float, h: float, fill: str = "#ffffff", stroke: str = INK) -> str:
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4" fill="{fill}" stroke="{stroke}"/>'


def _text(x: float, y: float, text: str, size: int = 14, fill: str = INK, anchor: str = "middle") -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{safe}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float, color: str = INK) -> str:
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}" stroke-width="2" '
        f'marker-end="url(#head-{color[1:]})"/>'
    )


def _picture(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    heads = "".join(
        f'<marker id="head-{c[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{c}"/></marker>'
        for c in (BLUE, RED, GREEN, INK)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{title}</title><defs>{heads}</defs>'
        f'<rect width="{width}" height="{height}" rx="8" fill="#f7f8fb"/>{"".join(parts)}</svg>\n'
    )


def row_pass() -> str:
    """One row of Y: residual, positive and negative neighbours, then the epilogue, in registers."""
    parts = [_text(95, 26, "rows of X in memory"), _text(395, 26, "one row of Y, in registers")]
    signs = [BLUE, RED, BLUE, GRAY, BLUE, RED]
    for i, color in enumerate(signs):
        y = 40 + 36 * i
        parts.append(_rect(30, y, 130, 24, color if color == GRAY else "#ffffff", color if color != GRAY else INK))
        parts.append(_text(95, y + 17, f"x{i}", fill=color if color != GRAY else INK))
        if color != GRAY:
            parts.append(_arrow(164, y + 12, 308, 118 if color == BLUE else 146, color))
    parts += [
        _rect(315, 48, 160, 30, "#eef1f8"),
        _text(395, 68, "r · residual row"),
        _rect(315, 100, 160, 30, "#e6edfb", BLUE),
        _text(395, 120, "p · Σ w x, positive", fill=BLUE),
        _rect(315, 134, 160, 30, "#fbe9e7", RED),
        _text(395, 154, "q · Σ w x, negative", fill=RED),
        _rect(315, 184, 160, 30, "#e8f4ed", GREEN),
        _text(395, 204, "+ table row", fill=GREEN),
        _arrow(480, 134, 540, 134),
        _rect(545, 116, 110, 36),
        _text(600, 139, "LayerNorm"),
        _arrow(660, 134, 706, 134),
        _rect(710, 118, 60, 32, "#eef1f8"),
        _text(740, 139, "y"),
        _text(400, 256, "Both signs are read in one pass. No message of an edge is stored."),
    ]
    return _picture(800, 275, "One row of the fused pass", parts)


def class_block() -> str:
    """Labels as a class block: sums of groups, a small product, a lookup."""
    groups = [BLUE, BLUE, GREEN, RED, GREEN, BLUE]
    parts = [_text(90, 26, "X, n rows"), _text(310, 26, "group sums, C rows"), _text(700, 26, "Y, n rows")]
    for i, color in enumerate(groups):
        y = 40 + 32 * i
        parts += [_rect(30, y, 120, 22, "#ffffff", color), _rect(640, y, 120, 22, "#ffffff", color)]
    for j, color in enumerate((BLUE, GREEN, RED)):
        y = 68 + 50 * j
        parts += [_rect(250, y, 120, 26, "#ffffff", color), _rect(460, y, 110, 26, "#ffffff", color)]
        parts += [_arrow(374, y + 13, 456, 94 + 36 * j)]
        for i, own in enumerate(groups):
            if own == color:
                parts += [_arrow(154, 51 + 32 * i, 246, y + 13, color), _arrow(574, y + 13, 636, 51 + 32 * i, color)]
    parts += [
        _text(515, 40, "block [C, C]"),
        _text(515, 57, "times the sums"),
        _text(400, 262, "The n × n matrix of the labels is never built: O(n d) time and memory."),
    ]
    return _picture(800, 280, "A class block", parts)


def streamed_softmax() -> str:
    """Feature similarity: tiles of the softmax, with the running sum of each row."""
    parts = [_text(150, 26, "X0 of a tile of rows"), _text(520, 26, "softmax(X0 X0ᵀ), one tile at a time")]
    parts += [_rect(60, 90, 180, 46, "#e6edfb", BLUE), _text(150, 118, "queries", fill=BLUE)]
    for i in range(5):
        for j in range(9):
            on = i == 2 and j == 4
            done = i < 2 or (i == 2 and j < 4)
            fill = "#f3c9c5" if on else "#e7e9ef" if done else "#ffffff"
            parts.append(_rect(360 + 36 * j, 44 + 30 * i, 34, 28, fill, RED if on else "#9aa2b1"))
    parts += [
        _arrow(244, 113, 354, 113, BLUE),
        _text(522, 224, "maximum and sum of a row are corrected when a tile raises the maximum"),
        _text(400, 252, "O(n d) memory. For a fixed X0 the log-sum-exp is cached, and a tile is used once."),
    ]
    return _picture(800, 270, "The streamed softmax", parts)


def hub_rows() -> str:
    """Rows with many edges are cut in parts whose sums are added in a fixed order."""
    parts = [_text(110, 26, "degree of a row")]
    for i, (length, name) in enumerate(((30, "≤ 8: part of a warp"), (80, "≤ 64: a warp"), (170, "≤ 2048: a block"))):
        y = 42 + 34 * i
        parts += [_rect(30, y, length, 22, "#e6edfb", BLUE), _text(230, y + 16, name, anchor="start")]
    for k in range(5):
        parts += [_rect(30 + 96 * k, 160, 90, 22, "#fbe9e7", RED), _text(75 + 96 * k, 176, f"part {k}", 12, RED)]
        parts.append(_arrow(75 + 96 * k, 186, 270, 226, RED))
    parts += [
        _text(520, 176, "a hub row: several blocks", anchor="start"),
        _rect(190, 230, 160, 26, "#e8f4ed", GREEN),
        _text(270, 248, "parts 0, 1, 2, ... in order", 12, GREEN),
        _text(375, 248, "no atomics: the same bits in every run", anchor="start"),
    ]
    return _picture(800, 275, "Degree bins and hub rows", parts)


def steps() -> str:
    """K steps in one call: two buffers, and the residual."""
    parts = [_text(400, 28, "num_steps = K: one call of the kernels, two buffers")]
    for k in range(5):
        color = BLUE if k % 2 else GREEN
        parts += [_rect(40 + 150 * k, 70, 96, 40, "#ffffff", color)]
        parts.append(_text(88 + 150 * k, 95, "x" if k == 0 else "buffer A" if k % 2 else "buffer B", fill=color))
        if k < 4:
            parts += [_arrow(140 + 150 * k, 90, 186 + 150 * k, 90), _text(163 + 150 * k, 78, f"step {k + 1}", 11)]
    parts += [
        _rect(290, 150, 220, 30, "#eef1f8"),
        _text(400, 170, "residual R, read in every step"),
        *(_arrow(330 + 45 * k, 148, 165 + 150 * k, 112) for k in range(4)),
        _text(400, 215, "Without LayerNorm the steps are linear: the backward runs on the transposed graph,"),
        _text(400, 235, "and no features in between are saved."),
    ]
    return _picture(800, 255, "Several steps in one call", parts)


DRAWINGS: dict[str, Callable[[], str]] = {
    "row-pass": row_pass,
    "class-block": class_block,
    "streamed-softmax": streamed_softmax,
    "hub-rows": hub_rows,
    "steps": steps,
}
