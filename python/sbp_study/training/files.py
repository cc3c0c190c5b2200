"""Write files atomically and read them with checks: a full disk or a killed process never leaves half a file."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

from filelock import FileLock, Timeout

from ..errors import UserError, one_line, reason
from .progress import note

# Writing a file takes much less than this; an older temporary file belongs to a killed process.
_STALE_SECONDS = 3600.0
_REMEDY = "delete it or run with --fresh, and it is computed again"

T = TypeVar("T")


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` at the end of the block, unless the block raises."""
    target = Path(os.path.realpath(path))
    # Each writer has its own temporary file, because two processes may write the same file.
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        # torch.save raises RuntimeError while it handles the error of the operating system.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError):
            raise_unwritable(path, cause)
        raise


def write(path: Path, content: bytes | str) -> None:
    """Write a whole file, text as UTF-8."""
    with atomic(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def read_json(path: Path, decode: Callable[[Any], T]) -> T | None:
    """Read a JSON file and return `decode` of its content, or None if there is no file.

    Raises `UserError` if the file cannot be read or `decode` rejects its content.
    """
    try:
        return decode(json.loads(path.read_text("utf-8"), parse_constant=_refuse))
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise UserError(f"{path} could not be read: {reason(cause)}") from cause
    # A JSONDecodeError and a UnicodeDecodeError are ValueErrors; a thousand brackets are a RecursionError.
    except (ValueError, RecursionError) as cause:
        raise UserError(f"{path} must hold a finished run of this version, but {one_line(cause)}; {_REMEDY}") from cause


def read_tensors(path: Path, device: Any, use: Callable[[Any], T]) -> T | None:
    """Read a file of torch.save and return `use` of its content, or None if there is no file.

    Raises `UserError` if the file cannot be read or `use` rejects its content.
    """
    import torch

    try:
        return use(torch.load(path, weights_only=True, map_location=device))
    except FileNotFoundError:
        return None
    # torch raises exceptions from EOFError to UnpicklingError for a broken file, and KeyError or RuntimeError for
    # tensors that do not fit.
    except Exception as cause:
        text = f"{type(cause).__name__}: {one_line(cause)}"
        raise UserError(f"{path} must hold tensors of this run ({text[:200]}); {_REMEDY}") from cause


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Let one process at a time compute `path`; the others wait. The system releases the lock of a killed process."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            note(f"waiting: another process is computing {path}")
            lock.acquire(poll_interval=0.2)
    except OSError as cause:
        raise_unwritable(path, cause)
    try:
        yield
    finally:
        # The processes that wait read the finished file next, and need no lock for it.
        if path.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def require_writable(folder: Path) -> None:
    """Raise a `UserError` unless files can be written in `folder`, which does not have to exist."""
    at = folder
    while not at.exists() and at != at.parent:
        at = at.parent
    if not at.is_dir():
        raise UserError(f"the output folder must be a folder, got {folder}: {at} is a file")
    if not os.access(at, os.W_OK | os.X_OK):
        raise UserError(f"the output folder must be writable, got {folder}: permission denied in {at}")


def remove_stale(folder: Path) -> None:
    """Remove temporary files of killed processes from `folder`."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def raise_unwritable(path: Path, cause: OSError) -> NoReturn:
    """Raise a `UserError` for a file that could not be written."""
    raise UserError(f"{path} could not be written: {reason(cause)}; files written before are unchanged") from cause


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it has a number that is not finite, {constant}")


def json_document(command: str, **content: Any) -> str:
    """Return what a command prints with --json. `version` grows when a field changes its meaning or goes away."""
    return json.dumps({"version": 1, "command": command, **content}, indent=2, allow_nan=False)
