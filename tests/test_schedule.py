"""Schedules and optimizers, by hand."""

import pytest
import torch

from sctd.config import OptimizerConfig, ScheduleConfig
from sctd.errors import UserError
from sctd.model.bert import Bert, BertConfig
from sctd.train.budget import seconds_a_step, steps_in
from sctd.train.optimizer import build_optimizers, peak_lr
from sctd.train.schedule import lr_factor, warmup_steps


def factors(steps=10, **settings):
    return [lr_factor(step, steps, ScheduleConfig(**settings)) for step in range(1, steps + 1)]


def test_linear_rises_over_the_warm_up_and_falls_to_nothing_after_the_last_step():
    assert factors(warmup=2) == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_cosine_is_half_way_down_in_the_middle():
    cosine = factors(steps=9, name="cosine", warmup=1)
    assert cosine[1] == 1
    assert cosine[5] == pytest.approx(0.5)
    assert 0 < cosine[8] < 0.05


def test_wsd_stays_at_the_peak_and_falls_over_the_last_share():
    assert factors(name="wsd", warmup=2, decay=0.4) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_warm_up_is_a_number_of_steps_or_a_share():
    assert warmup_steps(ScheduleConfig(warmup=50), 1000) == 50
    assert warmup_steps(ScheduleConfig(warmup=0.12), 1000) == 120
    assert warmup_steps(ScheduleConfig(warmup=50), 20) == 20
    assert factors(steps=3, warmup=0) == pytest.approx([1, 2 / 3, 1 / 3])


def test_an_unknown_schedule_or_optimizer_is_named_with_the_ones_there_are():
    with pytest.raises(UserError, match="choose one of linear, cosine, wsd"):
        lr_factor(1, 2, ScheduleConfig(name="step"))
    with pytest.raises(UserError, match="choose one of adamw, muon"):
        build_optimizers(torch.nn.Linear(2, 2), OptimizerConfig(name="sgd"), 1e-3, "fp32")


def test_the_peak_rate_is_lower_for_a_model_that_has_learned():
    assert peak_lr(OptimizerConfig(), continued=False) == 1e-3
    assert peak_lr(OptimizerConfig(), continued=True) == 1e-4
    assert peak_lr(OptimizerConfig(lr=5e-4), continued=True) == 5e-4


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_has_one_optimizer_and_only_matrices_decay(name):
    model = Bert(BertConfig(50, 4, 16, 2, 32, 16))
    optimizers = build_optimizers(model, OptimizerConfig(name=name, weight_decay=0.1), 1e-3, "fp32")
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert all((p.ndim == 2) == (group["weight_decay"] == 0.1) for p in group["params"])


def test_muon_takes_the_matrices_of_layers_and_head_and_leaves_the_embeddings_to_adamw():
    model = Bert(BertConfig(50, 4, 16, 2, 32, 16))
    muon, adamw = build_optimizers(model, OptimizerConfig(name="muon"), 1e-3, "fp32")
    held = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in held}
    assert isinstance(adamw, torch.optim.AdamW)
    assert "head_dense.weight" in names
    assert len(names) == 4 * 6 + 1
    assert not any("embeddings" in name for name in names)


def test_a_budget_weighs_consistency_steps_by_how_often_they_come(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sctd.train.budget.time.perf_counter", lambda: clock[0])

    def run_step(kind):
        clock[0] += 3.0 if kind == "consistency" else 1.0

    assert seconds_a_step(run_step, {"drop": 1.0}) == 1.0
    assert seconds_a_step(run_step, {"consistency": 1.0}) == 3.0
    assert seconds_a_step(run_step, {"drop": 0.9, "consistency": 0.1}) == pytest.approx((9 * 1 + 3) / 10)
    assert steps_in(minutes=2, seconds=1.2) == 100
    assert steps_in(minutes=0.001, seconds=5) == 1
