"""What a user did wrong, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A request that cannot be served; its message is shown without a traceback."""


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise a `UserError` that names the nearest of `known` unless `name` is one of them."""
    names = sorted(known)
    if name in names:
        return
    near = get_close_matches(name.lower(), names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(f"unknown {kind} '{name}': {hint}known are {', '.join(names)}")
