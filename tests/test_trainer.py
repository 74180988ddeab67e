"""Training: what it writes, what it learns, what it says when it cannot work."""

import math
import shutil
from dataclasses import replace

import pytest
import torch

from helpers import make_prepared
from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.recipe import build_config
from sctd.tokens.prepared import load_prepared
from sctd.train.checkpoint import list_checkpoints, newest_checkpoint
from sctd.train.metrics import read_metrics
from sctd.train.step_memory import USABLE, step_memory
from sctd.train.trainer import Trainer
from small_runs import config, weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


def test_a_short_run_is_not_mostly_evaluated(tmp_path, data):
    settings = {"schedule__steps": 20, "eval__every": None, "eval__sequences": 16}  # 16 held out, 8 a step
    pretrain(str(data), str(tmp_path / "run"), config(**settings))
    evaluated = [line["step"] for line in read_metrics(tmp_path / "run") if "eval_loss" in line]
    assert evaluated == [*range(0, 21, 2)]


def test_the_runs_folder_holds_what_the_design_says(tmp_path, data):
    run = tmp_path / "run"
    figures = pretrain(str(data), str(run), config(log__tensorboard=True, schedule__steps=20, checkpoint__keep=2))
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "environment.json", "baselines.json", "metrics.jsonl", "heartbeat.json", "checkpoints", "tb",
        "origin", "model",
    }  # fmt: skip
    assert [path.name for path in list_checkpoints(run)] == ["step-20", "step-18"]
    lines = read_metrics(run)
    assert [line["step"] for line in lines] == [0, 5, 10, 15, 20]
    last = lines[-1]
    assert {
        "step", "tokens", "seconds", "loss", "loss_full", "loss_total", "lr", "tokens_per_second", "kl_local",
        "kl_global", "grad_norm", "eval_loss", "eval_loss_mask", "eval_loss_dropped", "eval_kl_local", "eval_kl_global",
    } <= set(last)  # fmt: skip
    assert last["tokens"] == 20 * 8 * 32
    assert figures["eval_loss"] == last["eval_loss"]
    assert "loss_full" not in lines[1]  # no consistency step among the steps 1 to 5
    assert any((run / "tb").iterdir())


def test_training_learns(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=150, optimizer__lr=5e-3))
    lines = [line for line in read_metrics(run) if "eval_loss" in line]
    assert lines[-1]["eval_loss"] < lines[0]["eval_loss"] - 0.5


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path, data):
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pretrain(str(data), str(tmp_path / name), config(schedule__steps=5, log__every=1, seed=seed))
        losses.append([line["loss"] for line in read_metrics(tmp_path / name) if "loss" in line])
    assert losses[0] == losses[1] != losses[2]


def test_micro_batches_change_nothing_but_rounding(tmp_path, data):
    losses = []
    for micro in (8, 3, 1):
        run = tmp_path / str(micro)
        pretrain(str(data), str(run), config(schedule__steps=12, batch__micro=micro, log__every=1))
        losses.append([line["loss_total"] for line in read_metrics(run) if "loss_total" in line])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == pytest.approx(losses[0], abs=1e-4)


def test_a_micro_batch_that_does_not_fit_is_halved_and_the_choice_is_kept(tmp_path, data, monkeypatch, capfd):
    import sctd.train.step as step

    forward = step.Objective.forward

    def too_large(self, batch, totals, kind=None):
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch, totals, kind)

    wanted = tmp_path / "wanted"
    pretrain(str(data), str(wanted), config(schedule__steps=12, batch__micro=2))
    monkeypatch.setattr(step.Objective, "forward", too_large)
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=12))
    assert newest_checkpoint(run)[1].choices["micro"] == 2
    assert weights(run) == weights(wanted)
    assert "going on with 2" in capfd.readouterr().err


