"""SIGTERM and Ctrl-C where a run is not in the middle of steps."""

import signal
import subprocess
import sys

import pytest

from helpers import make_prepared
from sctd.__main__ import stop_as_ctrl_c_does
from sctd.pretrain import pretrain
from sctd.train.pulse import read_heartbeat
from sctd.train.stopping import Interrupted
from small_runs import config, weights

SHORT = {"schedule__steps": 6, "checkpoint__every": 3, "eval__every": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_prepared(tmp_path_factory.mktemp("prepared")))


@pytest.fixture
def sigterm():
    before = signal.getsignal(signal.SIGTERM)
    stop_as_ctrl_c_does()
    yield lambda *given, **named: signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_one_that_is_stopped_before_its_first_step_begins_again(tmp_path, data, monkeypatch, sigterm):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("sctd.train.ngram.ngram_baselines", sigterm)
        with pytest.raises(
            Interrupted, match=r"Stopped before the first checkpoint\. The same command begins it again\."
        ):
            pretrain(data, str(run), config(**SHORT))
    assert read_heartbeat(run)["phase"] == "stopped"
    pretrain(data, str(run), config(**SHORT))
    assert read_heartbeat(run)["phase"] == "finished"


def test_one_that_is_stopped_while_it_is_exported_is_exported_later(tmp_path, data, monkeypatch, sigterm):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("sctd.hf.export.export", sigterm)
        with pytest.raises(Interrupted, match=r"newest checkpoint is step-6\. Go on with: sctd pretrain .* --resume$"):
            pretrain(data, str(run), config(**SHORT))
    assert read_heartbeat(run)["phase"] == "stopped"
    assert not (run / "model").exists()
    before = weights(run)
    pretrain(data, str(run), resume="auto")
    assert (run / "model/config.json").exists()
    assert weights(run) == before


def test_every_verb_ends_by_sigterm_as_by_ctrl_c():
    verb = "lambda words: (print('ready', flush=True), time.sleep(60))"
    script = f"import time; from sctd import __main__, cli; cli.run = {verb}; __main__.start()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")
