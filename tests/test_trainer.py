"""Training, killed and resumed, to the same bytes; what it writes; what it says when it cannot work."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from helpers import make_prepared
from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.recipe import build_config
from sctd.train.checkpoint import list_checkpoints, load_tensors, newest_checkpoint
from sctd.train.metrics import read_metrics
from sctd.train.trainer import Trainer

SMALL = {
    "precision": "fp32",  # whatever the machine multiplies fast
    "model.num_layers": 4,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "schedule.steps": 60,
    "batch.size": 8,
    "consistency.interval": 10,
    "eval.every": 20,
    "eval.sequences": 16,
    "checkpoint.every": 9,
    "log.every": 5,
    "log.tensorboard": False,
}


def config(**changes):
    return build_config({**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}})


def continued(folder, **changes):
    """Settings of a run that takes its shape from a Hugging Face folder."""
    shape = dict.fromkeys(("model__num_layers", "model__hidden_size", "model__num_heads"))
    return config(**shape, init_from=str(folder), **changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


def weights(run):
    folder = newest_checkpoint(run)[0]
    return {
        name: (folder / name).read_bytes()
        for name in ("model", "method", "optimizer")
        for name in [f"{name}.safetensors"]
    }


KILLED_AT_37 = """
import os, signal, sys
from sctd.pretrain import pretrain
from sctd.recipe import build_config
import sctd.train.step as step

run = step.Stepper.run
def until_37(self, batch, number, lr, consistent):
    if number == 38:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, batch, number, lr, consistent)
