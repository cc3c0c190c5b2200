"""Check raw files before a library reads them: they must be complete and must not execute code."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from torch_geometric.data import InMemoryDataset

from ..errors import one_line

# The classes in the pickled arrays, matrices and neighbor lists of the datasets, under their old and new names.
_ALLOWED = {
    **dict.fromkeys(("builtins", "__builtin__"), ("list", "dict", "int", "object")),
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), ("_reconstruct", "scalar")),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), ("_frombuffer",)),
    **dict.fromkeys(("scipy.sparse.csr", "scipy.sparse._csr"), ("csr_matrix",)),
    "numpy": ("ndarray", "dtype"),
    "collections": ("defaultdict",),
    "_codecs": ("encode",),
}


class BrokenFile(ValueError):
    """A raw file that is truncated or has a different format."""

    def __init__(self, path: Path, cause: Exception) -> None:
        super().__init__(f"it is cut off or of another format, {type(cause).__name__}: {one_line(cause)}")
        self.path = path


D = TypeVar("D", bound=InMemoryDataset)


def checked(kind: type[D]) -> type[D]:
    """Return a subclass of a PyG dataset that checks its raw files, downloaded or not, before it reads them."""

    class Checked(kind):  # type: ignore[valid-type, misc]
        def process(self) -> None:
            require_whole(self.raw_paths)
            super().process()

    return Checked


def require_whole(paths: Sequence[str]) -> None:
    """Raise `BrokenFile` for the first file that is truncated, has a different format, or would execute code."""
    for path in map(Path, paths):
        try:
            with path.open("rb") as file:
                _check(path, file)
        except Exception as cause:
            # An unpickler may raise any exception on invalid bytes.
            raise BrokenFile(path, cause) from cause


def _check(path: Path, file: BinaryIO) -> None:
    if path.suffix in (".txt", ".index"):
        _check_text(path)
    elif path.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                arrays[name]
    elif path.suffix == ".npy":
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if read(file)[2].hasobject:
            _Unpickler(file).load()
    elif path.name.startswith("ind."):
        _Unpickler(file, encoding="latin1").load()


def _check_text(path: Path) -> None:
    # PyG silently ignores the text after the last newline.
    if not path.read_text().endswith("\n"):
        raise ValueError("its last line has no end")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise ValueError(f"it would run {module}.{name}")
        # Use the current module of scipy; the old one emits a warning.
        return super().find_class("scipy.sparse" if module.startswith("scipy.") else module, name)


def file_being_read(error: BaseException, folder: Path) -> Path | None:
    """Return the file in `folder`, or in `processed` beside it, that was being read when the error was raised."""
    if isinstance(error, BrokenFile):
        return error.path
    found, trace = None, error.__traceback__
    inside = (str(folder), str(folder.parent / "processed"))
    while trace is not None:
        for value in trace.tb_frame.f_locals.values():
            text = value if isinstance(value, (str, Path)) else getattr(value, "name", None)
            if isinstance(text, (str, Path)) and str(text).startswith(inside) and Path(text).is_file():
                found = Path(text)
        trace = trace.tb_next
    return found


def explain_unreadable(name: str, folder: Path, files: Sequence[str], error: Exception) -> str:
    """Return a sentence on which file of a dataset could not be read, why, and what to do."""
    why = f"{type(error).__name__}: {one_line(error)}"[:300]
    path = file_being_read(error, folder)
    if path is not None and path.parent.name == "processed":
        return f"{name} could not be read from {path} ({why}); delete it, and it is made from the raw files again"
    if path is not None:
        return f"{name} could not be read from {path} ({why}); replace this file"
    return f"{name} could not be read from {folder} ({why}); replace its files: {', '.join(files)}"
