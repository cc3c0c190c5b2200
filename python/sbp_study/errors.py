"""What a user did wrong or a machine lacks, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """A request that cannot be served; its message is shown without a traceback."""


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise a `UserError` that names the nearest of `known` unless `name` is one of them."""
    names = sorted(known)
    if name in names:
        return
    from difflib import get_close_matches

    near = get_close_matches(str(name).lower(), names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(f"unknown {kind} '{name}': {hint}known are {', '.join(names)}")


def explain(error: BaseException) -> str | None:
    """Return one sentence for an error that the user can mend; None for a defect of the program."""
    # The kernels raise ValueError and NotImplementedError for calls that are wrong or that no backend can run.
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
    """Return why the system refused, without the error's number."""
    return getattr(error, "strerror", None) or one_line(error) or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split())
