"""Every backend and every adjacency is what its protocol says."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from sbp_kernels import CSR, SignedGraph, signed_propagate
from sbp_kernels.adjacency.base import Adjacency
from sbp_kernels.backends import BACKENDS, native, reference
from sbp_kernels.backends.interface import Backend, KernelOperand, MergedBackend, MultiStepBackend
from tests.graphs import GRAPHS

OPTIONAL = (MergedBackend, MultiStepBackend)


def functions(protocol: type) -> dict[str, inspect.Signature]:
    """Return the functions that a protocol itself declares, without `self`."""
    found = {name: f for name, f in vars(protocol).items() if inspect.isfunction(f) and not name.startswith("_")}
    signatures = {name: inspect.signature(f) for name, f in found.items()}
    return {name: s.replace(parameters=list(s.parameters.values())[1:]) for name, s in signatures.items()}


def same_names(module, name: str, signature: inspect.Signature) -> None:
    assert list(inspect.signature(getattr(module, name)).parameters) == list(signature.parameters), name


@pytest.mark.parametrize("module", BACKENDS.values(), ids=lambda module: module.__name__)
def test_a_backend_has_the_functions_of_its_protocol(module):
    for name, signature in functions(Backend).items():
        same_names(module, name, signature)
    for protocol in OPTIONAL:
        declared = functions(protocol)
        present = [name for name in declared if hasattr(module, name)]
        assert present in ([], list(declared)), f"{module.__name__} has only a part of {protocol.__name__}: {present}"
        for name in present:
            same_names(module, name, declared[name])


def test_the_native_backend_has_all_optional_functions():
    assert all(hasattr(native, name) for protocol in OPTIONAL for name in functions(protocol))
    assert not any(hasattr(reference, name) for protocol in OPTIONAL for name in functions(protocol))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_half_is_an_adjacency(name):
    graph = GRAPHS[name]()
    for half in (graph.pos, graph.neg):
        assert half is None or isinstance(half, Adjacency)


class Dense:
    """A stored dense matrix: the smallest adjacency that one can write."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.num_rows, self.num_cols = matrix.shape
        self.device = matrix.device

    @property
    def T(self) -> Dense:
        return Dense(self.matrix.T)

    def to(self, device):
        return Dense(self.matrix.to(device))

    def to_dense(self):
        return self.matrix.double()

    def requires_derivative(self):
        return False

    def learnable_weight(self, acc_dtype):
        return None

    def transpose_with(self, weight):
        return self.T, None

    def prepare(self, acc_dtype, kernels):
        return None

    def operand(self, x, acc_dtype, kernels, weight=None):
        return KernelOperand(table=self.matrix.to(acc_dtype) @ x.to(acc_dtype))

    def multi_step_operand(self, acc_dtype):
        return None


def test_a_class_of_your_own_is_an_adjacency(backend):
    matrix = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    graph = SignedGraph(CSR.from_edge_index(index, num_nodes=5), Dense(matrix))
    x = torch.randn(5, 3, requires_grad=True)
    for num_steps in (1, 3):
        y = signed_propagate(x, graph, beta=0.3, lam=0.6, num_steps=num_steps, backend=backend)
        want = x
        for _ in range(num_steps):
            want = 0.4 * want + 0.6 * (graph.pos.to_dense().float() @ want - 0.3 * matrix @ want)
        torch.testing.assert_close(y, want)
        got, expected = (torch.autograd.grad(r.square().sum(), x)[0] for r in (y, want))
        torch.testing.assert_close(got, expected)
