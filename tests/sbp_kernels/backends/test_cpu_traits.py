"""What the CPU kernels choose per processor: every choice gives the same bits, and subnormals are flushed inside."""

from __future__ import annotations

import pytest
import torch

from sbp_kernels import CSR, SignedGraph, show_config, signed_pair, signed_propagate
from sbp_kernels.backends._extension import NOT_LOADED
from tests.graphs import edges, labelled
from tests.sbp_kernels.backends.processes import ROOT, python

pytestmark = pytest.mark.skipif(NOT_LOADED is not None, reason=f"native: {NOT_LOADED}")

# Each line forces what this processor may not choose by itself.
CHOICES = {
    "L1": "prefetch_to=1,prefetch_above=0,prefetch_distance=5,pack_below=0",
    "L2": "prefetch_to=2,prefetch_above=0,prefetch_distance=700,pack_below=0",
    "past the caches": "non_temporal_above=0,pack_below=0",
    "tiles": "prefetch_above=0,pack_degree=0,pack_below=1000000000",
    "narrow tiles": "prefetch_above=0,pack_degree=0,pack_below=1000000000,tile_bytes=64,non_temporal_above=0",
}


def results() -> list[torch.Tensor]:
    """Outputs and gradients of all kinds of passes over rows of several tiles, with and without a rest."""
    out = []
    for n, degree, width, dtype in (
        (23, 20, 96, torch.float32),
        (90, 20, 64, torch.float32),
        (90, 20, 101, torch.float32),
        (50, 10, 71, torch.float64),
        (90, 9, 257, torch.bfloat16),
        (40, 30, 200, torch.float16),
    ):
        generator = torch.Generator().manual_seed(width)
        x = torch.randn(n, width, generator=generator).to(dtype)
        plain = SignedGraph.from_edge_index(edges(n * degree, n, n, 0), edges(n * degree // 2, n, n, 1), n)
        graphs = [plain, plain.normalize("sym"), SignedGraph(plain.pos), SignedGraph(None, plain.neg)]
        graphs += [SignedGraph(plain.pos, labelled(0.5).neg)] if n == 23 else []
        for graph in graphs:
            for options in ({}, {"layer_norm": True}, {"num_steps": 4}, {"residual": x.flip(0)}):
                out.append(signed_propagate(x, graph, alpha=0.9, beta=0.6, lam=0.5, **options))
            own = x.clone().requires_grad_()
            signed_propagate(
                own, graph, alpha=0.9, beta=0.6, lam=0.5, layer_norm=True
            ).float().square().sum().backward()
            out.append(own.grad)
            out.extend(signed_pair(x, graph))
    return out


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_gives_the_same_bits(choice, tmp_path):
    path = tmp_path / "results.pt"
    module = "tests.sbp_kernels.backends.test_cpu_traits"
    code = f"import torch; from {module} import results; torch.save(results(), {str(path)!r})"
    run = python("-c", code, cwd=ROOT, SBP_CPU_TRAITS=CHOICES[choice])
    assert run.returncode == 0, run.stderr
    got = torch.load(path, weights_only=True)
    want = results()
    assert len(got) == len(want)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_the_chosen_traits_are_shown():
    assert "cpu  " in show_config() and "packed tiles" in show_config()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("prefetch_to=3", 'SBP_CPU_TRAITS needs prefetch_to from 1 to 2, got "3"'),
        ("tile_bytes=", 'SBP_CPU_TRAITS needs tile_bytes from 64 to 4096, got ""'),
        ("l9=1", "SBP_CPU_TRAITS knows prefetch_to"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(settings, message):
    run = python("-c", "import sbp_kernels; sbp_kernels.show_config()", cwd=ROOT, SBP_CPU_TRAITS=settings)
    assert run.returncode != 0 and message in run.stderr


@pytest.mark.parametrize("count", [1, 2])
def test_subnormals_are_flushed_inside_the_kernels_only(count, threads):
    """In each thread of the pool, and in no operation of torch afterwards."""
    threads(count)
    n = 4000
    graph = SignedGraph(CSR(torch.arange(n + 1), torch.arange(n, dtype=torch.int32)))
    x = torch.full((n, 64), 1e-40)
    assert bool((signed_propagate(x, graph, backend="native") == 0).all())
    assert bool((signed_propagate(x, graph, num_steps=3, backend="native") == 0).all())
    assert bool((x * 0.5 != 0).all()) and float(x.sum()) != 0
    normed = signed_propagate(x * torch.arange(64), graph, layer_norm=torch.nn.LayerNorm(64, eps=0.0), backend="native")
    assert bool(normed.isfinite().all()) and float(normed.std()) > 0.9
