"""Training a network: one seed at a time, its best or last epoch, and going on from a checkpoint."""

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
from tqdm import tqdm

from .config import Config
from .metrics import accuracy
from .networks import build
from .threads import one_thread

# Writing a checkpoint costs less than a second of work every this many seconds.
_CHECKPOINT_SECONDS = 30.0
# Networks on features of fewer elements are all overhead, which further threads add to.
_SERIAL = 1 << 20


class Trainer:
    """One network and its optimizer on one graph, from the seed's own weights, dropout and masks.

    `checkpoint` is a file that a stopped training goes on from; it is removed at the end.
    """

    def __init__(self, data: Data, config: Config, num_classes: int, seed: int, checkpoint: Path | None = None) -> None:
        self.data, self.config, self.checkpoint = data, config, checkpoint
        # Weights, dropout and masks all draw from torch's global generators.
        torch.manual_seed(seed)
        self.network = build(data, config, num_classes)
        with torch.no_grad():
            # Lazy parts take their shapes; as in training, so that a compiled network is traced once.
            self.network(data.x)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.run: Callable[[Tensor], Tensor] = torch.compile(self.network) if config.compile else self.network
        self.epoch, self.best_score = 0, -1.0
        self.predicted: Tensor | None = None

    def fit(self, progress: bool = False) -> Tensor | None:
        """Train all epochs; return the predictions `[n]` of the reported one, None if its scores are not finite."""
        self._load()
        saved = time.monotonic()
        hidden = None if progress else True
        bar = tqdm(
            desc="train", unit="epoch", total=self.config.epochs, initial=self.epoch, leave=False, disable=hidden
        )
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
        if self.checkpoint:
            self.checkpoint.unlink(missing_ok=True)
        return self.predicted

    def _size(self) -> int:
        """Return how many elements of the features an epoch reads: a linear method skips zeros where most are."""
        x = self.data.x
        return int(x.count_nonzero()) if self.config.backbone == "sgc" and self.network.model.linear else x.numel()

    def _step(self) -> None:
        data, mask = self.data, self.data.train_mask
        self.network.train()
        self.network.model.renew()
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
        # Without validation nodes every epoch is as good as the best: the last one stays.
        if found is None or found > self.best_score:
            self.best_score = self.best_score if found is None else found
            # The argmax of NaN is class 0: an accuracy of it would mean nothing.
            self.predicted = scores.argmax(1) if bool(torch.isfinite(scores).all()) else None

    def _state(self) -> dict[str, Any]:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best_score": self.best_score,
            "predicted": self.predicted,
            "rng": torch.get_rng_state(),
        }
        return state | ({"cuda_rng": torch.cuda.get_rng_state()} if self.data.x.is_cuda else {})

    def _save(self) -> None:
        assert self.checkpoint is not None
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint.with_suffix(".part")
        torch.save(self._state(), part)
        # In one move: a run that is stopped while it writes keeps the checkpoint before.
        part.replace(self.checkpoint)

    def _load(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.data.x.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best_score, self.predicted = state["epoch"], state["best_score"], state["predicted"]
        torch.set_rng_state(state["rng"].cpu())
        if self.data.x.is_cuda:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
