"""MKL's inspector-executor sparse BLAS through ctypes: a handle of a matrix that is analysed once and cached."""

from __future__ import annotations

import ctypes
import weakref
from functools import lru_cache
from importlib import metadata

import torch
from torch import Tensor

# Constants of mkl_spblas.h and mkl_service.h.
_NON_TRANSPOSE, _GENERAL, _ROW_MAJOR, _AGGRESSIVE = 10, 20, 101, 81
_GNU_THREADS, _LP64 = 3, 0
# How many products the hint announces. The analysis may take as long as some of them.
_EXPECTED_CALLS = 10_000
_PREFIX = {torch.float32: "s", torch.float64: "d"}


class _Description(ctypes.Structure):
    """`struct matrix_descr`: a general matrix needs no fill mode and no diagonal type."""

    _fields_ = (("type", ctypes.c_int), ("mode", ctypes.c_int), ("diag", ctypes.c_int))


@lru_cache(1)
def _library() -> ctypes.CDLL:
    """Load the `mkl` package with int32 indices and the OpenMP threads that torch uses; ImportError without it."""
    try:
        files = metadata.files("mkl") or ()
    except metadata.PackageNotFoundError:
        raise ImportError("pip install mkl") from None
    found = next((file for file in files if file.name.startswith("libmkl_rt.so")), None)
    if found is None:
        raise ImportError("the package mkl has no libmkl_rt.so")
    library = ctypes.CDLL(str(found.locate().resolve()))
    # Threads of a second OpenMP would spin on the cores that torch's threads need.
    library.MKL_Set_Threading_Layer(_GNU_THREADS)
    library.MKL_Set_Interface_Layer(_LP64)
    return library


class Handle:
    """A square matrix as MKL's handle, hinted for products with `width` features and optimised once.

    `matrix` is a torch.sparse CSR tensor with int32 indices, float32 or float64. Raises NotImplementedError for another
    type, RuntimeError if MKL fails.
    """

    def __init__(self, matrix: Tensor, width: int):
        if matrix.dtype not in _PREFIX:
            raise NotImplementedError(f"MKL's sparse products have float32 and float64, not {matrix.dtype}")
        library, prefix = _library(), _PREFIX[matrix.dtype]
        number = ctypes.c_float if prefix == "s" else ctypes.c_double
        integer, pointer = ctypes.c_int, ctypes.c_void_p
        # MKL reads these arrays in each call, so they must live as long as the handle.
        self._arrays = matrix.crow_indices(), matrix.col_indices(), matrix.values()
        rowptr, col, value = (array.data_ptr() for array in self._arrays)
        n, description = integer(matrix.size(0)), _Description(_GENERAL, 0, 0)
        handle = pointer()
        create = getattr(library, f"mkl_sparse_{prefix}_create_csr")
        ends = rowptr + self._arrays[0].element_size()
        self._check(create(ctypes.byref(handle), 0, n, n, *map(pointer, (rowptr, ends, col, value))))
        self._finalizer = weakref.finalize(self, library.mkl_sparse_destroy, handle)
        shape = integer(width), integer(_EXPECTED_CALLS)
        self._check(library.mkl_sparse_set_mm_hint(handle, _NON_TRANSPOSE, description, _ROW_MAJOR, *shape))
        self._check(library.mkl_sparse_set_memory_hint(handle, _AGGRESSIVE))
        self._check(library.mkl_sparse_optimize(handle))
        # A function object of its own: argument types are set per object.
        self._product = library[f"mkl_sparse_{prefix}_mm"]
        columns = (pointer, integer, integer, number, pointer, integer)
        self._product.argtypes = (integer, number, pointer, _Description, integer, *columns)
        self._first = integer(_NON_TRANSPOSE), number(1.0), handle, description, integer(_ROW_MAJOR)
        self._width = shape[0]

    @staticmethod
    def _check(status: int) -> None:
        if status != 0:
            raise RuntimeError(f"MKL returned the status {status}")

    def multiply(self, x: Tensor, y: Tensor, beta: float) -> Tensor:
        """Compute y = A x + beta y in place and return y. x and y [n, width] must be contiguous."""
        width = self._width
        self._check(self._product(*self._first, x.data_ptr(), width, width, beta, y.data_ptr(), width))
        return y
