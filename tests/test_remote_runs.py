"""Runs at addresses: what a machine that has nothing of them finds there is enough to go on."""

import signal

import pytest

import sctd.train.mirror as mirror
from helpers import make_prepared
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.remote import cache_folder, delete_folder, download, remote_files, upload_folder
from sctd.train.checkpoint import list_checkpoints
from sctd.train.metrics import read_metrics
from sctd.train.pulse import read_heartbeat
from sctd.train.trainer import Trainer
from small_runs import config, digest, weights
from test_remote import s3, store

__all__ = ["s3", "store"]  # fixtures

SHORT = {"schedule__steps": 12, "checkpoint__every": 4, "eval__every": 6, "log__every": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Call it to be another machine, with a cache of its own."""

    def be(name):
        monkeypatch.setenv("SCTD_CACHE", str(tmp_path / name))

    be("first")
    return be


def stop_at(monkeypatch, step):
    plain = Trainer.save

    def save(self, saver):
        plain(self, saver)
        if self.state.global_step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "save", save)


def stopped_at_8(monkeypatch, data, run, **changes):
    """A run that was stopped after the checkpoint of step 8, in step 9."""
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_at(patched, 8)
        pretrain(str(data), run, config(**SHORT, **changes))


def test_a_run_that_was_stopped_goes_on_on_another_machine_to_the_same_bytes(
    tmp_path, data, store, machine, monkeypatch
):
    pretrain(str(data), str(tmp_path / "whole"), config(**SHORT))
    run = f"{store}/run"
    with monkeypatch.context() as patched:
        stop_at(patched, 8)
        with pytest.raises(KeyboardInterrupt, match=f"--out {run} --resume"):
            pretrain(str(data), run, config(**SHORT), resume="if-begun")
    machine("second")
    pretrain(str(data), run, config(**SHORT), resume="if-begun")
    copy = cache_folder(run)
    assert weights(copy) == weights(tmp_path / "whole")
    assert [line["step"] for line in read_metrics(copy)] == [*range(13)]
    names = set(remote_files(run))
    # step-8 was not fetched, so it is not the second machine's to delete
    assert {name.split("/")[1] for name in names if name.startswith("checkpoints/")} == {"step-12", "step-9", "step-8"}
    assert {"config.yaml", "metrics.jsonl", "heartbeat.json", "model/config.json", "model/model.safetensors"} <= names
    download(f"{run}/heartbeat.json", tmp_path / "heartbeat.json")
    assert read_heartbeat(tmp_path)["phase"] == "finished"
    download(f"{run}/model/model.safetensors", tmp_path / "fetched")
    assert digest(tmp_path / "fetched") == digest(tmp_path / "whole/model/model.safetensors")


def test_what_another_machine_keeps_at_the_address_stays_there(tmp_path, data, machine, monkeypatch):
    run = f"file://{tmp_path}/run"
    stopped_at_8(monkeypatch, data, run, checkpoint__keep=1, checkpoint__keep_every=4)
    before = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    machine("second")
    pretrain(str(data), run, resume="auto")
    kept = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert before == {"step-4", "step-8", "step-9"}
    assert {"step-4", "step-8", "step-12"} <= kept


def test_a_checkpoint_that_could_not_be_sent_is_sent_by_the_same_command(tmp_path, data, monkeypatch):
    run = f"file://{tmp_path}/run"
    stopped_at_8(monkeypatch, data, run)
    newest = list_checkpoints(cache_folder(run))[0]
    delete_folder(f"{run}/checkpoints/{newest.name}")
    (cache_folder(run) / "checkpoints/step-3").mkdir()  # and one that a kill left half fetched
    copy = mirror.Mirror(run).fetch()
    assert next(folder.name for folder in list_checkpoints(copy)) == newest.name
    assert f"checkpoints/{newest.name}/state.json" in remote_files(run)
    assert not (copy / "checkpoints/step-3").exists()


def test_a_model_that_could_not_be_sent_is_sent_by_the_same_command(tmp_path, data):
    run = f"file://{tmp_path}/run"
    pretrain(str(data), run, config(**SHORT))
    delete_folder(f"{run}/model")
    pretrain(str(data), run, resume="auto")
    assert "model/config.json" in remote_files(run)


def test_of_a_damaged_or_unfinished_checkpoint_there_the_one_before_it_is_taken(tmp_path, data, machine, capfd):
    run = f"file://{tmp_path}/run"
    pretrain(str(data), run, config(**SHORT, checkpoint__keep=3))
    (tmp_path / "run/checkpoints/step-12/state.json").unlink()
    (tmp_path / "run/checkpoints/step-8/model.safetensors").write_bytes(b"")
    machine("second")
    pretrain(str(data), run, resume="auto")
    said = capfd.readouterr().err
    assert "step-8/model.safetensors is damaged" in said
    assert "Going on from step-4" in said


def test_a_run_that_is_there_is_refused_and_one_that_was_deleted_there_is_begun_anew(tmp_path, data):
    run = f"file://{tmp_path}/run"
    pretrain(str(data), run, config(**SHORT))
    before = weights(cache_folder(run))
    with pytest.raises(UserError, match="add --resume to go on with it"):
        pretrain(str(data), run, config(**SHORT))
    delete_folder(run)
    pretrain(str(data), run, config(**SHORT, seed=2))
    assert weights(cache_folder(run)) != before
    assert "seed: 2" in (tmp_path / "run/config.yaml").read_text()


def test_an_address_that_cannot_be_reached_or_written_ends_in_a_sentence_before_training(tmp_path, data):
    with pytest.raises(UserError, match="of a kind that fsspec does not know"):
        pretrain(str(data), "sss://bucket/run", config(**SHORT))
    with pytest.raises(UserError, match="does not exist"):
        pretrain(str(data), "file:///proc/run", config(**SHORT))


def test_a_checkpoint_that_cannot_be_sent_ends_the_run_with_the_ones_before_it(tmp_path, data, monkeypatch):
    sent = []

    def fail(folder, address, *rest, **more):
        sent.append(address)
        if address.endswith("step-8"):
            raise UserError(f"{address} cannot be reached.")
        upload_folder(folder, address, *rest, **more)

    monkeypatch.setattr(mirror, "upload_folder", fail)
    run = f"file://{tmp_path}/run"
    with pytest.raises(UserError, match="step-8 cannot be reached"):
        pretrain(str(data), run, config(**SHORT))
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step-4"]


def test_an_older_checkpoint_is_fetched_and_what_is_newer_is_set_aside_at_the_address(
    tmp_path, data, store, machine, monkeypatch
):
    pretrain(str(data), str(tmp_path / "whole"), config(**SHORT))
    run = f"{store}/older"
    stopped_at_8(monkeypatch, data, run, checkpoint__keep=5)
    machine("second")
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train", lambda self: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(str(data), run, resume="step-4")
    there = {name.partition("/state.json")[0] for name in remote_files(run) if name.endswith("state.json")}
    assert there == {"checkpoints/step-4", "set-aside/step-8", "set-aside/step-9"}
    machine("third")
    pretrain(str(data), run, resume="auto")  # from step 4, not from what was left
    assert weights(cache_folder(run)) == weights(tmp_path / "whole")


def test_the_copy_of_a_run_is_kept_where_its_address_is_empty(tmp_path, data, capfd):
    run = f"file://{tmp_path}/disk/run"
    pretrain(str(data), run, config(**SHORT))
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError):
        pretrain(str(data), run, resume="auto")
    gone = cache_folder(run).with_name(f"{cache_folder(run).name}.gone")
    assert list_checkpoints(gone)[0].name == "step-12"
    assert f"a copy of the run that was there is kept in {gone}" in capfd.readouterr().err


def test_another_run_at_the_address_is_not_mixed_with_the_copy_of_the_one_before(tmp_path, data, machine, monkeypatch):
    run = f"file://{tmp_path}/run"
    pretrain(str(data), run, config(**SHORT))
    delete_folder(run)
    machine("second")
    stopped_at_8(monkeypatch, data, run, seed=2)
    machine("first")
    pretrain(str(data), run, resume="auto")
    pretrain(str(data), str(tmp_path / "alone"), config(**SHORT, seed=2))
    sent = tmp_path / "run/model/model.safetensors"
    assert digest(sent) == digest(tmp_path / "alone/model/model.safetensors")


def test_checkpoints_that_cannot_be_used_are_never_begun_over(tmp_path, data, machine, monkeypatch):
    run = f"file://{tmp_path}/run"
    stopped_at_8(monkeypatch, data, run)
    for state in (tmp_path / "run/checkpoints").glob("*/state.json"):
        state.write_text("{}", encoding="utf-8")
    before = {path: digest(path) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    machine("second")
    with pytest.raises(UserError, match="has checkpoints, of which none can be used"):
        pretrain(str(data), run, config(**SHORT), resume="if-begun")
    assert before == {path: digest(path) for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_a_damaged_copy_of_a_checkpoint_is_fetched_again(tmp_path, data, monkeypatch):
    run = f"file://{tmp_path}/run"
    stopped_at_8(monkeypatch, data, run)
    newest = list_checkpoints(cache_folder(run))[0]
    (newest / "model.safetensors").write_bytes(b"damaged")
    mirror.Mirror(run).fetch()
    assert (newest / "model.safetensors").stat().st_size > 1000
