"""What a run tells those who are not looking at it."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from helpers import make_prepared
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.train.pulse import HEARTBEAT, Pulse, read_heartbeat
from sctd.watch import look
from small_runs import config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def webhook(monkeypatch):
    """A server on this machine that SCTD_WEBHOOK points to; the messages that it got."""
    messages = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if "broken" in self.path else 204)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SCTD_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook-secret")
    yield messages
    server.shutdown()
    server.server_close()


def test_a_run_leaves_a_heartbeat_with_its_phase_and_step(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=4))
    beat = read_heartbeat(run)
    assert (beat["phase"], beat["step"]) == ("finished", 4)
    assert time.time() - beat["time"] < 60
    pretrain(str(data), str(tmp_path / "none"), config(schedule__steps=4, log__heartbeat=None))
    assert not (tmp_path / "none" / HEARTBEAT).exists()


def test_a_heartbeat_is_written_when_it_is_due_or_the_phase_is_another(tmp_path):
    pulse = Pulse(tmp_path, every=3600)
    pulse.beat(0, 10, "starting")
    assert read_heartbeat(tmp_path) is None  # nothing is written into a folder whose run is not begun
    (tmp_path / "config.yaml").touch()
    for step, phase in ((1, "training"), (2, "training"), (3, "saving"), (4, "saving")):
        pulse.beat(step, 10, phase)
    assert read_heartbeat(tmp_path)["step"] == 3


def test_watch_shows_what_the_heartbeat_says(tmp_path, data):
    run = tmp_path / "run"
    pretrain(str(data), str(run), config(schedule__steps=4))
    (run / "model" / "config.json").unlink()
    for phase, state in (("evaluating", "evaluating"), ("training", "running"), ("failed", "failed")):
        Pulse(run, every=1).beat(3, 4, phase)
        assert look(run).state == state
    assert look(run, now=time.time() + 10_000).state == "failed"
    Pulse(run, every=1).beat(3, 4, "saving")
    assert look(run, now=time.time() + 10_000).state == "silent"


def test_a_webhook_hears_of_the_beginning_warnings_and_the_end(tmp_path, data, webhook):
    changes = {"method": "drop", "schedule__steps": 4, "dropping__keep_ratio": 0.1}
    pretrain(str(data), str(tmp_path / "run"), config(**changes))
    assert [message["event"] for message in webhook] == ["begun", "warning", "finished"]
    assert webhook[1]["step"] == 4
    assert "[MASK] inputs are dropped" in webhook[1]["text"]
    assert webhook[2]["run"] == str(tmp_path / "run")


def test_a_webhook_hears_of_a_failure_and_nothing_that_is_written_holds_its_address(
    tmp_path, data, webhook, monkeypatch, capfd
):
    import sctd.train.step as step

    def broken(self, *given):
        raise UserError("A fuse blew.")

    monkeypatch.setattr(step.Stepper, "run", broken)
    run = tmp_path / "run"
    with pytest.raises(UserError, match="fuse"):
        pretrain(str(data), str(run), config())
    assert [message["event"] for message in webhook] == ["begun", "failed"]
    assert webhook[1]["text"].endswith("A fuse blew.")
    assert read_heartbeat(run)["phase"] == "failed"
    written = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert b"hook-secret" not in written
    assert "hook-secret" not in capfd.readouterr().err


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/hook-secret", "http://127.0.0.1:99999/", "http://[/"])
def test_a_webhook_that_does_not_answer_is_said_once_and_training_goes_on(tmp_path, data, monkeypatch, capfd, address):
    monkeypatch.setenv("SCTD_WEBHOOK", address)
    pretrain(str(data), str(tmp_path / "run"), config(schedule__steps=2))
    error = capfd.readouterr().err
    assert error.count("SCTD_WEBHOOK did not take a message") == 1
    assert "secret" not in error


def test_an_address_that_is_none_is_refused_before_training(tmp_path, data, monkeypatch):
    monkeypatch.setenv("SCTD_WEBHOOK", "file:///etc/passwd")
    with pytest.raises(UserError, match="no web address"):
        pretrain(str(data), str(tmp_path / "run"), config())
    assert not (tmp_path / "run").exists()