def test_running_out_of_memory_with_one_sequence_ends_in_a_sentence(tmp_path, data, monkeypatch):
    import sctd.train.step as step

    def never(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(step.Objective, "forward", never)
    with pytest.raises(UserError, match="gradient_checkpointing"):
        pretrain(str(data), str(tmp_path / "run"), config())


def test_where_memory_runs_out_among_many_processes_settings_that_fit_are_named(tmp_path, data, monkeypatch):
    import sctd.train.step as step
    import sctd.train.trainer as trainer

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    run = tmp_path / "run"
    run.mkdir()
    one = trainer.Trainer(run, load_prepared(data), config())
    kept = step_memory(config(), "consistency", 200, 32, "cpu", "fp32")
    monkeypatch.setattr(trainer, "memory_of", lambda device: int(kept.peak(3) / USABLE) + 1)
    monkeypatch.setattr(one.stepper, "_forward", never)
    monkeypatch.setattr(step.Processes, "many", True)
    monkeypatch.setattr(step.Processes, "totals", lambda self, *numbers: [*numbers])
    with pytest.raises(UserError, match=r"with 8 sequences at a time: set batch\.micro 3, which should fit"):
        one.stepper.run(one.batches.at(1), 1, 1e-3, "consistency")


def test_a_budget_of_time_becomes_a_number_of_steps_that_a_resumed_run_keeps(tmp_path, data, monkeypatch):
    import sctd.train.trainer as trainer

    seconds_a_step, measured = trainer.seconds_a_step, []

    def measure(run_step, shares, longest):
        measured.append(seconds_a_step(run_step, shares, longest))
        return 0.125  # so that the machine's load decides nothing

    monkeypatch.setattr(trainer, "seconds_a_step", measure)
    run = tmp_path / "run"
    changes = {"schedule__steps": None, "schedule__minutes": 0.02, "checkpoint__every": 3, "checkpoint__keep": 3}
    pretrain(str(data), str(run), config(**changes))
    assert newest_checkpoint(run)[1].global_step == newest_checkpoint(run)[1].choices["steps"] == 9
    whole = weights(run)
    for folder in list_checkpoints(run)[:-1]:
        shutil.rmtree(folder)
    assert newest_checkpoint(run)[1].global_step == 3
    pretrain(str(data), str(run), resume="auto")
    assert newest_checkpoint(run)[1].global_step == newest_checkpoint(run)[1].choices["steps"] == 9
    assert weights(run) == whole
    assert len(measured) == 1
    assert measured[0] > 0


def test_a_loss_that_is_not_finite_is_named_and_the_last_checkpoint_stays(tmp_path, data, monkeypatch):
    import sctd.train.step as step

    run_step = step.Stepper.run

    def bad(self, batch, number, lr, kind):
        result = run_step(self, batch, number, lr, kind)
        return {**result, "loss_total": torch.tensor(math.nan)} if number == 20 else result

    monkeypatch.setattr(step.Stepper, "run", bad)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"Step 20: the loss is nan.*step-18.*optimizer\.lr"):
        pretrain(str(data), str(run), config())
    assert newest_checkpoint(run)[1].global_step == 18


def spoil(monkeypatch, steps):
    """Make the loss of these steps no number."""
    import sctd.train.step as step
    from sctd.method.objectives import Objective

    run_step, forward, now = step.Stepper.run, Objective.forward, [0]

    def run(self, batch, number, lr, kind):
        now[0] = number
        before = {name: value.clone() for name, value in self.objective.state_dict().items()}
        result = run_step(self, batch, number, lr, kind)
        if number in steps:
            after = self.objective.state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)
            assert all(torch.isfinite(v).all() for o in self.optimizers for s in o.state.values() for v in s.values())
        return result

    def spoiled(self, *given, **more):
        losses = forward(self, *given, **more)
        return replace(losses, total=losses.total * math.nan) if now[0] in steps else losses

    monkeypatch.setattr(step.Stepper, "run", run)
    monkeypatch.setattr(Objective, "forward", spoiled)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_whose_gradient_is_not_finite_is_left_out_and_counted(tmp_path, data, monkeypatch, capfd, optimizer):
    spoil(monkeypatch, {7, 8, 15})
    changes = {"schedule__steps": 20, "log__every": 1, "checkpoint__every": 20, "optimizer__name": optimizer}
    pretrain(str(data), str(tmp_path / "run"), config(method="drop", **changes))
    assert "Step 15: a gradient was not finite, so its step was left out (3 in all)" in capfd.readouterr().err
    lines = {line["step"]: line for line in read_metrics(tmp_path / "run")}
    assert [lines[step].get("skipped") for step in (6, 7, 8, 15, 20)] == [None, 1, 2, 3, 3]
    assert newest_checkpoint(tmp_path / "run")[1].skipped == 3
    assert lines[20]["eval_loss"] < lines[0]["eval_loss"]


def test_many_of_them_in_a_row_end_the_run_with_the_last_checkpoint_whole(tmp_path, data, monkeypatch):
    spoil(monkeypatch, set(range(20, 30)))
    with pytest.raises(UserError, match=r"Step 24: the loss is nan.*step-18"):
        pretrain(str(data), str(tmp_path / "run"), config())
    assert newest_checkpoint(tmp_path / "run")[1].global_step == 18


def test_a_model_that_stays_at_the_unigram_level_is_named(tmp_path, data, capfd):
    pretrain(str(data), str(tmp_path / "run"), config(optimizer__lr=1e-7, schedule__steps=200))
    assert "no better than word frequencies alone" in capfd.readouterr().err
    assert any("warning" in line for line in read_metrics(tmp_path / "run"))


