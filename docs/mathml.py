"""A hook of MkDocs: convert formulas to MathML, which browsers and screen readers understand without a script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\([(\[])(.*?)\\[)\]]\s*</\1>', re.DOTALL)


def on_page_content(text: str, **_: Any) -> str:
    """Return the page's HTML with every formula as MathML."""
    return _FORMULA.sub(_mathml, text)


def _mathml(found: re.Match[str]) -> str:
    tag, kind, formula = found.groups()
    display = "block" if kind == "[" else "inline"
    # latex2mathml knows these sizes with \left and \right only.
    plain = re.sub(r"\\[bB]igg?\b ?", "", html.unescape(formula).strip())
    return f'<{tag} class="formula">{convert(plain, display=display)}</{tag}>'
