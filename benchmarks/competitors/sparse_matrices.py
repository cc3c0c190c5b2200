"""Competitors that multiply by a sparse matrix whose values hold the weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from . import mkl
from .cuda_graph import cuda_graph
from .registry import Prepared, Problem, method, needs_cpu, needs_fixed_matrix

Product = Callable[[Tensor], Tensor]
_CSR_PARTS = (Tensor.crow_indices, Tensor.col_indices, Tensor.values)


@method("torch_sparse_pair")
def torch_sparse_pair(problem: Problem) -> Prepared:
    """Two torch.sparse CSR products with the weights in the values, then their linear combination."""
    if problem.learnable == "weights":
        needs_fixed_matrix(problem)
    g, c = problem.graph, problem.coefficients
    n, dtype = g.num_nodes, problem.x.dtype
    pos = _csr_tensor(g.pos[1], g.pos[0], g.pos_weight, n, dtype, torch.int64)
    neg = _csr_tensor(g.neg[1], g.neg[0], g.neg_weight, n, dtype, torch.int64)
    return Prepared(lambda x: (1.0 - c.lam) * x + c.lam * (c.alpha * (pos @ x) - c.beta * (neg @ x)))


@method("merged_addmm_int32")
def merged_addmm_int32(problem: Problem) -> Prepared:
    """One hand-optimised torch.addmm with both signs merged into a matrix with 32-bit indices."""
    return Prepared(_merged_addmm(problem, torch.int32))


@method("merged_addmm_int64")
def merged_addmm_int64(problem: Problem) -> Prepared:
    """One hand-optimised torch.addmm with both signs merged into a matrix with 64-bit indices."""
    return Prepared(_merged_addmm(problem, torch.int64))


@method("merged_addmm_cached")
def merged_addmm_cached(problem: Problem) -> Prepared:
    """The merged call replayed as a CUDA graph, so that its descriptors are created once."""
    if problem.x.device.type != "cuda":
        raise NotImplementedError("torch has no way to cache MKL's handle of a matrix; mkl_handle does without torch")
    return Prepared(cuda_graph(_merged_addmm(problem, torch.int32), problem.x), "CUDA graph")


@method("mkl_handle")
def mkl_handle(problem: Problem) -> Prepared:
    """MKL with a cached handle and beta = 0: the residual is on the diagonal of the merged matrix."""
    matrices = _mkl_matrices(problem, residual=True)

    def product(handle: mkl.Handle) -> Product:
        return lambda x: handle.multiply(x, torch.empty_like(x), 0.0)

    return Prepared(_with_transpose(*map(product, matrices)), "MKL")


@method("mkl_handle_copy")
def mkl_handle_copy(problem: Problem) -> Prepared:
    """MKL with a cached handle and beta = 1: MKL adds to a copy of the residual, because it updates y in place."""
    matrices, r = _mkl_matrices(problem, residual=False), 1.0 - float(problem.coefficients.lam)

    def product(handle: mkl.Handle) -> Product:
        return lambda x: handle.multiply(x, x * r, 1.0)

    return Prepared(_with_transpose(*map(product, matrices)), "MKL")


def _mkl_matrices(problem: Problem, *, residual: bool) -> tuple[mkl.Handle, mkl.Handle]:
    needs_cpu(problem, "MKL")
    matrix, transpose = _merged_matrices(problem, torch.int32, residual=residual)
    handle = mkl.Handle(matrix, problem.x.size(1))
    return handle, handle if transpose is matrix else mkl.Handle(transpose, problem.x.size(1))


@method("torch_sparse_reduce")
def torch_sparse_reduce(problem: Problem) -> Prepared:
    """torch.sparse.mm(reduce="sum"), torch's own kernel instead of MKL's, with the residual on the diagonal."""
    needs_cpu(problem, 'torch.sparse.mm(reduce="sum")')
    matrix, transpose = _merged_matrices(problem, torch.int32, residual=True)
    product = torch.sparse.mm
    return Prepared(_with_transpose(lambda x: product(matrix, x, "sum"), lambda x: product(transpose, x, "sum")))


@method("scipy")
def scipy(problem: Problem) -> Prepared:
    """scipy's single-threaded CSR product with the merged matrix and its transpose."""
    needs_cpu(problem, "scipy")
    needs_fixed_matrix(problem)
    if problem.x.dtype not in (torch.float32, torch.float64):
        raise NotImplementedError(f"numpy has no {problem.x.dtype}")
    from scipy.sparse import csr_matrix

    source, target, value = _merged(problem)
    n, lam = problem.graph.num_nodes, float(problem.coefficients.lam)
    values = (lam * value).to(problem.x.dtype).numpy()
    matrix = csr_matrix((values, (target.numpy(), source.numpy())), (n, n))
    transpose = matrix.T.tocsr()
    if (matrix != transpose).nnz == 0:
        transpose = matrix

    def product(m: csr_matrix) -> Product:
        return lambda x: torch.from_numpy(m @ x.detach().numpy()).add_(x.detach(), alpha=1.0 - lam)

    return Prepared(_with_transpose(product(matrix), product(transpose)), "scipy")


