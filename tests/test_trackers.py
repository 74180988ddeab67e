"""What shows a run while it trains: each tracker gets the record's figures, and none can stop a run."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from helpers import make_prepared
from sctd.cli import main
from sctd.pretrain import pretrain
from sctd.train.metrics import read_metrics
from small_runs import config


@pytest.fixture
def data(tmp_path):
    return make_prepared(tmp_path, sequences=200)


class Fake:
    """Stands in for wandb and trackio, which are alike in what is used of them."""

    def __init__(self, monkeypatch, name):
        self.begun, self.logged, self.finished = [], [], 0
        module = ModuleType(name)
        module.__spec__ = SimpleNamespace(name=name)
        module.init = self.init
        monkeypatch.setitem(sys.modules, name, module)

    def init(self, **settings):
        self.begun.append(settings)
        return self

    def log(self, figures, step):
        json.dumps(figures)
        self.logged.append((step, figures))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_the_figures_of_the_record_and_knows_a_resumed_run(tmp_path, data, monkeypatch, name):
    fake = Fake(monkeypatch, name)
    settings = {f"log__{name}": "mine", "schedule__steps": 20, "checkpoint__every": 10}
    pretrain(str(data), str(tmp_path / "run"), config(**settings))
    [begun] = fake.begun
    assert begun["project"] == "mine"
    assert begun["name"].endswith("/run")
    assert begun["config"]["dropping"]["keep_ratio"] == 0.5
    lines = read_metrics(tmp_path / "run")
    assert [step for step, _ in fake.logged] == [line["step"] for line in lines]
    step, figures = fake.logged[-1]
    assert (step, figures["eval/eval_loss"], figures["train/loss"]) == (20, lines[-1]["eval_loss"], lines[-1]["loss"])
    assert figures["drift/cka_layer_3"] == lines[-1]["drift"]["cka"][3]
    assert fake.finished == 1

    import shutil

    shutil.rmtree(tmp_path / "run/checkpoints/step-20")
    pretrain(str(data), str(tmp_path / "run"), resume="auto")
    assert [each["resume"] for each in fake.begun] == ["allow", "allow"]
    assert fake.begun[0]["name"] == fake.begun[1]["name"]
    assert fake.begun[0].get("id") == fake.begun[1].get("id")


@pytest.mark.parametrize("when", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_named_once_and_training_goes_on(tmp_path, data, monkeypatch, capfd, when):
    def fail(*args, **settings):
        raise OSError("no network")

    fake = Fake(monkeypatch, "wandb")
    setattr(fake if when != "init" else sys.modules["wandb"], when, fail)
    figures = pretrain(str(data), str(tmp_path / "run"), config(log__wandb="mine", schedule__steps=20))
    assert figures["eval_loss"] > 0
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("log.wandb failed (no network); training goes on without it.") == 1
    assert (tmp_path / "run/model/config.json").exists()


def test_one_that_is_not_installed_is_said_before_anything_is_written(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr("sctd.extras.find_spec", lambda name: None)
    words = ["pretrain", "--data", str(data), "--out", str(tmp_path / "run"), "--schedule.steps", "1"]
    assert main([*words, "--log.wandb", "mine"]) == 2
    assert "is not installed: pip install 'sctd[" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
