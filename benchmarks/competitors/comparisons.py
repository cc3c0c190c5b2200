"""Comparisons of calls for implicit negatives and several steps: our calls and those that they replace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import sbp_kernels as sbp
from sbp_kernels.backends import native

from ..cases.oracle import Coefficients
from ..cases.workloads import Size, generate, load
from .cuda_graph import cuda_graph
from .ours import signed_graph
from .pyg import pyg_scatter
from .registry import Problem
from .sparse_matrices import merged_addmm_int32

CALL = {"beta": 0.9, "lam": 0.1}
# With these, features on a normalized signed graph fall below float32's normal range after some hundred steps.
DECAY = {"beta": 0.5, "lam": 0.5}


@dataclass(frozen=True)
class Comparison:
    """Calls that compute the same, or nearly; times are reported relative to the first call.

    A call that is not available here is a string with the reason.
    """

    name: str
    num_nodes: int
    width: int
    calls: dict[str, Callable[[], object] | str]
    # Largest difference allowed between results, in units of the largest number of the first; None: do not compare.
    agree: float | None = None


def label_step(device: torch.device | str = "cpu") -> Comparison:
    """Compare an exact Label-SBP step with the step without negatives."""
    pos = signed_graph(load("arxiv", device=device)).pos
    n, d = pos.num_nodes, 128
    y = torch.randint(40, (n,), generator=torch.Generator().manual_seed(0)).to(device)
    x = torch.randn(n, d, device=device)
    plain = sbp.SignedGraph(pos)
    labels = sbp.SignedGraph(pos, sbp.ClassBlock.from_labels(y, torch.arange(n, device=device) % 2 == 0))
    return Comparison("arxiv, 40 classes", n, d, {
        "unsigned step": lambda: sbp.signed_propagate(x, plain, **CALL),
        "Label-SBP step": lambda: sbp.signed_propagate(x, labels, **CALL),
    })  # fmt: skip


def label_dense() -> Comparison:
    """Compare the negative part alone with its dense matrix, which takes 6.4 GB at this size."""
    n, d = 40_000, 128
    y = torch.randint(40, (n,), generator=torch.Generator().manual_seed(0))
    block = sbp.ClassBlock.from_labels(y, torch.arange(n) % 2 == 0)
    x, graph = torch.randn(n, d), sbp.SignedGraph(neg=block)
    matrix = block.block.float()[block.group][:, block.group]
    return Comparison("labels alone", n, d, {
        "class sums": lambda: sbp.signed_propagate(x, graph, **CALL),
        "dense matrix, precomputed": lambda: dense_step(x, matrix),
    }, agree=1e-4)  # fmt: skip


def dense_step(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.addmm(x, matrix, x, beta=1 - CALL["lam"], alpha=-CALL["lam"] * CALL["beta"])


def attention(x0: Tensor, x: Tensor) -> Tensor:
    """Return softmax(-x0 x0^T) x by torch's attention, which streams only if keys and values have the same width."""
    width = max(x0.size(1), x.size(1))
    key, value = (torch.nn.functional.pad(t, (0, width - t.size(1)))[None, None] for t in (x0, x))
    return torch.nn.functional.scaled_dot_product_attention(-key, key, value, scale=1.0)[0, 0, :, : x.size(1)]


