"""Training that continues from a model that has learned already."""

import shutil

import pytest

from helpers import make_prepared
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.train.checkpoint import list_checkpoints, load_tensors, newest_checkpoint
from sctd.train.metrics import read_metrics
from small_runs import config, continued, weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


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


def test_a_finished_run_can_be_continued_by_its_name(tmp_path, data):
    pretrain(str(data), str(tmp_path / "first"), config(schedule__steps=2))
    pretrain(str(data), str(tmp_path / "by-run"), continued(tmp_path / "first", schedule__steps=2))
    pretrain(str(data), str(tmp_path / "by-model"), continued(tmp_path / "first" / "model", schedule__steps=2))
    assert weights(tmp_path / "by-run") == weights(tmp_path / "by-model")


def test_continuing_with_another_tokenizers_data_is_refused(tmp_path, data):
    pretrain(str(data), str(tmp_path / "first"), config(schedule__steps=2))
    other = make_prepared(tmp_path / "other", vocab_size=150)
    with pytest.raises(UserError, match="another tokenizer"):
        pretrain(str(other), str(tmp_path / "run"), continued(tmp_path / "first" / "model"))
    assert not (tmp_path / "run").exists()


def test_a_continued_run_is_resumed_without_the_folder_it_began_from(tmp_path, data):
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
