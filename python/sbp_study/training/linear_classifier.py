"""The SGC backbone's classifier: one linear layer a seed, trained side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..threads import one_thread
from .progress import ProgressBar

# Training features of fewer elements run six times faster on one thread where the machine is busy.
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
    """Train one linear layer a seed with full-batch Adam; yield each seed's predictions `[n]`.

    x `[n, d]`, y int64 `[n]`, train_mask bool `[n]`. A seed decides its own initial weights and
    nothing else, so its result does not depend on which others train beside it.
    """
    # A layer a seed, not one batched product: BLAS rounds by the shape and alignment of the batch, and
    # is slower on it (5 to 9 ms an epoch on Cora with ten seeds, against 2.4).
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
    """Set the gradients of the mean cross-entropy: autograd costs more than the products on graphs of some nodes."""
    error = layer(x).softmax(1).sub_(target).div_(x.size(0))
    torch.mm(error.T, x, out=layer.weight.grad)
    torch.sum(error, 0, out=layer.bias.grad)


def _linear(x: Tensor, num_classes: int, seed: int) -> nn.Linear:
    """Return a layer with `nn.Linear`'s own initial distribution, drawn from the seed's own generator."""
    generator = torch.Generator().manual_seed(seed)
    # Its own initialisation would draw from the global generator.
    layer = nn.utils.skip_init(nn.Linear, x.size(1), num_classes)
    bound = x.size(1) ** -0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer.to(x)