step.Stepper.run = until_37
import json
pretrain(sys.argv[1], sys.argv[2], build_config(json.loads(sys.argv[3])))
"""


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("dense", {}),
        ("drop", {"model.dropout": 0.1}),
        ("sctd", {}),
        ("drop", {"optimizer.name": "muon", "model.starting_values": "local", "precision": "fp16"}),
        ("sctd", {"precision": "bf16", "batch.micro": 3, "model.dropout": 0.1, "masking.whole_word": True}),
    ],
    ids=["dense", "drop with dropout", "sctd", "drop with muon in fp16", "sctd in bf16 with dropout and micro-batches"],
)
def test_a_run_of_60_steps_killed_at_step_37_and_resumed_ends_with_the_same_bytes(tmp_path, data, method, changes):
    settings = {**SMALL, "method": method, **changes}
    pretrain(str(data), str(tmp_path / "whole"), build_config(settings))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_37, str(data), str(tmp_path / "killed"), json.dumps(settings)],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert newest_checkpoint(tmp_path / "killed")[1].global_step == 36
    pretrain(str(data), str(tmp_path / "killed"), resume="auto")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    for run in ("whole", "killed"):
        steps = [line["step"] for line in read_metrics(tmp_path / run)]
        assert steps == sorted(set(steps))
        assert steps[-1] == 60


def test_ctrl_c_saves_and_says_how_to_resume(tmp_path, data):
    command = [sys.executable, "-m", "sctd", "pretrain", "--data", data, "--out", tmp_path / "run", "--method", "drop"]
    for key, value in {**SMALL, "schedule.steps": 100_000, "log.every": 1}.items():
        command += [f"--{key}", str(value).lower()]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while len(read_metrics(tmp_path / "run")) < 5 and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "--resume" in said
    assert newest_checkpoint(tmp_path / "run")[1].global_step >= 4


def test_the_runs_folder_holds_what_the_design_says(tmp_path, data):
    run = tmp_path / "run"
    figures = pretrain(str(data), str(run), config(log__tensorboard=True, schedule__steps=20, checkpoint__keep=2))
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "environment.json", "baselines.json", "metrics.jsonl", "checkpoints", "tb", "origin", "model",
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

    def too_large(self, batch, totals, consistent=False):
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch, totals, consistent)

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


def test_a_budget_of_time_becomes_a_number_of_steps_that_a_resumed_run_keeps(tmp_path, data, monkeypatch):
    import sctd.train.trainer as trainer

    seconds_a_step, measured = trainer.seconds_a_step, []

    def measure(run_step, interval):
        measured.append(seconds_a_step(run_step, interval))
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

    def bad(self, batch, number, lr, consistent):
        result = run_step(self, batch, number, lr, consistent)
        return {**result, "loss_total": torch.tensor(math.nan)} if number == 20 else result

    monkeypatch.setattr(step.Stepper, "run", bad)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"Step 20: the loss is nan.*step-18.*optimizer\.lr"):
        pretrain(str(data), str(run), config())
    assert newest_checkpoint(run)[1].global_step == 18


def test_a_model_that_stays_at_the_unigram_level_is_named(tmp_path, data, capfd):
    pretrain(str(data), str(tmp_path / "run"), config(optimizer__lr=1e-7, schedule__steps=200))
    assert "level of word frequencies alone" in capfd.readouterr().err
    assert any("warning" in line for line in read_metrics(tmp_path / "run"))


def test_an_existing_run_is_refused_without_resume(tmp_path, data):
    run = tmp_path / "run"
    run.mkdir()
    (run / "something").touch()
    with pytest.raises(UserError, match="--resume"):
        pretrain(str(data), str(run), config())
    assert [path.name for path in run.iterdir()] == ["something"]


def test_a_run_is_not_resumed_with_other_settings_or_other_data(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=2))
    with pytest.raises(UserError, match=r"optimizer\.lr was None, is 0\.5"):
        pretrain(str(data), str(run), config(schedule__steps=2, optimizer__lr=0.5), resume="auto")
    other = make_prepared(tmp_path / "other", seed=2)
    with pytest.raises(UserError, match="other data"):
        pretrain(str(other), str(run), resume="auto")
    with pytest.raises(UserError, match="no run to resume"):
        pretrain(str(data), str(tmp_path / "none"), resume="auto")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, data, capfd):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=20, checkpoint__keep=3))
    newest = list_checkpoints(run)[0] / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    folder, state, damaged = newest_checkpoint(run)
    assert state.global_step == 18
    assert folder.name == "step-18"
    assert "step-20" in damaged[0]
    with pytest.raises(UserError, match="step-20"):
        pretrain(str(data), str(run), resume=str(newest.parent))
    for folder in list_checkpoints(run):
        (folder / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="no whole checkpoint"):
        pretrain(str(data), str(run), resume="auto")


def test_a_half_written_checkpoint_is_not_seen(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=2))
    (run / "checkpoints" / ".partial-step-99").mkdir()
    assert newest_checkpoint(run)[1].global_step == 2


def test_a_full_disk_ends_in_a_sentence_with_the_last_checkpoint_whole(tmp_path, data, monkeypatch):
    import sctd.train.checkpoint as checkpoint

    run = tmp_path / "run"
    save_file, saved = checkpoint.save_file, []

    def full(tensors, path):
        saved.append(path)
        if len(saved) > 4:
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        pretrain(str(data), str(run), config())
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-9"]
    assert newest_checkpoint(run)[1].global_step == 9


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


def test_continuing_from_a_hugging_face_bert_starts_at_its_loss(tmp_path, data):
    first, second = tmp_path / "first", tmp_path / "second"
    before = pretrain(str(data), str(first), config(schedule__steps=60, optimizer__lr=5e-3))
    shape = {"model__num_layers": None, "model__hidden_size": None, "model__num_heads": None}
    changes = {**shape, "init_from": str(first / "model"), "schedule__steps": 10}
    pretrain(str(data), str(second), config(**changes))
    start = read_metrics(second)[0]
    assert start["eval_loss"] == pytest.approx(before["eval_loss"], abs=1e-3)
    table = load_tensors(newest_checkpoint(second)[0], "method.safetensors")["importance.values"]
    assert abs(start["eval_loss"] - 10) > 1
    assert table.median().item() == pytest.approx(start["eval_loss"], abs=0.3)  # ten steps have moved it a little
    assert read_metrics(second)[-1]["lr"] < 1e-4  # the rate for a model that has learned already


def test_continuing_with_another_tokenizers_data_is_refused(tmp_path, data):
    pretrain(str(data), str(tmp_path / "first"), config(schedule__steps=2))
    other = make_prepared(tmp_path / "other", vocab_size=150)
    with pytest.raises(UserError, match="another tokenizer"):
        pretrain(str(other), str(tmp_path / "run"), continued(tmp_path / "first" / "model"))
    assert not (tmp_path / "run").exists()


def test_a_sequence_length_over_the_models_is_refused(tmp_path, data):
    with pytest.raises(UserError, match=r"32 tokens.*16 at most"):
        pretrain(str(data), str(tmp_path / "run"), config(model__max_position_embeddings=16))
    assert not (tmp_path / "run").exists()


def test_the_default_config_without_a_length_is_refused_before_anything_is_made(tmp_path, data):
    with pytest.raises(UserError, match=r"schedule\.steps or schedule\.minutes"):
        pretrain(str(data), str(tmp_path / "run"), PretrainConfig())
    assert not (tmp_path / "run").exists()


def test_sigterm_saves_too(tmp_path, data):
    script = "import sys; from sctd.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "pretrain", "--data", str(data), "--out", str(tmp_path / "run")]
    for key, value in {**SMALL, "schedule.steps": 100_000, "log.every": 1}.items():
        command += [f"--{key}", str(value).lower()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.time() + 120
    while len(read_metrics(tmp_path / "run")) < 5 and time.time() < deadline:
        time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=120)
    assert newest_checkpoint(tmp_path / "run")[1].global_step >= 4


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


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_as_a_plain_one(tmp_path, data):
    losses = []
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        pretrain(str(data), str(run), config(schedule__steps=12, compile=compiled, log__every=1))
        losses.append([line["loss_total"] for line in read_metrics(run) if "loss_total" in line])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_a_run_that_ended_before_its_first_checkpoint_is_begun_anew(tmp_path, data):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"schedule\.name: there is no 'step'"):
        pretrain(str(data), str(run), config(schedule__name="step"))
    assert not run.exists()
    run.mkdir()
    for name in ("config.yaml", "environment.json", "metrics.jsonl"):
        (run / name).touch()
    pretrain(str(data), str(run), config(schedule__steps=2))
    assert newest_checkpoint(run)[1].global_step == 2


def test_what_is_no_checkpoint_of_the_run_is_refused_for_resuming(tmp_path, data):
    run, other = tmp_path / "run", tmp_path / "other"
    pretrain(str(data), str(run), config(schedule__steps=2))
    for wrong in (str(run), "nowhere"):
        with pytest.raises(UserError, match="is not a checkpoint: give a folder"):
            pretrain(str(data), str(run), resume=wrong)
    with pytest.raises(UserError, match="is not a checkpoint of"):
        pretrain(str(data), str(other), resume=str(list_checkpoints(run)[0]))
    assert not other.exists()


def test_a_changed_state_is_recognised_as_damaged(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=2))
    state = list_checkpoints(run)[0] / "state.json"
    state.write_text(state.read_text().replace('"global_step": 2', '"global_step": 1'))
    with pytest.raises(UserError, match="no whole checkpoint"):
        newest_checkpoint(run)


def test_a_continued_run_is_resumed_without_the_folder_it_began_from(tmp_path, data):
    import shutil

    first, run = tmp_path / "first", tmp_path / "run"
    pretrain(str(data), str(first), config(schedule__steps=2))
    with pytest.raises(UserError, match=r"model\.num_layers is set, but with init_from"):
        pretrain(str(data), str(run), config(schedule__steps=4, init_from=str(first / "model")))
    pretrain(str(data), str(run), continued(first / "model", schedule__steps=4, checkpoint__every=2))
    whole = weights(run)
    shutil.rmtree(list_checkpoints(run)[0])
    shutil.rmtree(first)
    pretrain(str(data), str(run), resume="auto")
    assert weights(run) == whole


def test_with_loss_scaling_an_overflow_skips_every_optimizer_and_the_importance(tmp_path, data):
    import numpy as np

    from sctd.tokens.prepared import load_prepared

    settings = {"precision": "fp16", "optimizer__name": "muon", "method": "drop"}
    trainer = Trainer(tmp_path, load_prepared(data), config(**settings))
    stepper, before = trainer.stepper, {k: v.clone() for k, v in trainer.objective.state_dict().items()}
    handle = trainer.objective.model.layers[0].query.weight.register_hook(lambda gradient: gradient * np.inf)
    stepper.run(trainer.batches.at(1), 1, 1e-3, consistent=False)
    assert all(torch.equal(before[name], value) for name, value in trainer.objective.state_dict().items())
    handle.remove()
    stepper.run(trainer.batches.at(1), 1, 1e-3, consistent=False)
    after = trainer.objective.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in ("model.head_bias", "model.head_dense.weight"))
