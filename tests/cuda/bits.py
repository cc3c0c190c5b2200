"""Print a digest of the results of the device code; run once in each order of lanes."""

from __future__ import annotations

import hashlib

import torch

from sbp_kernels import signed_pair, signed_propagate
from sbp_kernels.backends import BACKENDS
from tests.cuda import device_code
from tests.graphs import hub, labelled

BACKENDS["device code"] = device_code.load()

for graph in (hub(), labelled(0.5)):
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        for width in (19, 160):
            x = torch.randn(graph.num_cols, width, generator=torch.Generator().manual_seed(0)).to(dtype)
            digest = hashlib.sha256()
            for layer_norm in (False, True):
                y = signed_propagate(x, graph, lam=0.3, layer_norm=layer_norm, backend="device code")
                digest.update(y.view(torch.uint8).numpy().tobytes())
            for y in signed_pair(x, graph, backend="device code"):
                digest.update(y.view(torch.uint8).numpy().tobytes())
            scalars = [torch.tensor(v, requires_grad=True) for v in (1.1, 0.7, 0.4)]
            weight = torch.rand(50, requires_grad=True)
            alpha, beta, lam = scalars
            signed_propagate(x, graph, alpha=alpha, beta=beta, lam=lam, backend="device code").float().sum().backward()
            for scalar in scalars:
                digest.update(scalar.grad.numpy().tobytes())
            print(graph.num_cols, dtype, width, digest.hexdigest())
