"""A run that is stopped, killed or damaged, and what it ends with when it goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers import make_prepared
from kills import matrix
from sctd.config import CheckpointConfig
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.recipe import build_config
from sctd.train import checkpoint
from sctd.train.checkpoint import TrainState, list_checkpoints, newest_checkpoint, save_checkpoint
from sctd.train.metrics import read_metrics
from sctd.train.trainer import Trainer
from small_runs import SMALL, config, weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


KILLED_AT_37 = """
import os, signal, sys
from sctd.pretrain import pretrain
from sctd.recipe import build_config
import sctd.train.step as step

run = step.Stepper.run
def until_37(self, batch, number, lr, kind):
    if number == 38:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, batch, number, lr, kind)
step.Stepper.run = until_37
import json
pretrain(sys.argv[1], sys.argv[2], build_config(json.loads(sys.argv[3])))
"""


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        pytest.param("dense", {}, marks=pytest.mark.slow),
        pytest.param("drop", {"model.dropout": 0.1}, marks=pytest.mark.slow),
        pytest.param("sctd", {}, marks=pytest.mark.slow),
        ("drop", {"optimizer.name": "muon", "model.starting_values": "local", "precision": "fp16"}),
        ("sctd", {"precision": "bf16", "batch.micro": 3, "model.dropout": 0.1, "masking.whole_word": True}),
    ],
    ids=["dense", "drop with dropout", "sctd", "drop with muon in fp16", "sctd in bf16 with dropout and micro-batches"],
)
def test_a_run_of_60_steps_killed_at_step_37_and_resumed_ends_with_the_same_bytes(tmp_path, data, method, changes):
    # waited for, so that the newest one before the kill is known
    settings = {**SMALL, "method": method, "checkpoint.background": False, **changes}
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


@pytest.mark.parametrize("during", ["evaluate", "_ask_signals"])
def test_a_stop_that_comes_during_an_evaluation_is_saved_too(tmp_path, data, monkeypatch, during):
    plain = getattr(Trainer, during)

    def interrupted(self, *rest):
        if self.state.global_step == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *rest)

    monkeypatch.setattr(Trainer, during, interrupted)
    monkeypatch.setattr("sctd.pretrain._signals", lambda *_: lambda *_: {"eval_x": 1.0})
    settings = config(schedule__steps=6, eval__every=3, eval__probes_every=3, checkpoint__every=5)
    with pytest.raises(KeyboardInterrupt, match="Stopped at step 3 of 6"):
        pretrain(str(data), str(tmp_path / "run"), settings)
    assert newest_checkpoint(tmp_path / "run")[1].global_step == 3


def test_an_existing_run_is_refused_without_resume(tmp_path, data):
    run = tmp_path / "run"
    run.mkdir()
    (run / "something").touch()
    with pytest.raises(UserError, match="is no run: give another --out"):
        pretrain(str(data), str(run), config())
    assert [path.name for path in run.iterdir()] == ["something"]
    (run / "config.yaml").touch()
    with pytest.raises(UserError, match="--resume"):
        pretrain(str(data), str(run), config())


def test_a_run_is_not_resumed_with_other_settings_or_other_data(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=2))
    with pytest.raises(UserError, match=r"optimizer\.lr was null, is 0\.5"):
        pretrain(str(data), str(run), config(schedule__steps=2, optimizer__lr=0.5), resume="auto")
    other, before = make_prepared(tmp_path / "other", seed=2), (run / "heartbeat.json").read_bytes()
    with pytest.raises(UserError, match="other data"):
        pretrain(str(other), str(run), resume="auto")
    assert (run / "heartbeat.json").read_bytes() == before  # a slip of the hand makes no run a failed one
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


def sealed(folder, **changes):
    """A checkpoint's state.json with other content and the checksum of that."""
    content = json.loads((folder / "state.json").read_text())
    content.pop("checksum")
    content |= changes
    (folder / "state.json").write_text(json.dumps(content | {"checksum": checkpoint._checksum(content)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"global_step": "2"},
        {"seconds": None},
        {"files": ["model.safetensors"]},
        {"choices": {}},
        {"skipped": {}},
        {"scaler": []},
    ],
    ids=str,
)
def test_a_state_of_another_form_is_recognised_as_damaged_whatever_its_checksum_says(tmp_path, data, changes):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=2, checkpoint__keep_best=True))
    sealed(list_checkpoints(run)[0], **changes)
    with pytest.raises(UserError, match=r"no whole checkpoint.*state\.json is damaged"):
        newest_checkpoint(run)


def test_settings_and_tensors_that_do_not_belong_together_are_named(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=2))
    folder, state, _ = newest_checkpoint(run)
    larger = state.config | {"model": state.config["model"] | {"num_layers": 6}}
    sealed(folder, config=larger)
    with pytest.raises(UserError, match="holds tensors of another model than its settings mean"):
        pretrain(str(data), str(run), resume="auto")
    sealed(folder, config=state.config | {"optimizer": {"betas": [0.9, -1]}})
    with pytest.raises(UserError, match=r"optimizer\.betas"):
        pretrain(str(data), str(run), resume="auto")
    sealed(folder, config=state.config | {"optimizer": {"lr": 10**400}})
    with pytest.raises(UserError, match=r"optimizer\.lr: expected float"):
        pretrain(str(data), str(run), resume="auto")