def _merged(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Return sources, targets and values of alpha A+ - beta A-."""
    g, c = problem.graph, problem.coefficients
    source, target = torch.cat([g.pos, g.neg], dim=1)
    return source, target, torch.cat([c.alpha * g.pos_weight, -c.beta * g.neg_weight])


def _merged_addmm(problem: Problem, index_dtype: torch.dtype) -> Product:
    """Return addmm with signs, alpha, beta and normalization in the values, and a precomputed transpose."""
    matrix, transpose = _merged_matrices(problem, index_dtype, residual=False)
    addmm, r = torch.addmm, 1.0 - float(problem.coefficients.lam)
    return _with_transpose(lambda x: addmm(x, matrix, x, beta=r), lambda x: addmm(x, transpose, x, beta=r))


def _merged_matrices(problem: Problem, index_dtype: torch.dtype, *, residual: bool) -> tuple[Tensor, Tensor]:
    """Return lam (alpha A+ - beta A-), plus (1 - lam) I with `residual`, and its transpose, the same if symmetric."""
    needs_fixed_matrix(problem)
    source, target, value = _merged(problem)
    n, dtype, lam = problem.graph.num_nodes, problem.x.dtype, float(problem.coefficients.lam)
    value = lam * value
    if residual:
        diagonal = torch.arange(n, device=source.device)
        source, target = torch.cat([source, diagonal]), torch.cat([target, diagonal])
        value = torch.cat([value, value.new_full((n,), 1.0 - lam)])
    matrix = _csr_tensor(target, source, value, n, dtype, index_dtype)
    transpose = _csr_tensor(source, target, value, n, dtype, index_dtype)
    if all(torch.equal(part(matrix), part(transpose)) for part in _CSR_PARTS):
        transpose = matrix
    return matrix, transpose


def _with_transpose(forward: Product, backward: Product) -> Product:
    """Bypass autograd.Function if x needs no gradient: its overhead is measurable at Cora's size."""
    return lambda x: _Linear.apply(x, forward, backward) if x.requires_grad else forward(x)


class _Linear(torch.autograd.Function):
    """A linear map and its transpose. Without it autograd would transpose the matrix in each backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, forward: Product, backward: Product) -> Tensor:
        ctx.product = backward
        return forward(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return ctx.product(grad), None, None


def _csr_tensor(
    row: Tensor, col: Tensor, value: Tensor, n: int, dtype: torch.dtype, index_dtype: torch.dtype
) -> Tensor:
    """Return a torch.sparse CSR matrix with sorted columns in each row."""
    order = torch.argsort(row * n + col)
    rowptr = torch.zeros(n + 1, dtype=torch.int64, device=row.device)
    rowptr[1:] = torch.bincount(row, minlength=n).cumsum(0)
    rowptr, col, value = rowptr.to(index_dtype), col[order].to(index_dtype), value[order].to(dtype)
    with warnings.catch_warnings():
        # torch warns once that sparse CSR support is in beta.
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(rowptr, col, value, (n, n))
