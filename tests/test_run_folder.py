"""A run's folder: one process at a time, what is set at a resumption, and what a kill may leave there."""

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from safetensors import SafetensorError

from helpers import make_prepared
from sctd.cli import main
from sctd.errors import UserError
from sctd.files import disk_errors
from sctd.hf.export import export
from sctd.locks import LOCK, alone
from sctd.pretrain import pretrain
from sctd.recipe import to_yaml
from sctd.train import begun
from sctd.train.begun import training_alone
from sctd.train.checkpoint import list_checkpoints, newest_checkpoint
from sctd.train.metrics import RunLog
from sctd.train.trainer import Trainer
from small_runs import config, weights
from test_remote_runs import stop_at

SHORT = {"schedule__steps": 12, "checkpoint__every": 3, "eval__every": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_prepared(tmp_path_factory.mktemp("prepared")))


def names(run):
    return [folder.name for folder in list_checkpoints(run)]


def stopped(data, run, monkeypatch, step, **changes):
    """A run that was stopped after the checkpoint of this step, in the step that follows."""
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_at(patched, step)
        pretrain(data, str(run), config(**SHORT, **changes))


def test_a_run_that_another_process_trains_is_left_alone(tmp_path, data, monkeypatch, capfd):
    run = tmp_path / "run"
    stopped(data, run, monkeypatch, 6)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    monkeypatch.setattr(begun, "PATIENCE", 1)
    with training_alone(run):
        for resume in ("auto", "if-begun", None):
            with pytest.raises(UserError, match="Another process trains"):
                pretrain(data, str(run), config(**SHORT), resume=resume)
        after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != LOCK}
    assert after.items() <= before.items() | {(run, run.stat().st_mtime_ns)}
    assert "waiting up to 1 s for its end" in capfd.readouterr().err