def feature_step(n: int, width: int, dense: bool) -> Comparison:
    """Compare streamed Feature-SBP negatives with a dense softmax (recomputed, precomputed) and torch's attention."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.nn.functional.normalize(torch.rand(n, width, generator=generator))
    x, graph = torch.randn(n, 64, generator=generator), sbp.SignedGraph(neg=sbp.Similarity(x0))
    graph.neg.prepare(torch.float32, native)
    calls: dict[str, Callable[[], object] | str] = {"Similarity": lambda: sbp.signed_propagate(x, graph, **CALL)}
    if dense:
        lam, precomputed = CALL["lam"], torch.softmax(-(x0 @ x0.T), 1)
        calls |= {
            "dense, recomputed": lambda: dense_step(x, torch.softmax(-(x0 @ x0.T), 1)),
            "dense, precomputed": lambda: dense_step(x, precomputed),
            "scaled_dot_product_attention": lambda: (1 - lam) * x - lam * CALL["beta"] * attention(x0, x),
        }
    return Comparison(f"features, {width} wide", n, 64, calls, agree=1e-4 if dense else None)


def repeated(step: Callable[[Tensor], Tensor], num_steps: int) -> Callable[[Tensor], Tensor]:
    """Return a loop that calls `step` `num_steps` times."""

    def loop(x: Tensor) -> Tensor:
        for _ in range(num_steps):
            x = step(x)
        return x

    return loop


# torch.compile unrolls the loop: longer loops compile for minutes.
_UNROLLED = 16


def steps(
    d: int,
    num_steps: int,
    layer_norm: bool = False,
    size: str = "cora",
    peers: bool = True,
    device: torch.device | str = "cpu",
    decay: bool = False,
) -> Comparison:
    """Compare several steps in one call with one call per step (eager, CUDA graph) and with the peers' loops.

    With `decay`, features become subnormal between 400 and 600 steps. Results are then not compared, since a method may
    round them to zero.
    """
    workload = load(size, device=device)
    graph, x = signed_graph(workload).prepare(), torch.randn(workload.num_nodes, d, device=device)
    values = DECAY if decay else CALL
    several = lambda v, k: sbp.signed_propagate(v, graph, **values, num_steps=k, layer_norm=layer_norm)  # noqa: E731
    ours = repeated(lambda v: several(v, 1), num_steps)
    calls: dict[str, Callable[[], object] | str] = {
        "one call": lambda: several(x, num_steps),
        "one call per step": lambda: ours(x),
    }
    if peers:
        calls["one call per step, CUDA graph"] = _graphed(ours, x)
        calls |= _peer_loops(Problem(workload, x, Coefficients(1.0, **values)), num_steps, layer_norm)
    kind = ", LayerNorm" if layer_norm else ", λ = β = 0.5" if decay else ""
    agree = None if decay else 1e-4
    return Comparison(f"{size}, K = {num_steps}{kind}", graph.num_nodes, d, calls, agree)


def _peer_loops(problem: Problem, num_steps: int, layer_norm: bool) -> dict[str, Callable[[], object] | str]:
    x, calls = problem.x, {}
    for name, method in (("merged addmm", merged_addmm_int32), ("PyG scatter", pyg_scatter)):
        step = method(problem).run
        if layer_norm:
            step = lambda v, step=step: torch.nn.functional.layer_norm(step(v), v.shape[1:])  # noqa: E731
        loop = repeated(step, num_steps)
        calls |= {f"{name}, loop": lambda loop=loop: loop(x), f"{name}, CUDA graph": _graphed(loop, x)}
    calls["PyG scatter, compiled loop"] = _compiled(loop, x, num_steps)
    return calls


def _graphed(loop: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object] | str:
    if x.device.type != "cuda":
        return "a CUDA graph needs a GPU"
    replay = cuda_graph(loop, x)
    return lambda: replay(x)


def _compiled(loop: Callable[[Tensor], Tensor], x: Tensor, num_steps: int) -> Callable[[], object] | str:
    if num_steps > _UNROLLED:
        return f"torch.compile unrolls the loop: not measured above {_UNROLLED} steps"
    torch._dynamo.config.recompile_limit = 1000
    compiled = torch.compile(loop, fullgraph=True, dynamic=False)
    return lambda: compiled(x)


def deep_training() -> Comparison:
    """Measure forward and backward through 300 layers with LayerNorm, mainly for the memory."""
    graph = signed_graph(load("cora")).prepare()
    x = torch.randn(graph.num_nodes, 64, requires_grad=True)

    def step() -> Tensor:
        y = sbp.signed_propagate(x, graph, **CALL, num_steps=300, layer_norm=True)
        return torch.autograd.grad(y.square().sum(), x)[0]

    return Comparison("cora, K = 300, LayerNorm, training", graph.num_nodes, 64, {"forward and backward": step})


def products() -> Comparison:
    """Measure a Label-SBP step at the numbers of nodes and edges of ogbn-products."""
    size = Size(2_449_029, 123_718_280, 0, exponent=2.5)
    edges = generate("products", size).pos
    pos = sbp.CSR.from_edge_index(edges, num_nodes=size.num_nodes).normalize("sym")
    del edges
    y = torch.randint(47, (size.num_nodes,), generator=torch.Generator().manual_seed(0))
    graph = sbp.SignedGraph(pos, sbp.ClassBlock.from_labels(y, torch.arange(size.num_nodes) % 10 == 0))
    x = torch.randn(size.num_nodes, 100)
    return Comparison("products, 47 classes", size.num_nodes, 100, {
        "Label-SBP step": lambda: sbp.signed_propagate(x, graph, **CALL),
    })  # fmt: skip


COMPARISONS: dict[str, Callable[[], Comparison]] = {
    "label-step": label_step,
    "label-dense": label_dense,
    "feature-cora": lambda: feature_step(2_708, 1_433, dense=True),
    "feature-pubmed": lambda: feature_step(19_717, 500, dense=True),
    "feature-arxiv": lambda: feature_step(169_343, 128, dense=False),
    "steps-1": lambda: steps(64, 1),
    "steps-16": lambda: steps(16, 16),
    "steps-64": lambda: steps(64, 16),
    "steps-300": lambda: steps(64, 300),
    "steps-norm": lambda: steps(64, 300, layer_norm=True),
    "steps-decay-16": lambda: steps(64, 16, decay=True),
    "steps-decay-600": lambda: steps(64, 600, decay=True),
    "steps-decay-1000": lambda: steps(64, 1_000, decay=True),
    "steps-arxiv": lambda: steps(64, 16, size="arxiv", peers=False),
    "training-300": deep_training,
    "products": products,
}
