"""Errors that the user can fix, each reported in one sentence."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """A request that cannot be served; its message is shown without a traceback."""


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise a `UserError` that suggests the nearest names unless `name` is one of `known`."""
    names = sorted(known)
    if name in names:
        return
    from difflib import get_close_matches

    near = get_close_matches(str(name).lower(), names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(f"unknown {kind} '{name}': {hint}known are {', '.join(names)}")


def explain(error: BaseException) -> str | None:
    """Return one sentence for an error that the user can fix, or None for a defect of the program."""
    # sbp_kernels raises ValueError for a wrong call and NotImplementedError for a call that no backend can run.
    if isinstance(error, (ValueError, NotImplementedError)):
        return one_line(error)
    if isinstance(error, OSError):
        return reason(error) if error.filename is None else f"{error.filename}: {reason(error)}"
    # torch raises RuntimeError on the CPU and a class of its own on a GPU.
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return f"this run needs more memory than there is ({one_line(error) or 'MemoryError'}); choose smaller settings"
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        if package not in ("sbp_kernels", "sbp_study"):
            return f"this command needs the package {package}: pip install 'sbp-kernels[study]'"
    return None


def reason(error: BaseException) -> str:
    """Return the reason of an operating system error, without its number."""
    return getattr(error, "strerror", None) or one_line(error) or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split())
