"""Training networks: the reported epoch, resuming from a checkpoint, and the cache of finished runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from sbp_study import Options, UserError, depth, load_dataset, sweep, train
from sbp_study.config import Config, resolve
from sbp_study.training import trainer
from sbp_study.training.metrics import accuracy
from sbp_study.training.run_cache import RunCache, fingerprint
from sbp_study.training.trainer import Trainer


class Stopped(Exception):
    pass


def _csbm() -> Data:
    data = load_dataset("csbm", split=3)
    data.val_mask = data.test_mask.clone()
    return data


def _config(model: str = "label-sbp", **settings: Any) -> Config:
    return resolve("karate", model, 3, **{"backbone": "gcn", "epochs": 12, "seeds": 1, "lr": 0.05, **settings})


def test_the_best_epoch_on_validation_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = _csbm(), []
    plain = Trainer._score

    def spied(self: Trainer) -> None:
        plain(self)
        self.network.eval()
        with torch.no_grad():
            seen.append(self.network(data.x).argmax(1))

    monkeypatch.setattr(Trainer, "_score", spied)
    predicted = Trainer(data, _config(), 2, 0).fit()
    scores = [accuracy(p, data.y, data.val_mask) for p in seen]
    assert len(seen) == 12 and predicted is not None
    assert torch.equal(predicted, seen[scores.index(max(scores))])
    seen.clear()
    last = Trainer(data, _config(report="last"), 2, 0).fit()
    assert len(seen) == 1 and last is not None and torch.equal(last, seen[0])


@pytest.mark.parametrize("model", ["label-sbp", "dropedge", "batchnorm"])
def test_an_interrupted_training_resumes_to_the_same_bits(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config, checkpoint = _csbm(), _config(model), tmp_path / "seed.pt"
    whole = Trainer(data, config, 2, 0)
    wanted = whole.fit()
    monkeypatch.setattr(trainer, "_CHECKPOINT_SECONDS", 0.0)
    plain = Trainer._step

    def stopping(self: Trainer) -> None:
        if self.epoch == 7:
            raise Stopped
        plain(self)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(Stopped):
        Trainer(data, config, 2, 0, checkpoint).fit()
    assert checkpoint.exists()
    monkeypatch.setattr(Trainer, "_step", plain)
    resumed = Trainer(data, config, 2, 0, checkpoint)
    predicted = resumed.fit()
    assert wanted is not None and predicted is not None and torch.equal(predicted, wanted)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert not checkpoint.exists()


def test_scores_that_are_not_finite_have_no_accuracy() -> None:
    assert Trainer(_csbm(), _config(lr=1e38, epochs=3), 2, 0).fit() is None
    result = train("karate", "gcn", 2, seeds=1, lr=1e38, epochs=3)
    assert result.accuracy() is None


@pytest.mark.parametrize("switch", ["amp", "compile"])
def test_amp_and_compile_train_as_well(switch: str) -> None:
    pytest.importorskip("torch._inductor") if switch == "compile" else None
    spread = train("karate", "label-sbp", 2, backbone="gcn", seeds=1, epochs=30, lr=0.05, **{switch: True}).accuracy()
    plain = train("karate", "label-sbp", 2, backbone="gcn", seeds=1, epochs=30, lr=0.05).accuracy()
    assert spread is not None and plain is not None and abs(spread[0] - plain[0]) < 10.0


def test_networks_are_reproducible_and_seeds_are_independent() -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    both = train("karate", "gcn", 3, seeds=2, epochs=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert train("karate", "gcn", 3, seeds=1, first_seed=1, epochs=5).runs == both.runs[1:]


def test_learned_coefficients_change() -> None:
    data = _csbm()
    trainer = Trainer(data, resolve("karate", "label-sbp", 5, learn=True), 2, 0)
    start = trainer.network.model.raw_coefficients.detach().clone()
    trainer.fit()
    assert bool((trainer.network.model.raw_coefficients.detach() != start).all())


def test_finished_runs_are_read_and_others_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []
    from sbp_study.training import runner

    for kind in ("_fixed", "_trained"):
        plain = getattr(runner, kind)

        def counted(config: Config, *args: Any, plain: Any = plain) -> Any:
            made.append((config.model, config.layers))
            return plain(config, *args)

        monkeypatch.setattr(runner, kind, counted)

    def run(**settings: Any) -> list[dict[str, Any]]:
        options = Options(run_cache=RunCache(tmp_path, fresh=settings.pop("fresh", False)), metrics=True)
        results = depth("karate", ["sgc", "gcn"], settings.pop("layers", [2, 4]), options=options, seeds=2, epochs=2)
        rows = [result.to_dict() for result in results]
        return rows

    first = run()
    assert made == [("sgc", 2), ("sgc", 4), *[("gcn", 2)] * 2, *[("gcn", 4)] * 2]
    made.clear()
    assert run() == first and made == []
    run(layers=[2, 4, 6])
    assert made == [("sgc", 6), ("gcn", 6), ("gcn", 6)]
    made.clear()
    run(fresh=True)
    assert len(made) == 6


def test_other_data_and_settings_have_other_files(tmp_path: Path) -> None:
    run_cache, data, config = RunCache(tmp_path), _csbm(), _config()
    path = run_cache.run_path(data, config)
    assert run_cache.run_path(_csbm(), config) == path
    other = _csbm()
    other.y[0] = 1 - other.y[0]
    assert fingerprint(other) != fingerprint(data)
    assert len({path, run_cache.run_path(other, config), run_cache.run_path(data, replace(config, lr=0.1))}) == 3


def test_slow_features_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sbp_study.training import run_cache as module

    run_cache, data, config = RunCache(tmp_path), _csbm(), resolve("karate", "sgc", 2)
    calls: list[int] = []

    def make() -> torch.Tensor:
        calls.append(1)
        return torch.arange(6.0).view(2, 3)

    for _ in range(2):
        run_cache.features(data, config, make)
    assert len(calls) == 2
    monkeypatch.setattr(module, "_MIN_SECONDS_TO_SAVE", 0.0)
    wanted = run_cache.features(data, config, make)
    # The features do not depend on the learning rate.
    assert torch.equal(run_cache.features(data, replace(config, lr=9.0), make), wanted) and len(calls) == 3


def test_sweep_measures_models_without_the_setting_once() -> None:
    results = sweep("karate", ["sgc", "label-sbp"], "beta", [0.0, 0.5], seeds=1, epochs=2)
    assert [(r.label, r.config.beta) for r in results] == [
        ("sgc", None),
        ("label-sbp, beta=0", 0.0),
        ("label-sbp", 0.5),
    ]
    with pytest.raises(UserError, match="unknown setting 'bta': did you mean beta"):
        sweep("karate", ["sgc"], "bta", [1.0])
    with pytest.raises(UserError, match="none of the models sgc has a setting beta"):
        sweep("karate", ["sgc"], "beta", [1.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "sgc", "backbone": "gcn"}, "model sgc runs on the backbone sgc, got gcn"),
        ({"model": "gcn", "layers": 0}, "layers must be >= 1 on the backbone gcn, got 0"),
        ({"model": "dropedge", "drop_rate": 1.0}, r"drop_rate must lie in \[0, 1\), got 1.0"),
        ({"model": "appnp", "teleport": 1.5}, r"teleport must lie in \[0, 1\], got 1.5"),
        ({"model": "gcn", "hidden": 0}, "hidden must be >= 1, got 0"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train("karate", **settings)