def test_many_that_begin_and_end_at_one_moment_do_not_meet(tmp_path):
    inside, most, others = [], [], []

    def come_and_go(number):
        for _ in range(300):
            with suppress(UserError), alone(tmp_path / "run", lambda: "busy"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    def watched(number):
        try:
            come_and_go(number)
        except Exception as error:
            others.append(error)

    threads = [Thread(target=watched, args=[number]) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not others
    assert max(most) == 1


def test_a_finished_run_without_its_weights_is_not_begun_over(tmp_path, data):
    run = tmp_path / "run"
    pretrain(data, str(run), config(**SHORT))
    for weights_ in ("model", "checkpoints"):
        shutil.rmtree(run / weights_)
    record = (run / "metrics.jsonl").read_bytes()
    for resume in (None, "if-begun"):
        with pytest.raises(UserError, match="the record of a finished run, whose checkpoints are gone"):
            pretrain(data, str(run), config(**SHORT), resume=resume)
    assert (run / "metrics.jsonl").read_bytes() == record


def test_one_that_ends_meanwhile_is_waited_for(tmp_path, data, monkeypatch):
    run, slept = tmp_path / "run", []
    held = training_alone(run)
    held.__enter__()

    def sleep(seconds):
        slept.append(seconds)
        held.__exit__(None, None, None)

    monkeypatch.setattr(time, "sleep", sleep)
    pretrain(data, str(run), config(**SHORT))
    assert slept == [1]
    assert not (run / LOCK).exists()


def test_without_locks_on_the_file_system_it_is_said_and_the_run_goes_on(tmp_path, data, monkeypatch, capfd):
    import fcntl

    def none(*given):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    pretrain(data, str(tmp_path / "run"), config(**SHORT))
    assert "Nothing keeps a second process from" in capfd.readouterr().err


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path, data):
    with pytest.raises(UserError, match="is not a folder"):
        pretrain(str(tmp_path / "none"), str(tmp_path / "run"), config(**SHORT))
    assert not (tmp_path / "run").exists()


def test_one_setting_given_at_a_resumption_leaves_the_others_of_its_section(tmp_path, data, monkeypatch):
    run = tmp_path / "run"
    stopped(data, run, monkeypatch, 6, checkpoint__keep=1, checkpoint__keep_every=3)
    assert names(run) == ["step-7", "step-6", "step-3"]
    pretrain(data, str(run), config(**SHORT, checkpoint__background=False), resume="auto")
    assert names(run) == ["step-12", "step-9", "step-6", "step-3"]
    kept = newest_checkpoint(run)[1].config["checkpoint"]
    assert (kept["keep"], kept["keep_every"], kept["background"]) == (1, 3, False)


def test_a_setting_can_be_given_its_default_back_and_is_checked_like_any_other(tmp_path, data, monkeypatch):
    run = tmp_path / "run"
    stopped(data, run, monkeypatch, 6, checkpoint__keep=4, checkpoint__background=False, seed=5)
    with pytest.raises(UserError, match=r"seed was 5, is 1"):
        pretrain(data, str(run), config(**SHORT, seed=1), resume="auto")
    pretrain(data, str(run), config(**SHORT, checkpoint__keep=2, checkpoint__background=True), resume="auto")
    kept = newest_checkpoint(run)[1].config["checkpoint"]
    assert (kept["keep"], kept["background"]) == (2, True)


def test_a_model_that_was_exported_in_the_middle_is_replaced_at_the_end(tmp_path, data, monkeypatch):
    run = tmp_path / "run"
    pretrain(data, str(tmp_path / "whole"), config(**SHORT))
    stopped(data, run, monkeypatch, 6)
    export(str(run), str(run / "model"))
    pretrain(data, str(run), resume="auto")
    ours, whole = ((folder / "model/model.safetensors").read_bytes() for folder in (run, tmp_path / "whole"))
    assert ours == whole


def test_a_record_that_cannot_be_written_ends_the_run_saved(tmp_path, data, monkeypatch):
    run = tmp_path / "run"
    write = RunLog.write

    def full(self, line):
        if line["step"] == 7:
            self.failed = UserError("No space left on the disk of RUN.")
            return
        write(self, line)

    with monkeypatch.context() as patched, pytest.raises(UserError, match="No space left"):
        patched.setattr(RunLog, "write", full)
        pretrain(data, str(run), config(**SHORT, log__every=1))
    assert names(run)[0] == "step-7"


def test_a_kill_while_a_folder_is_cleared_leaves_one_that_the_same_command_begins_anew(tmp_path, data, monkeypatch):
    plain = Path.unlink
    for kills in range(1, 6):
        run = tmp_path / str(kills)
        run.mkdir()
        for name in ("metrics.jsonl", "environment.json", "baselines.json", "heartbeat.json"):
            (run / name).write_text("{}", encoding="utf-8")
        (run / "config.yaml").write_text(to_yaml(config(**SHORT)), encoding="utf-8")
        removed = []

        def unlink(self, plain=plain, removed=removed, kills=kills, **how):
            if len(removed) == kills:
                raise KeyboardInterrupt
            removed.append(self.name)
            plain(self, **how)

        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(Path, "unlink", unlink)
            begun.clear(run)
        begun.refuse(run, config(**SHORT))


def test_checkpoints_newer_than_the_one_that_is_gone_on_from_are_set_aside(tmp_path, data, monkeypatch, capfd):
    run = tmp_path / "run"
    pretrain(data, str(tmp_path / "whole"), config(**SHORT))
    stopped(data, run, monkeypatch, 9, checkpoint__keep=4)
    (run / "checkpoints/.partial-step-10").mkdir()
    pretrain(data, str(run), resume="step-3")
    assert {path.name for path in (run / "set-aside").iterdir()} == {"step-6", "step-9", "step-10"}
    assert "step-9 is newer, and is set aside" in capfd.readouterr().err
    assert names(run) == ["step-12", "step-9", "step-6", "step-3"]
    assert not [*(run / "checkpoints").glob(".partial-*")]
    assert weights(run) == weights(tmp_path / "whole")


@pytest.mark.parametrize("left", ["config.yaml", ".partial-7-config.yaml", ".partial-7-heartbeat.json"])
def test_after_a_kill_before_the_first_checkpoint_the_same_command_begins_anew(tmp_path, data, left):
    run = tmp_path / "run"
    run.mkdir()
    (run / left).write_text(to_yaml(config(**SHORT)), encoding="utf-8")
    pretrain(data, str(run), config(**SHORT), resume="if-begun")
    assert names(run)[0] == "step-12"
    assert not [*run.glob(".partial-*")]


def test_a_recipe_of_somebody_s_own_in_the_folder_is_not_overwritten(tmp_path, data):
    (tmp_path / "config.yaml").write_text("method: drop\n", encoding="utf-8")
    with pytest.raises(UserError, match="exists already"):
        pretrain(data, str(tmp_path), config(**SHORT))
    assert (tmp_path / "config.yaml").read_text(encoding="utf-8") == "method: drop\n"


def test_a_link_to_the_folder_stays_one(tmp_path, data):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/config.yaml").write_text(to_yaml(config(**SHORT)), encoding="utf-8")
    pretrain(data, str(tmp_path / "run"), config(**SHORT))
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "disk/model").is_dir()