@pytest.mark.parametrize("method", ["dense", "sctd"])
def test_every_precision_learns_alike(tmp_path, data, method):
    reached = {}
    for precision in ("fp32", "bf16", "fp16"):
        run = tmp_path / precision
        pretrain(str(data), str(run), config(method=method, precision=precision, schedule__steps=30))
        first, *_, last = read_metrics(run)
        assert last["eval_loss"] < first["eval_loss"] - 0.1
        reached[precision] = last["eval_loss"]
    assert reached["bf16"] == pytest.approx(reached["fp32"], abs=0.01)
    assert reached["fp16"] == pytest.approx(reached["fp32"], abs=0.01)


def test_a_sequence_length_over_the_models_is_refused(tmp_path, data):
    with pytest.raises(UserError, match=r"32 tokens.*16 at most"):
        pretrain(str(data), str(tmp_path / "run"), config(model__max_position_embeddings=16))
    assert not (tmp_path / "run").exists()


def test_the_default_config_without_a_length_is_refused_before_anything_is_made(tmp_path, data):
    with pytest.raises(UserError, match=r"schedule\.steps or schedule\.minutes"):
        pretrain(str(data), str(tmp_path / "run"), PretrainConfig())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["demo", "mini", "cpu-6x256", "small"])
def test_a_small_shipped_recipe_runs(tmp_path, data, recipe):
    from sctd.recipe import load_recipe

    short = {
        "schedule.steps": 2,
        "schedule.minutes": None,
        "batch.size": 2,
        "eval.sequences": 4,
        "log.tensorboard": False,
    }
    figures = pretrain(str(data), str(tmp_path / "run"), build_config(load_recipe(recipe) | short))
    assert 0 < figures["eval_loss"] < 20


def test_compiling_without_a_compiler_is_refused_in_a_sentence(tmp_path, data, monkeypatch):
    def none_found():
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none_found)
    with pytest.raises(UserError, match=r"compile: torch\.compile needs a C\+\+ compiler"):
        pretrain(str(data), str(tmp_path / "run"), config(compile=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_as_a_plain_one(tmp_path, data):
    losses = []
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        pretrain(str(data), str(run), config(schedule__steps=12, compile=compiled, log__every=1))
        losses.append([line["loss_total"] for line in read_metrics(run) if "loss_total" in line])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.slow
def test_nothing_compiles_anew_when_the_kind_of_step_changes(tmp_path, data, monkeypatch):
    trainer = Trainer(tmp_path, load_prepared(data), config(compile=True, method="sctd"))
    batches = [batch for batch in map(trainer.batches.at, range(1, 12)) if batch.attention_mask is None]
    kinds = ["drop", "consistency", "dense"]
    for kind, batch in zip(kinds, batches, strict=False):
        trainer.stepper.run(batch, 1, 1e-3, kind)
    monkeypatch.setattr(torch._dynamo.config, "error_on_recompile", True)
    for kind, batch in zip(kinds * 2, batches[3:], strict=False):
        trainer.stepper.run(batch, 2, 1e-3, kind)


def test_with_loss_scaling_an_overflow_skips_every_optimizer_and_the_importance(tmp_path, data):
    import numpy as np

    settings = {"precision": "fp16", "optimizer__name": "muon", "method": "drop"}
    trainer = Trainer(tmp_path, load_prepared(data), config(**settings))
    stepper, before = trainer.stepper, {k: v.clone() for k, v in trainer.objective.state_dict().items()}
    handle = trainer.objective.model.layers[0].query.weight.register_hook(lambda gradient: gradient * np.inf)
    stepper.run(trainer.batches.at(1), 1, 1e-3, "drop")
    assert all(torch.equal(before[name], value) for name, value in trainer.objective.state_dict().items())
    handle.remove()
    stepper.run(trainer.batches.at(1), 1, 1e-3, "drop")
    after = trainer.objective.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in ("model.head_bias", "model.head_dense.weight"))


def test_loss_scaling_that_never_finds_a_scale_ends_the_run(tmp_path, data, monkeypatch):
    from sctd.model.bert import Bert

    plain = Bert.__init__

    def broken(self, *given, **more):
        plain(self, *given, **more)
        self.word_embeddings.weight.register_hook(lambda gradient: gradient * math.inf)

    monkeypatch.setattr(Bert, "__init__", broken)
    changes = {"precision": "fp16", "log__every": 1, "checkpoint__every": 10, "schedule__steps": 60}
    with pytest.raises(UserError, match=r"Step \d+: the gradient's norm is (inf|nan).*or fp16 \(try precision fp32\)"):
        pretrain(str(data), str(tmp_path / "run"), config(**changes))
    last = read_metrics(tmp_path / "run")[-1]
    assert last["step"] < 30
    assert last["skipped"] >= 4
