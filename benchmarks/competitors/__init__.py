"""The competitors: one function each. Importing the package registers all of them."""

from . import other_libraries, ours, pyg, sparse_matrices
from .registry import METHODS, Prepared, Problem, method

__all__ = ["METHODS", "Prepared", "Problem", "method", "other_libraries", "ours", "pyg", "sparse_matrices"]