def test_the_best_checkpoint_is_one_that_was_evaluated(tmp_path, data, monkeypatch):
    losses = iter([9.0, 2.0, 3.0, 4.0])  # at steps 0, 4, 8, 12
    monkeypatch.setattr(Trainer, "evaluate", lambda self: {"eval_loss": next(losses), "eval_loss_mask": 1.0})
    changes = {"schedule__steps": 12, "eval__every": 4, "checkpoint__every": 2, "checkpoint__keep": 1}
    pretrain(data, str(tmp_path / "run"), config(**changes, checkpoint__keep_best=True))
    assert names(tmp_path / "run") == ["step-12", "step-4"]


@pytest.mark.parametrize("verb", ["pretrain", "prepare"])
def test_a_place_where_nothing_can_be_made_is_one_sentence(tmp_path, data, capfd, monkeypatch, verb):
    make, place = Path.mkdir, tmp_path / "nope"

    def as_below_proc(path, *given, **named):
        if path == place:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        make(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", as_below_proc)
    text = tmp_path / "text.txt"
    text.write_text("Some words.\n\nSome more.\n", encoding="utf-8")
    words = {
        "pretrain": ["--data", data, "--config", "mini", "--schedule.steps", "1"],
        "prepare": ["--input", str(text)],
    }[verb]
    assert main([verb, *words, "--out", str(place)]) == 2
    assert "cannot be made (No such file or directory): choose another place." in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["pretrain", "prepare", "export"])
def test_a_link_that_leads_nowhere_is_one_sentence(tmp_path, data, capfd, verb):
    (tmp_path / "disk").symlink_to(tmp_path / "not-mounted")
    out, text = str(tmp_path / "disk/a"), tmp_path / "text.txt"
    text.write_text("Some words.\n\nSome more.\n", encoding="utf-8")
    words = {
        "pretrain": ["pretrain", "--data", data, "--out", out, "--config", "mini", "--schedule.steps", "1"],
        "prepare": ["prepare", "--input", str(text), "--out", out],
        "export": ["export", str(tmp_path / "run"), "--out", out],
    }[verb]
    if verb == "export":
        pretrain(data, str(tmp_path / "run"), config(**SHORT))
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "a link that leads nowhere, is in the way" in said
    assert "Traceback" not in said


def test_a_disk_that_is_full_while_the_model_is_written_is_one_sentence_and_it_is_written_later(
    tmp_path, data, monkeypatch
):
    run = tmp_path / "run"

    def full(*given, **named):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched, pytest.raises(UserError, match="The disk is full at"):
        patched.setattr("safetensors.torch.save_file", full)
        pretrain(data, str(run), config(**SHORT))
    assert not [*run.glob(".partial-*")]
    pretrain(data, str(run), resume="auto")
    assert (run / "model/model.safetensors").exists()


def test_a_file_that_is_too_large_for_its_place_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is larger than its file system or a limit"), disk_errors(tmp_path):
        raise OSError(27, "File too large")
