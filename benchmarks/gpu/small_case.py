"""Run every kernel once on a small graph, for compute-sanitizer."""

from __future__ import annotations

import torch

import sbp_kernels as sbp
from sbp_kernels.backends import native

n = 300
generator = torch.Generator().manual_seed(0)
hub = torch.stack([torch.arange(n).repeat(10), torch.zeros(10 * n, dtype=torch.int64)])
pos = torch.cat([torch.randint(n, (2, 1500), generator=generator), hub], 1)
neg = torch.randint(n, (2, 900), generator=generator)
weight = torch.rand(pos.size(1), generator=generator)
label = torch.arange(n) % 5
explicit = sbp.SignedGraph.from_edge_index(pos, neg, n, pos_edge_weight=weight).normalize("sym").to("cuda")
implicit = sbp.SignedGraph(explicit.pos, sbp.ClassBlock.from_labels(label, label < 3).to("cuda"))
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for width in (19, 64):
        for graph in (explicit, implicit):
            x = torch.randn(n, width, generator=generator).to("cuda", dtype).requires_grad_()
            alpha = torch.tensor(1.1, device="cuda", requires_grad=True)
            for layer_norm in (False, True):
                sbp.signed_propagate(
                    x, graph, alpha=alpha, lam=0.4, layer_norm=layer_norm, backend="native"
                ).float().sum().backward()
            sbp.signed_pair(x.detach(), graph, backend="native")
    term = explicit.pos.operand(x, torch.float32, native)
    native.edge_dot(x.detach(), x.detach(), term)
    for graph in (explicit, implicit):
        sbp.signed_propagate(x.detach(), graph, lam=0.4, num_steps=3, layer_norm=True, backend="native")
        sbp.signed_propagate(
            x, graph, lam=0.4, num_steps=3, residual=x.detach(), backend="native"
        ).float().sum().backward()
torch.cuda.synchronize()
print("every kernel ran")
