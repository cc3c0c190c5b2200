"""Training, depth sweeps, and reproducibility of results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sbp_study import UserError, depth, load_dataset, train
from sbp_study.config import resolve
from sbp_study.models import MODELS
from sbp_study.presets import MODEL_PRESETS
from sbp_study.training.linear_classifier import _gradients, fit_linear
from sbp_study.training.runner import Options, Sweep, prepare


def _fit(seeds: list[int], **options: Any) -> list[torch.Tensor]:
    data = load_dataset("csbm", split=1)
    settings = {"epochs": 50, "lr": 0.1, "weight_decay": 5e-4, **options}
    return list(fit_linear(data.x, data.y, data.train_mask, 2, seeds, **settings))


def test_seeds_are_independent() -> None:
    together = _fit([42, 43, 44])
    for seed, predicted in zip((42, 43, 44), together, strict=True):
        assert torch.equal(_fit([seed])[0], predicted)
    # With few epochs the results still depend on the initial weights.
    assert not torch.equal(_fit([1], epochs=1)[0], _fit([2], epochs=1)[0])


def test_fit_learns_and_preserves_the_state_of_torch() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    data = load_dataset("csbm", split=1)
    accuracy = (_fit([42])[0] == data.y)[data.test_mask].double().mean()
    assert accuracy > 0.95
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(2), wanted)


def test_the_closed_form_equals_the_gradient_of_autograd() -> None:
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    layer = torch.nn.Linear(4, 3).double()
    torch.nn.functional.cross_entropy(layer(x), y).backward()
    wanted = [p.grad.clone() for p in layer.parameters()]
    _gradients(layer, x, torch.nn.functional.one_hot(y, 3).to(x))
    for parameter, gradient in zip(layer.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


FIXED = [m for m in sorted(MODELS) if "sgc" in MODEL_PRESETS[m].backbones and MODELS[m].fixed]


@pytest.mark.parametrize("model", FIXED)
@pytest.mark.parametrize("layer_norm", ["none", "final", "every"])
def test_continued_depths_equal_depths_from_scratch(model: str, layer_norm: str) -> None:
    settings = {} if model == "mlp" else {"layer_norm": layer_norm}
    configs = [resolve("karate", model, layers, **settings) for layers in (0, 2, 5, 12, 30, 4)]
    data = prepare(load_dataset("karate"), configs[0])
    sweep = Sweep(data)
    for config in configs:
        assert torch.equal(sweep.features(config), Sweep(data).features(config))


def test_sweep_continues_from_the_previous_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    plain = MODELS["sgc"].propagate

    def counted(self: Any, x: torch.Tensor, num_steps: int) -> torch.Tensor:
        taken.append(num_steps)
        return plain(self, x, num_steps)

    monkeypatch.setattr(MODELS["sgc"], "propagate", counted)
    depth("karate", ["sgc"], [30, 2, 10], seeds=1, epochs=1)
    assert taken == [2, 8, 20]


def test_results_are_reproducible() -> None:
    first, again = (train("karate", "label-sbp", 5, seeds=3, options=Options(metrics=True)).to_dict() for _ in range(2))
    del first["seconds"], again["seconds"]
    assert first == again


def test_runs_cover_splits_and_seeds(webkb_root: Path) -> None:
    result = train("texas", "label-sbp", root=str(webkb_root), split="all", seeds=2)
    assert [(run.split, run.seed) for run in result.runs] == [(k, s) for k in range(10) for s in (42, 43)]
    alone = train("texas", "label-sbp", root=str(webkb_root), split=4, seeds=1, first_seed=43)
    assert alone.runs == [run for run in result.runs if run.split == 4 and run.seed == 43]
    mean, std = result.accuracy() or (0.0, 0.0)
    values = torch.tensor([run.test for run in result.runs], dtype=torch.float64)
    assert mean == pytest.approx(float(values.mean())) and std == pytest.approx(float(values.std(correction=0)))


def test_planetoid_graph_trains(planetoid_root: Path) -> None:
    result = train("cora", "sgc", root=str(planetoid_root), seeds=2)
    assert result.graph["nodes"] == 560 and (result.accuracy() or (0,))[0] > 60


def test_depth_sorts_depths_and_adds_the_ablation() -> None:
    results = depth("karate", ["sgc", "label-sbp"], [4, 0], ablation=True, seeds=1, epochs=2, beta=0.5)
    assert [(r.label, r.config.layers) for r in results] == [
        ("sgc", 0),
        ("sgc", 4),
        ("label-sbp", 0),
        ("label-sbp", 4),
        ("label-sbp, beta=0", 0),
        ("label-sbp, beta=0", 4),
    ]
    assert {r.config.beta for r in results} == {None, 0.5, 0.0}


def test_label_sbp_resists_depth_where_sgc_collapses() -> None:
    deep = {r.label: r for r in depth("csbm", ["sgc", "label-sbp"], [50], split=0)}
    assert (deep["label-sbp"].accuracy() or (0,))[0] > (deep["sgc"].accuracy() or (100,))[0] + 20
    assert (deep["sgc"].effective_rank or 9) < 1.1 < 1.5 < (deep["label-sbp"].effective_rank or 0)


def test_diverged_features_have_no_accuracy() -> None:
    result = train("karate", "label-sbp", 200, beta=1e9, seeds=2, options=Options(metrics=True))
    assert result.accuracy() is None and result.effective_rank is None and len(result.runs) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": ["sgc"], "beta": 0.5}, "none of the models sgc has a setting beta"),
        ({"models": ["gnc"]}, "unknown model 'gnc': did you mean sgc or gcn"),
        ({"models": []}, "depth needs a model and a depth"),
        ({"models": ["sgc"], "dataset": "kartae"}, "unknown dataset 'kartae': did you mean karate"),
        ({"models": ["sgc"], "split": 5}, "split must be an index below 1 for karate, got 5"),
        ({"models": ["sgc"], "device": "gpu"}, "device gpu cannot be used"),
    ],
)
def test_wrong_studies(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        depth(**{"dataset": "karate", "layers": [2], **arguments})


def test_configs_are_hashable_values() -> None:
    config = resolve("cora", "label-sbp")
    assert replace(config, layers=0) == replace(resolve("cora", "label-sbp", 1), layers=0)
