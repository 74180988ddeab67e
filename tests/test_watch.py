"""A look at runs from their own records."""

import json
from datetime import UTC, datetime

import pytest

from helpers import make_prepared
from sctd.errors import UserError
from sctd.pretrain import pretrain
from sctd.watch import find, look, table, watch
from small_runs import config


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run, `one`, below it."""
    place = tmp_path_factory.mktemp("runs")
    data = make_prepared(place)
    pretrain(str(data), str(place / "some" / "one"), config(method="drop", schedule__steps=20))
    return place


def copy(place, tmp_path, lines):
    """A run with the first lines of the finished one's record."""
    run, source = tmp_path / "run", place / "some" / "one"
    run.mkdir()
    for name in ("config.yaml", "environment.json"):
        (run / name).write_text((source / name).read_text())
    record = (source / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(record[:lines]))
    return run


def test_a_finished_run_shows_its_last_figures(place, capsys):
    found = look(place / "some" / "one")
    last = [json.loads(line) for line in (place / "some/one/metrics.jsonl").read_text().splitlines()][-1]
    assert (found.method, found.step, found.steps, found.state) == ("drop", 20, 20, "finished")
    assert (found.eval_loss, found.eval_loss_dropped) == (last["eval_loss"], last["eval_loss_dropped"])
    watch([str(place)], once=True)
    shown = capsys.readouterr().out
    assert "20 of 20" in shown
    assert f"{last['eval_loss']:.3f}" in shown
    assert "finished" in shown


def test_a_run_under_way_says_how_long_it_will_take(place, tmp_path):
    run = copy(place, tmp_path, 3)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = look(run)
    rate = (lines[-1]["step"] - lines[0]["step"]) / (lines[-1]["seconds"] - lines[0]["seconds"])
    assert found.state == "running"
    assert found.seconds_left == pytest.approx((20 - lines[-1]["step"]) / rate)


def test_a_run_that_writes_no_more_is_silent(place, tmp_path):
    run = copy(place, tmp_path, 3)
    written = (run / "metrics.jsonl").stat().st_mtime
    assert look(run, now=written + 60).state == "running"
    assert look(run, now=written + 600).state == "silent"
    assert look(run, now=written + 600).seconds_left is None


def test_a_stopped_run_shows_the_step_at_which_it_stopped(place, tmp_path):
    run = copy(place, tmp_path, 3)
    beat = json.loads((place / "some/one/heartbeat.json").read_text()) | {"phase": "stopped", "step": 17}
    beat["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    (run / "heartbeat.json").write_text(json.dumps(beat))
    assert (look(run).state, look(run).step) == ("stopped", 17)


def test_a_run_that_has_written_nothing_yet_is_not_begun(place, tmp_path):
    run = copy(place, tmp_path, 0)
    assert (look(run).state, look(run).step, look(run).steps) == ("not begun", 0, 20)
    (run / "metrics.jsonl").unlink()
    assert look(run).state == "not begun"


def test_a_name_is_no_markup(place, tmp_path):
    from rich.console import Console

    named = tmp_path / "[red]x[/red]"
    named.mkdir(parents=True)
    run = copy(place, named, 2)
    console = Console(width=200, record=True)
    console.print(table([look(run)]))
    assert "[red]x[/red]" in console.export_text()


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        find([str(tmp_path)])
    with pytest.raises(UserError, match="is not a folder"):
        find([str(tmp_path / "none")])
    with pytest.raises(UserError, match="--every is 0"):
        watch([str(tmp_path)], every=0)


def test_lines_of_another_form_are_left_out(place, tmp_path):
    run = copy(place, tmp_path, 3)
    whole = look(run)
    with (run / "metrics.jsonl").open("ab") as file:
        for line in (
            b"\xff\xfe",
            b"[" * 9000,
            b'{"step": 1e999}',
            b'{"step": 99, "loss": {"a": 1}}',
            b'{"step": true}',
        ):
            file.write(line + b"\n")
    assert look(run, now=0.0).step == whole.step