def test_runs_that_are_killed_while_a_checkpoint_is_written_and_at_random_end_with_the_same_bytes():
    """The short form of `python tests/kills.py`, whose whole table stands in docs/reliability.md."""
    rows = [*matrix(kills=2, seed=3, methods=("sctd",))]
    assert [row[5] for row in rows] == [True, True]


def test_checkpoints_are_kept_by_number_by_multiples_and_the_best(tmp_path, data, monkeypatch):
    losses = iter([9.0, 5.0, 3.0, 4.0, 6.0, 7.0])  # at steps 0, 2, 4, 6, 8, 10
    monkeypatch.setattr(Trainer, "evaluate", lambda self: {"eval_loss": next(losses), "eval_loss_mask": 1.0})
    changes = {"schedule__steps": 10, "eval__every": 2, "checkpoint__every": 2, "checkpoint__keep": 1}
    pretrain(str(data), str(tmp_path / "run"), config(**changes, checkpoint__keep_every=6, checkpoint__keep_best=True))
    assert [folder.name for folder in list_checkpoints(tmp_path / "run")] == ["step-10", "step-6", "step-4"]


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, data, monkeypatch):
    import shutil
    from types import SimpleNamespace

    changes = {"schedule__steps": 10, "checkpoint__every": 5}
    plain = Trainer.save

    def full(self, saver):
        if self.state.global_step == 10:
            monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
        plain(self, saver)

    monkeypatch.setattr(Trainer, "save", full)
    with pytest.raises(UserError, match=r"the disk has 0\.0 MB free at .* the checkpoints before it are whole"):
        pretrain(str(data), str(tmp_path / "run"), config(**changes))
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-5"]


def test_one_command_begins_a_run_and_goes_on_with_it(tmp_path, data, capfd):
    run = tmp_path / "run"
    given = {"schedule__steps": 20, "checkpoint__every": 10}
    pretrain(str(data), str(run), config(**given), resume="if-begun")
    whole = weights(run)
    assert "Going on from" not in capfd.readouterr().err
    import shutil

    shutil.rmtree(run / "checkpoints/step-20")
    shutil.rmtree(run / "model")
    pretrain(str(data), str(run), config(**given), resume="if-begun")
    assert "Going on from step-10" in capfd.readouterr().err
    assert weights(run) == whole


def slowly(monkeypatch, seconds):
    """Make every checkpoint take this long to write; the steps at whose end one was being written."""
    import sctd.train.saving as saving
    from sctd.train.step import Stepper

    save, run_step, writing, during = saving.save_checkpoint, Stepper.run, [False], []

    def slow(*given):
        writing[0] = True
        time.sleep(seconds)
        place = save(*given)
        writing[0] = False
        return place

    def step(self, batch, number, lr, kind):
        result = run_step(self, batch, number, lr, kind)
        if writing[0]:
            during.append(number)
        return result

    monkeypatch.setattr(saving, "save_checkpoint", slow)
    monkeypatch.setattr(Stepper, "run", step)
    return during


@pytest.mark.parametrize("background", [True, False])
def test_training_goes_on_while_a_checkpoint_is_written_unless_told_to_wait(tmp_path, data, monkeypatch, background):
    changes = {"schedule__steps": 20, "checkpoint__every": 8}
    pretrain(str(data), str(tmp_path / "plain"), config(**changes))
    during = slowly(monkeypatch, 0.5)
    run = tmp_path / "slow"
    pretrain(str(data), str(run), config(**changes, checkpoint__background=background))
    assert (9 in during) == background
    assert [folder.name for folder in list_checkpoints(run)] == ["step-20", "step-16"]
    for number in (0, 1):  # what was written is the model as it was, not as it became meanwhile
        name = list_checkpoints(run)[number].name
        for file in ("model", "method", "optimizer"):
            path = f"checkpoints/{name}/{file}.safetensors"
            assert (run / path).read_bytes() == (tmp_path / "plain" / path).read_bytes()


def test_a_stop_waits_for_the_checkpoint_that_is_being_written(tmp_path, data, monkeypatch):
    import sctd.train.trainer as trainer

    slowly(monkeypatch, 0.5)
    ask = trainer.StopRequest

    class Stopping(ask):
        def __init__(self, insist):
            super().__init__(insist)
            self.asked = True

    monkeypatch.setattr(trainer, "StopRequest", Stopping)
    with pytest.raises(KeyboardInterrupt, match="everything is saved"):
        pretrain(str(data), str(tmp_path / "run"), config())
    assert newest_checkpoint(tmp_path / "run")[1].global_step == 1


def test_the_checkpoint_just_written_stays_though_there_are_newer_ones(tmp_path):
    (tmp_path / "checkpoints/step-40").mkdir(parents=True)
    place = save_checkpoint(tmp_path, TrainState(global_step=35), {}, CheckpointConfig(keep=1))
    assert {folder.name for folder in place.parent.iterdir()} == {"step-35", "step-40"}


def test_checkpoint_settings_given_at_a_resumption_are_checked(tmp_path, data):
    pretrain(str(data), str(tmp_path / "run"), config(schedule__steps=4))
    with pytest.raises(UserError, match=r"checkpoint\.keep"):
        pretrain(str(data), str(tmp_path / "run"), config(schedule__steps=4, checkpoint__keep=0), resume="auto")
    assert list((tmp_path / "run/checkpoints").iterdir())
