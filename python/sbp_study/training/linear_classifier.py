"""The classifier of the SGC backbone: one linear layer per seed, all trained in one loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..threads import one_thread
from .progress import ProgressBar

# Below this number of elements, training is up to six times faster on one thread when the machine is busy.
_SERIAL = 1 << 20


def fit_linear(
    x: Tensor,
    y: Tensor,
    train_mask: Tensor,
    num_classes: int,
    seeds: Sequence[int],
    *,
    epochs: int,
    lr: float,
    weight_decay: float,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Train one linear layer per seed with full-batch Adam; yield the predictions `[n]` of each seed.

    x `[n, d]`, y int64 `[n]`, train_mask bool `[n]`. A seed determines only the initial weights of its own layer, so
    its result does not depend on the other seeds.
    """
    # One product per seed, not one batched product. The rounding of a batched product depends on the shape and
    # alignment of the batch, and it is slower: 5 to 9 ms per epoch against 2.4 ms on Cora with ten seeds.
    layers = [_linear(x, num_classes, seed) for seed in seeds]
    parameters = [p for layer in layers for p in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    x_train, target = x[train_mask], F.one_hot(y[train_mask], num_classes).to(x)
    bar = ProgressBar("train", epochs, "epoch", shown=progress)
    with bar, torch.no_grad(), one_thread(when=x_train.numel() < _SERIAL):
        for _ in range(epochs):
            for layer in layers:
                _gradients(layer, x_train, target)
            optimizer.step()
            bar.update()
    with torch.no_grad():
        for layer in layers:
            yield layer(x).argmax(dim=1)


@torch.no_grad()
def _gradients(layer: nn.Linear, x: Tensor, target: Tensor) -> None:
    """Set the gradients of the mean cross-entropy. On small graphs autograd would cost more than the products."""
    error = layer(x).softmax(1).sub_(target).div_(x.size(0))
    torch.mm(error.T, x, out=layer.weight.grad)
    torch.sum(error, 0, out=layer.bias.grad)


def _linear(x: Tensor, num_classes: int, seed: int) -> nn.Linear:
    """Return a layer with the initial distribution of `nn.Linear`, drawn from a generator with this seed."""
    generator = torch.Generator().manual_seed(seed)
    # `nn.Linear` would initialize its weights from the global generator.
    layer = nn.utils.skip_init(nn.Linear, x.size(1), num_classes)
    bound = x.size(1) ** -0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer.to(x)
