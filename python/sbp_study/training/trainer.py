"""Train the network of one seed; report its last or best epoch, and resume from a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from ..config import Config
from ..errors import UserError
from ..models import Network
from ..models.backbones import build
from ..threads import one_thread
from .files import atomic, read_tensors
from .metrics import accuracy
from .progress import ProgressBar, note

# Interval between checkpoints. Writing one takes less than a second.
_CHECKPOINT_SECONDS = 30.0
# Below this number of elements, overhead dominates, and further threads increase it.
_SERIAL = 1 << 20


def _compiled(network: Network) -> Callable[[Tensor], Tensor]:
    """Return the compiled network. It raises a `UserError` if this machine has no compiler."""
    from torch._dynamo.exc import TorchDynamoException

    run = torch.compile(network)

    def call(x: Tensor) -> Tensor:
        try:
            return run(x)
        # The message has many lines; the first one names the failure.
        except TorchDynamoException as cause:
            raise UserError(f"compile cannot be used here: {str(cause).strip().splitlines()[0]}") from cause

    return call


class Trainer:
    """One network with its optimizer on one graph. The seed determines initial weights, dropout and masks.

    `checkpoint` is the file from which an interrupted training resumes; it is removed at the end.
    """

    def __init__(self, data: Data, config: Config, num_classes: int, seed: int, checkpoint: Path | None = None) -> None:
        self.data, self.config, self.seed, self.checkpoint = data, config, seed, checkpoint
        # Weights, dropout and masks draw from the global generators of torch.
        torch.manual_seed(seed)
        self.network = build(data, config, num_classes)
        with torch.no_grad():
            # Initialize lazy modules before compilation, in training mode, so that a compiled network is traced once.
            self.network(data.x)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.run: Callable[[Tensor], Tensor] = _compiled(self.network) if config.compile else self.network
        self.epoch, self.best_score = 0, -1.0
        # Training time of the interrupted processes, read from the checkpoint.
        self.seconds = 0.0
        self.predicted: Tensor | None = None

    def fit(self, progress: bool = False, resume: bool = True, remove: bool = True) -> Tensor | None:
        """Train all epochs; return the predictions `[n]` of the reported one, or None if its scores are not finite.

        `resume` reads the checkpoint, `remove` deletes it at the end.
        """
        if resume:
            self._load(progress)
        self._start = saved = time.monotonic()
        bar = ProgressBar("train", self.config.epochs, "epoch", shown=progress, completed=self.epoch)
        with bar, one_thread(when=self._size() < _SERIAL):
            while self.epoch < self.config.epochs:
                self._step()
                self.epoch += 1
                if self.config.report == "best" or self.epoch == self.config.epochs:
                    self._score()
                if self.checkpoint and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
                bar.update()
        if self.checkpoint and remove:
            self.checkpoint.unlink(missing_ok=True)
        return self.predicted

    def _size(self) -> int:
        """Return how many elements of the features an epoch reads. A linear method on the SGC backbone skips zeros."""
        x = self.data.x
        return int(x.count_nonzero()) if self.config.backbone == "sgc" and self.network.model.linear else x.numel()

    def _step(self) -> None:
        data, mask = self.data, self.data.train_mask
        self.network.train()
        self.network.model.resample()
        self.optimizer.zero_grad()
        amp = torch.autocast(data.x.device.type, torch.bfloat16) if self.config.amp else nullcontext()
        with amp:
            scores = self.run(data.x)
        F.cross_entropy(scores[mask].float(), data.y[mask]).backward()
        self.optimizer.step()

    @torch.no_grad()
    def _score(self) -> None:
        data = self.data
        self.network.eval()
        scores = self.run(data.x)
        found = accuracy(scores.argmax(1), data.y, data.val_mask) if self.config.report == "best" else None
        # Without validation nodes every epoch counts as the best, so the last one is reported.
        if found is None or found > self.best_score:
            self.best_score = self.best_score if found is None else found
            # The argmax of NaN is class 0, so its accuracy would be meaningless.
            self.predicted = scores.argmax(1) if bool(torch.isfinite(scores).all()) else None

    def _state(self) -> dict[str, Any]:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds + time.monotonic() - self._start,
            "best_score": self.best_score,
            "predicted": self.predicted,
            "rng": torch.get_rng_state(),
        }
        return state | ({"cuda_rng": torch.cuda.get_rng_state()} if self.data.x.is_cuda else {})

    def _save(self) -> None:
        assert self.checkpoint is not None
        with atomic(self.checkpoint) as file:
            torch.save(self._state(), file)

    def _load(self, progress: bool) -> None:
        if self.checkpoint is None or not read_tensors(self.checkpoint, self.data.x.device, self._restore):
            return
        if progress:
            name, epochs = f"{self.config.dataset} {self.config.model}", self.config.epochs
            note(f"resumed {name}, seed {self.seed}, at epoch {self.epoch} of {epochs} from {self.checkpoint}")

    def _restore(self, state: dict[str, Any]) -> bool:
        """Restore the output of `_state`; raise an exception if `state` is anything else."""
        epoch, seconds, best_score = (state[name] for name in ("epoch", "seconds", "best_score"))
        predicted = state["predicted"]
        if type(epoch) is not int or not 0 <= epoch <= self.config.epochs:
            raise ValueError(f"its epoch must lie in [0, {self.config.epochs}], got {epoch}")
        if predicted is not None and predicted.shape != self.data.y.shape:
            raise ValueError(f"its predictions must have the shape {tuple(self.data.y.shape)}")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.seconds, self.best_score, self.predicted = epoch, float(seconds), float(best_score), predicted
        torch.set_rng_state(state["rng"].cpu())
        if self.data.x.is_cuda:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        return True
