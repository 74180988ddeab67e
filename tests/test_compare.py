"""A comparison from its arms to its page."""

import html
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from helpers import make_prepared
from sctd.bench.figures import mean_step
from sctd.compare.blocks import Code, Figure, Heading, Paragraph, Table, to_html, to_markdown
from sctd.compare.compare import compare
from sctd.compare.quality import share_of_time
from sctd.compare.step_times import shares_of
from sctd.errors import UserError
from sctd.train.checkpoint import list_checkpoints
from sctd.train.pulse import read_heartbeat
from small_runs import SMALL, config

ARMS = ["dense", "sctd@interval=5"]
STEPS = {"schedule.steps": 20, "eval.every": 10, "checkpoint.every": 5}
TOY = {f"{key.replace('.', '__')}": value for key, value in STEPS.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """(folder, results) of a comparison at equal steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("compared") / "whole"
    return out, compare(str(data), str(out), ARMS, config(**TOY), [1, 2], "steps")


def without_time(value):
    """A result without what a clock decides."""
    if isinstance(value, dict):
        return {name: without_time(each) for name, each in value.items() if name != "seconds"}
    return [without_time(each) for each in value] if isinstance(value, list) else value


def test_every_arm_and_seed_is_pretrained_and_the_differences_are_of_the_runs(whole):
    out, results = whole
    assert len(results["runs"]) == 4
    for folder, run in results["runs"].items():
        lines = [json.loads(line) for line in (out / folder / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["step"] == run["steps"] == 20
        assert run["scores"]["held-out loss"]["value"] == lines[-1]["eval_loss"]
        assert (out / folder / "model" / "config.json").exists()
    found = results["views"]["steps"]
    mine, theirs = (found["arms"][arm]["scores"]["held-out loss"]["by_seed"] for arm in (ARMS[1], ARMS[0]))
    difference = found["differences"][ARMS[1]]["held-out loss"]
    assert difference["mean"] == pytest.approx(sum(mine[s] - theirs[s] for s in ("1", "2")) / 2)
    assert (difference["seeds"], difference["test"], difference["smallest_p"]) == (2, "paired t", 0.5)
    assert found["arms"]["dense"]["drift"] is None
    assert set(found["arms"]["sctd@interval=5"]["drift"]) == {"cosine", "kl_cls", "cka"}
    assert json.loads((out / "results.json").read_text()) == results


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_comparison_that_is_killed_and_begun_again_ends_with_the_same_table(tmp_path, data, whole, jobs):
    out = tmp_path / "stopped"
    command = [sys.executable, "-m", "sctd", "compare", "--data", str(data), "--out", str(out), "--equal", "steps"]
    command += ["--arms", *ARMS, "--seeds", "1", "2", "--jobs", str(jobs)]
    for key, value in {**SMALL, **STEPS}.items():
        command += [f"--{key}", str(value).lower()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    second = out / "runs" / ARMS[1] / "steps-20" / "seed-1"
    deadline = time.time() + 120
    while not (second.is_dir() and list_checkpoints(second)) and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Go on with: sctd pretrain" not in said
    assert not (out / "results.json").exists()
    for run in out.glob("runs/*/*/*"):  # no step that was done is lost
        beat = read_heartbeat(run)
        if beat is not None and beat["step"] > 0:
            assert beat["phase"] in ("stopped", "finished")
            assert list_checkpoints(run)[0].name == f"step-{beat['step']}"
    assert (out / "logs").exists() == (jobs > 1)
    results = compare(str(data), str(out), ARMS, config(**TOY), [1, 2], "steps", jobs=jobs)
    assert without_time(results["views"]) == without_time(whole[1]["views"])


def test_of_runs_at_once_one_that_fails_is_named_and_the_others_save_themselves(tmp_path, data, whole):
    out = tmp_path / "failing"
    out.mkdir()
    shutil.copy(whole[0] / "plan.json", out)
    broken = out / "runs/dense/steps-20/seed-2"
    broken.mkdir(parents=True)
    (broken / "mine.txt").write_text("not a run", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"dense/steps-20/seed-2 ended with exit code 2; its reason stands in .*\.log\."
    ):
        compare(str(data), str(out), ARMS, config(**TOY), [1, 2], "steps", jobs=2)
    assert "give another --out" in (out / "logs/dense steps-20 seed-2.log").read_text(encoding="utf-8")
    shutil.rmtree(broken)
    results = compare(str(data), str(out), ARMS, config(**TOY), [1, 2], "steps", jobs=2)
    assert without_time(results["views"]) == without_time(whole[1]["views"])


def test_whatever_ends_a_comparison_no_run_stays_behind(tmp_path, data, whole, monkeypatch):
    from sctd.compare import pretraining
    from sctd.locks import locked

    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(whole[0] / "plan.json", out)
    command = pretraining._command

    def full(folder, run, data):
        if run.seed == 2:
            while not [*out.glob("runs/*/*/*/heartbeat.json")]:
                time.sleep(0.05)
            raise UserError("No space left.")
        return command(folder, run, data)

    monkeypatch.setattr(pretraining, "_command", full)
    with pytest.raises(UserError, match="No space left"):
        compare(str(data), str(out), ARMS, config(**TOY), [1, 2], "steps", jobs=4)
    logs = [log.read_text(encoding="utf-8") for log in (out / "logs").glob("*.log")]
    assert any("interrupted: Stopped" in log or "Written to" in log for log in logs)
    for run in out.glob("runs/*/*/*"):
        with locked(run / ".lock"):
            pass


def test_a_run_is_told_to_stop_once_as_a_second_signal_would_end_it_unsaved():
    from sctd.compare.pretraining import UnderWay

    class Process:
        told = 0

        def send_signal(self, number):
            self.told += 1

    process, under_way = Process(), UnderWay()
    under_way.runs[process] = (None, None)
    under_way.stop()
    under_way.stop()
    assert process.told == 1


def test_under_nohup_a_closed_terminal_ends_nothing():
    from sctd.compare.pretraining import UnderWay

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        under_way = UnderWay()
        with under_way.until_they_end():
            signal.raise_signal(signal.SIGHUP)
            assert not under_way.told
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with under_way.until_they_end():
            signal.raise_signal(signal.SIGHUP)
            assert under_way.told
            assert under_way.stopped
    finally:
        signal.signal(signal.SIGHUP, before)


def test_two_comparisons_at_one_place_do_not_meet(tmp_path, data, whole):
    from sctd.locks import locked

    with locked(tmp_path / "out/.lock"), pytest.raises(UserError, match="Another sctd compare works on"):
        compare(str(data), str(tmp_path / "out"), ARMS, config(**TOY), [1, 2], "steps")


def test_several_runs_are_scored_at_once_with_the_same_scores(tmp_path, data, whole):
    from test_docs import put_scores

    found = []
    put_scores(tmp_path)
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        shutil.copytree(whole[0], out)
        where = str(tmp_path / "my-scores")
        results = compare(str(data), str(out), ARMS, config(**TOY), [1, 2], "steps", None, ["blimp"], where, jobs=jobs)
        found.append({folder: run["scores"]["BLiMP"] for folder, run in results["runs"].items()})
    assert found[0] == found[1]


def test_at_equal_time_the_faster_arm_gets_more_steps(tmp_path, data, monkeypatch):
    monkeypatch.setattr(
        "sctd.compare.step_times.measure_step_times",
        lambda settings, *rest: ({name: {"dense": 0.4, "drop": 0.2}[name] for name, _ in settings}, {"drop": 0.17}),
    )
    results = compare(str(data), str(tmp_path / "out"), ["dense", "drop"], config(**TOY), [1], budgets=[0.5, 1.0])
    assert results["plan"]["steps"] == {
        "steps": {"dense": [20], "drop": [20]},
        "time": {"dense": [10, 20], "drop": [20, 40]},
    }
    assert len(results["runs"]) == 4  # dense's 20 steps, and drop's, are in both views
    assert results["views"]["time"]["differences"]["drop"]["held-out loss"]["words"] == (
        "one seed: nothing shown of another"
    )
    assert set(results["time_to_quality"]) == {"dense", "drop"}
    assert results["time_to_quality"]["dense"]["by_seed"]["1"] == pytest.approx(1.0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Time to quality" in page
    assert "400.0" in page  # ms a step
    assert "Step times beside dense's are known only so well: drop to 17%" in html.unescape(page)


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_for_the_time_to_quality_are_not_asked_for_other_scores(tmp_path, data, monkeypatch, jobs):
    from test_docs import put_scores

    monkeypatch.setattr("sctd.compare.step_times.measure_step_times", lambda *rest: ({"dense": 0.4, "drop": 0.4}, {}))
    put_scores(tmp_path)
    where = str(tmp_path / "my-scores")
    results = compare(
        str(data),
        str(tmp_path / "out"),
        ["dense", "drop"],
        config(**TOY),
        [1],
        "time",
        [0.5, 1.0],
        ["blimp"],
        where,
        jobs=jobs,
    )
    assert {(run["steps"], "BLiMP" in run["scores"]) for run in results["runs"].values()} == {(10, False), (20, True)}
    assert "BLiMP" in results["views"]["time"]["differences"]["drop"]


def test_the_arms_beside_the_first_are_shown_beside_one_another_and_not_tested(tmp_path, data):
    out = tmp_path / "out"
    results = compare(str(data), str(out), ["dense", "drop", "sctd"], config(**TOY), [1, 2], "steps")
    view = results["views"]["steps"]
    [[arm, other, found]] = view["pairs"]
    assert (arm, other) == ("sctd", "drop")
    mine, theirs = (view["arms"][name]["scores"]["held-out loss"]["by_seed"] for name in (arm, other))
    mean = sum(mine[seed] - theirs[seed] for seed in ("1", "2")) / 2
    assert found["held-out loss"]["mean"] == pytest.approx(mean)
    assert found["held-out loss"]["p"] is None
    assert results["comparisons"] == 2
    assert f"| sctd | drop | held-out loss | {mean:+.3f} |" in (out / "report.md").read_text()


def test_step_times_of_arms_are_of_their_own_kinds_of_step():
    sctd = {"method": "sctd", "consistency.interval": 10}
    assert shares_of(sctd) == {"drop": 0.9, "consistency": 0.1}
    assert shares_of(sctd | {"consistency.interval": 1}) == {"consistency": 1.0}
    assert shares_of(sctd | {"consistency.interval": None}) == shares_of(sctd | {"method": "drop"}) == {"drop": 1.0}
    half = sctd | {"dropping.full_start": 0.2, "dropping.full_tail": 0.3}
    assert shares_of(half) == pytest.approx({"dense": 0.5, "drop": 0.45, "consistency": 0.05})
    assert mean_step({"drop": [1.0, 2.0], "consistency": [3.0, 4.0]}, shares_of(sctd)) == pytest.approx([1.2, 2.2])
    assert mean_step({"drop": [1.0]}, {"drop": 1.0}) == [1.0]


def test_a_busy_moment_moves_no_arm_against_another():
    from sctd.compare.step_times import paired

    first, other = [1.0, 1.0, 3.0, 3.0, 3.0], [0.5, 0.5, 1.5, 1.5, 1.5]
    assert paired(first, other) == pytest.approx(1.5)
    # a load that ends between two arms of the middle round leaves the ratio's median where it was
    assert paired([1.0, 1.0, 3.0, 3.0, 3.0], [0.5, 0.5, 0.5, 1.5, 1.5]) == pytest.approx(1.5)


def test_how_well_a_ratio_is_known_comes_from_its_rounds():
    from sctd.compare.step_times import uncertain

    even = [1.0] * 15
    assert uncertain(even, [0.5] * 15) == 0
    # of 15 sorted ratios the 4th and the 12th: 1.03 and 1.11, around 1.07
    assert uncertain(even, [1 + number / 100 for number in range(15)]) == pytest.approx((1.11 - 1.03) / 2 / 1.07)
    assert uncertain([1.0, 1.0], [1.0, 2.0]) > 0.3


def test_models_that_have_learned_nothing_are_said_to_say_nothing(whole):
    assert "say nothing of the methods" in (whole[0] / "report.html").read_text()  # 20 steps


def test_step_times_are_measured_with_all_arms_taking_turns(tmp_path, data):
    from sctd.compare.arms import parse_arm
    from sctd.compare.plan import arm_settings
    from sctd.compare.step_times import measure_step_times

    arms = [(name, arm_settings(config(**TOY), parse_arm(name))) for name in ("dense", "sctd@interval=2")]
    heard = []
    seconds, doubts = measure_step_times(arms, data, 2, heard.append, on_gpu=False)
    assert list(seconds) == ["dense", "sctd@interval=2"]
    assert list(doubts) == ["sctd@interval=2"]
    assert all(value > 0 for value in seconds.values())
    assert heard[:2] == ["warming up dense", "warming up sctd@interval=2"]
    assert heard[2:6] == ["round 1/2", "round 1/2", "round 2/2", "round 2/2"]


def test_an_arm_of_its_own_length_is_said_to_be_equal_in_nothing():
    from sctd.compare.arms import parse_arms
    from sctd.compare.plan import count_steps

    arms = parse_arms(["dense@steps=2000", "drop", "sctd@steps=500"])
    steps = count_steps(arms, 3000, [0.5, 1.0], ["steps", "time"], {arm.name: 1 + (arm is arms[0]) for arm in arms})
    assert steps["steps"] == {"dense@steps=2000": [2000], "drop": [2000], "sctd@steps=500": [500]}
    assert steps["time"] == {"dense@steps=2000": [1000, 2000], "drop": [2000, 4000], "sctd@steps=500": [500]}


def found(losses, seconds=1.0):
    """What a run scored, by hand."""
    about = {"seconds": seconds, "tokens": 1, "curve": [], "eval_loss_mask": losses, "unigram": 5.0}
    return {"scores": {"held-out loss": {"value": losses}}, "about": about}


def test_time_to_quality_has_a_mean_only_where_every_seed_reaches_the_loss():
    from sctd.compare.plan import Plan, Run
    from sctd.compare.results import collect

    steps = {"time": {"dense": [1, 2], "drop": [2, 4]}}
    arms, seeds = ["dense", "drop"], [1, 2, 3]
    plan = Plan(arms, arms, seeds, seeds, [0.5, 1.0], {"dense": 1.0, "drop": 0.5}, {}, steps, "fp32", [])
    losses = {("dense", 1): 4.0, ("dense", 2): 3.0, ("drop", 2): 3.5, ("drop", 4): 2.5}
    runs = [Run(arm, f"{arm} {n} {seed}", n, seed, {}) for (arm, n) in losses for seed in (1, 2, 3)]
    scored = {run.folder: found(losses[run.arm, run.steps]) for run in runs}
    shares = collect(plan, runs, scored)["time_to_quality"]
    # half of the way from 1 s to 2 s in logarithms, of dense's 2 s
    assert shares["drop"]["by_seed"] == dict.fromkeys("123", pytest.approx(2**0.5 / 2))
    assert shares["drop"]["low"] <= shares["drop"]["mean"] <= shares["drop"]["high"]
    scored["drop 4 2"] = found(3.2)
    scored["drop 2 3"] = found(2.9)
    shares = collect(plan, runs, scored)["time_to_quality"]
    assert shares["drop"]["by_seed"] == {"1": pytest.approx(2**0.5 / 2), "2": "not reached", "3": "sooner"}
    assert shares["drop"]["mean"] is None


def test_time_to_quality_by_hand():
    # the loss falls by 1 for each doubling of the time: 0.5 of a doubling before 4 s
    assert share_of_time(2.5, 8.0, [2.0, 4.0, 8.0], [4.0, 3.0, 2.0]) == pytest.approx(4 * 2**0.5 / 8)
    assert share_of_time(5.0, 8.0, [2.0, 4.0], [4.0, 3.0]) == "sooner"
    assert share_of_time(3.2, 4.0, [1.0, 2.0, 4.0], [3.0, 3.5, 3.0]) == "sooner"  # and then not for a while
    assert share_of_time(3.0, 1.0, [1.0, 2.0], [3.0, 3.1]) == 1.0  # a longer run may be worse
    assert share_of_time(3.0, 4.0, [4.0], [3.0]) == 1.0
    assert share_of_time(3.0, 4.0, [], []) == "not reached"
    assert share_of_time(1.0, 8.0, [2.0, 4.0], [4.0, 3.0]) == "not reached"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ["dense", "dense@method=dense"]}, "are the same settings"),
        ({"arms": ["drop", "drop@keep_ratio=0.5"]}, "are the same settings"),
        ({"arms": ["dense", "drop@minutes=5"]}, "sets minutes: .* @steps=N"),
        ({"seeds": [1, 1]}, "--seeds names a seed twice"),
        ({"budgets": [0.5]}, "--budgets must hold 1"),
        ({"budgets": [0.5, 1.0], "equal": "steps"}, "needs --equal time or both"),
        ({"scores": ["blimp"]}, "--scores blimp needs --scores-data"),
        ({"scores": ["glue"]}, "--scores: there is no 'glue'"),
        ({"scores": ["task:colla"], "scores_data": "HERE"}, "colla"),
        ({"scores": ["probe:pst"], "scores_data": "HERE"}, "pst"),
        ({"arms": ["dense"]}, "two arms or more"),
        ({"arms": ["dense,drop"]}, "separate arms by spaces"),
        ({"arms": ["dense", "drop@num_layers=5"]}, '"drop@num_layers=5": .*even number of layers'),
        ({"arms": ["dense", "drop@lr=0.1@optimizer.lr=1"]}, "sets optimizer.lr twice"),
        ({"arms": ["dense", "drop@optimizer.name=nope"]}, "optimizer.name: there is no 'nope'; choose one of adamw"),
        ({"arms": ["dense", "drop@keep_rule=nope"]}, "dropping.keep_rule: there is no 'nope'"),
        ({"arms": ["dense", "sctd@distance=nope"]}, "consistency.distance: there is no 'nope'"),
        ({"arms": ["dense", "drop@log.heartbeat=null"]}, "log.heartbeat is null, by which compare knows"),
        ({"budgets": [1.0, float("inf")]}, "--budgets must be above 0, at most 100"),
        ({"rounds": 5}, "--rounds is 5"),
        ({"config": config(**TOY, seed=5)}, "seed is 5, which compare does not use"),
        ({"scores_data": "HERE"}, "--scores-data is given and nothing is scored"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(tmp_path, data, changes, said):
    from test_docs import put_scores

    if "scores_data" in changes:
        put_scores(tmp_path)
        changes = changes | {"scores_data": str(tmp_path / "my-scores")}
    given = {"arms": ["dense", "drop"], "out": str(tmp_path / "out"), "config": config(**TOY), **changes}
    with pytest.raises(UserError, match=said):
        compare(str(data), **given)
    assert not (tmp_path / "out").exists()


def test_the_average_of_the_tasks_is_of_those_that_were_planned():
    from sctd.compare.scoring import averaged

    assert averaged(["task:cola", "task:rte", "blimp"], ["task:cola", "task:rte", "task:sst2"]) == ["CoLA", "RTE"]
    assert averaged(["blimp"], ["task:cola", "task:rte"]) == ["CoLA", "RTE"]
    assert len(averaged(["task:glue", "task:cola"], ["task:glue"])) == len(averaged(["task:glue"], ["task:boolq"])) > 5


@pytest.mark.parametrize(
    ("asked", "average"),
    [(["cola", "rte", "boolq"], 0.3), (["cola"], None), (["cola", "boolq"], None)],
)
def test_there_is_an_average_of_the_tasks_where_all_that_were_planned_are_scored(tmp_path, monkeypatch, asked, average):
    from sctd.compare import scoring
    from sctd.compare.plan import Run

    scored = {"cola": ("CoLA", 0.2), "rte": ("RTE", 0.4), "boolq": ("BoolQ", 0.9)}

    def task(run, data, out, name, precision):
        title, value = scored[name]
        return {title: {"value": value}}

    monkeypatch.setitem(scoring.KINDS, "task", task)
    run = Run("dense", "runs/dense/steps-20/seed-1", 20, 1, {"precision": "fp32"})
    names = [f"task:{name}" for name in asked]
    tasks = scoring.averaged(["task:cola", "task:rte"], names)
    found = scoring.score_run(tmp_path, run, names, tmp_path, tasks).get(scoring.TASKS)
    assert (None if found is None else pytest.approx(found["value"])) == average


def test_a_run_that_was_exported_from_its_middle_is_not_finished(data, tmp_path, whole):
    from sctd.compare.plan import Run
    from sctd.compare.pretraining import _finished

    path = whole[0] / "runs/dense/steps-20/seed-1"
    run = Run("dense", str(path), 20, 1, {})
    assert _finished(path, run)
    shutil.copytree(path, tmp_path / "run")
    beat = json.loads((tmp_path / "run/heartbeat.json").read_text())
    (tmp_path / "run/heartbeat.json").write_text(json.dumps(beat | {"phase": "stopped", "step": 10}))
    assert (tmp_path / "run/model/config.json").exists()
    assert not _finished(tmp_path / "run", run)


def test_a_report_is_made_anew_without_the_weights(data, tmp_path, whole):
    shutil.copytree(whole[0], tmp_path / "out")
    for weights in [*(tmp_path / "out/runs").rglob("model"), *(tmp_path / "out/runs").rglob("checkpoints")]:
        shutil.rmtree(weights)
    results = compare(str(data), str(tmp_path / "out"), ARMS, config(**TOY), [2, 1], "steps")
    assert without_time(results["views"]) == without_time(whole[1]["views"])


def test_arms_of_different_depth_have_one_table_of_drift():
    from sctd.compare.blocks import Table
    from sctd.compare.sections import drift

    def arm(layers):
        return {"steps": 1, "drift": {name: [0.5] * layers for name in ("cosine", "kl_cls", "cka")}}

    lines = [{"step": 1, "cosine": 1.0, "kl_cls": 0.0, "cka": 1.0}]
    runs = {name: {"arm": name, "steps": 1, "about": {"drift_curve": lines}} for name in ("drop", "deep")}
    blocks = drift(
        {"views": {"steps": {}}, "runs": runs}, {"drop": arm(2), "deep": arm(4)}, {"drop": "#111111", "deep": "#222222"}
    )
    [table] = [block for block in blocks if isinstance(block, Table)]
    assert {len(row) for row in table.rows} == {len(table.head)} == {6}


def test_a_score_that_is_asked_for_after_the_runs_is_not_tested(data, tmp_path, whole):
    from test_docs import put_scores

    put_scores(tmp_path)
    shutil.copytree(whole[0], tmp_path / "out")
    given = (str(data), str(tmp_path / "out"), ARMS, config(**TOY), [1, 2], "steps")
    results = compare(*given, scores=["blimp"], scores_data=str(tmp_path / "my-scores"))
    assert results["tested"] == ["held-out loss"]
    difference = results["views"]["steps"]["differences"][ARMS[1]]["BLiMP"]
    assert (difference["words"], difference["test"], difference["p"]) == ("not tested", "none", None)
    assert results["comparisons"] == 1


def test_a_planned_score_that_is_left_out_is_corrected_for_all_the_same(data, tmp_path, whole):
    shutil.copytree(whole[0], tmp_path / "out")
    path = tmp_path / "out/plan.json"
    plan = json.loads(path.read_text())
    plan["plan"]["scores"] = ["blimp", "probe"]
    path.write_text(json.dumps(plan))
    results = compare(str(data), str(tmp_path / "out"), ARMS, config(**TOY), [1, 2], "steps")
    assert results["tested"] == ["held-out loss"]
    assert results["not_scored"] == ["BLiMP", "probes (mean)", "probes ([CLS])"]
    assert results["comparisons"] == 4
    before, after = (each["views"]["steps"]["differences"][ARMS[1]]["held-out loss"] for each in (whole[1], results))
    assert after["corrected_p"] == pytest.approx(min(1, 4 * before["p"]))
    assert "planned, not scored, and corrected for all the same" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize("name", ["plan.json", "metrics.jsonl", "baselines.json", "drift.json"])
def test_a_damaged_file_is_named(data, tmp_path, whole, name):
    import shutil

    shutil.copytree(whole[0], tmp_path / "out")
    for path in (tmp_path / "out").rglob(name):
        path.write_text('{"words": 1}')
    with pytest.raises(UserError, match=f"{name} is damaged"):
        compare(str(data), str(tmp_path / "out"), ARMS, config(**TOY), [1, 2], "steps")


def test_another_comparison_in_the_same_folder_is_refused(data, whole):
    with pytest.raises(UserError, match="other seeds: give another --out, or all of its seeds and more"):
        compare(str(data), str(whole[0]), ARMS, config(**TOY), [1, 3], "steps")
    longer = config(**{**TOY, "schedule__steps": 30})
    with pytest.raises(UserError, match=r"other settings \(schedule.steps: 20 there, 30 now\)"):
        compare(str(data), str(whole[0]), ARMS, longer, [1, 2], "steps")


@pytest.mark.slow
def test_arms_can_be_added_and_are_shown_not_tested(data, tmp_path, whole):
    shutil.copytree(whole[0], tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out/runs").rglob("state.json")}
    results = compare(str(data), str(tmp_path / "out"), [ARMS[0], "drop", ARMS[1]], config(**TOY), [1, 2], "steps")
    assert results["plan"]["arms"] == [*ARMS, "drop"]
    assert results["plan"]["first_arms"] == ARMS
    assert results["comparisons"] == 1
    found = results["views"]["steps"]["differences"]
    assert found["drop"]["held-out loss"]["words"] == "not tested"
    assert found[ARMS[1]] == whole[1]["views"]["steps"]["differences"][ARMS[1]]
    assert before == {path: path.read_bytes() for path in before}
    page = (tmp_path / "out/report.md").read_text()
    assert "Arms drop were added later." in page
    assert "drop: added when the figures of the others could be known, and not tested." in page
    again = compare(str(data), str(tmp_path / "out"), [*ARMS, "drop"], config(**TOY), [1, 2], "steps")
    assert without_time(again["views"]) == without_time(results["views"])
    with pytest.raises(UserError, match="other arms: give another --out, or all of its arms and more"):
        compare(str(data), str(tmp_path / "out"), [ARMS[1], ARMS[0], "drop"], config(**TOY), [1, 2], "steps")


def test_the_steps_of_an_arm_that_is_added_come_from_its_time_beside_the_first(data, tmp_path, monkeypatch):
    from sctd.compare import pretraining, step_times

    def step_seconds(settings, data, rounds, advance, on_gpu):
        return dict(zip([arm for arm, _ in settings], clock.pop(0), strict=True)), {
            arm: 0.01 for arm, _ in settings[1:]
        }

    class EnoughError(Exception):
        pass

    def enough(*rest):
        raise EnoughError

    monkeypatch.setattr(step_times, "measure_step_times", step_seconds)
    monkeypatch.setattr(pretraining, "pretrain_all", enough)
    clock = [[1.0, 0.5], [3.0, 1.0]]
    for arms in (["dense", "drop"], ["dense", "drop", "random"]):
        with pytest.raises(EnoughError):
            compare(str(data), str(tmp_path / "out"), arms, config(**TOY), [1], "time")
    plan = json.loads((tmp_path / "out/plan.json").read_text())["plan"]
    assert plan["steps"]["time"] == {"dense": [20], "drop": [40], "random": [60]}
    assert plan["seconds"] == pytest.approx({"dense": 1.0, "drop": 0.5, "random": 1 / 3})


def test_other_weights_to_begin_at_are_another_comparison(data, tmp_path, whole, monkeypatch):
    from sctd.compare import pretraining
    from small_runs import continued

    def nothing(*rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "pretrain_all", nothing)
    shutil.copytree(whole[0] / "runs/dense/steps-20/seed-1/model", tmp_path / "begun")
    given = (str(data), str(tmp_path / "out"), ["dense", "drop"])
    with pytest.raises(KeyboardInterrupt):
        compare(*given, continued(tmp_path / "begun", **TOY), [1], "steps")
    shutil.rmtree(tmp_path / "begun")
    shutil.copytree(whole[0] / "runs/dense/steps-20/seed-2/model", tmp_path / "begun")
    with pytest.raises(UserError, match=r"other weights to begin at \(init_from\)"):
        compare(*given, continued(tmp_path / "begun", **TOY), [1, 2], "steps")


@pytest.mark.slow
def test_seeds_can_be_added_and_the_page_says_that_they_were(data, tmp_path, whole):
    import shutil

    shutil.copytree(whole[0], tmp_path / "out")
    assert "were added" not in (tmp_path / "out/report.md").read_text()
    results = compare(str(data), str(tmp_path / "out"), ARMS, config(**TOY), [1, 2, 3, 4], "steps")
    assert len(results["runs"]) == 8
    assert results["views"]["steps"]["differences"][ARMS[1]]["held-out loss"]["seeds"] == 4
    before = {name: run for name, run in results["runs"].items() if run["seed"] < 3}
    assert before == whole[1]["runs"]
    assert (
        "Seeds 3, 4 were added when the figures of the others could be known"
        in (tmp_path / "out/report.md").read_text()
    )


class Cells(HTMLParser):
    """The text of every table cell."""

    def __init__(self):
        super().__init__()
        self.cells, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th"):
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_the_numbers_of_the_page_are_those_of_the_results(whole):
    out, results = whole
    cells = Cells()
    cells.feed((out / "report.html").read_text())
    for arm, each in results["views"]["steps"]["arms"].items():
        place = cells.cells.index(arm)
        assert cells.cells[place + 1] == f"{each['steps']:,}"
        assert cells.cells[place + 5] == f"{each['scores']['held-out loss']['mean']:.3f}"
        assert f"| {each['scores']['held-out loss']['mean']:.3f} |" in (out / "report.md").read_text()


def test_the_page_needs_no_network_and_runs_no_script(whole):
    page = (whole[0] / "report.html").read_text()
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    for name in re.findall(r"\]\((.*\.svg)\)", (whole[0] / "report.md").read_text()):
        assert (whole[0] / name).exists()


HOSTILE = '<script>alert(1)</script> | $x_1$ "quoted" `code` [a](b)'


def test_an_arm_has_one_colour_in_all_drawings():
    from sctd.compare import figures

    colours = figures.colours_of(["dense", "drop", "sctd"])
    assert len(set(colours.values())) == 3
    kl = {"kl_cls": [0.0, 0.1], "cosine": [1.0, 0.9], "cka": [1.0, 0.9]}
    drawn = figures.drift({"drop": kl, "sctd": kl}, colours).svg
    assert colours["drop"] in drawn
    assert colours["dense"] not in drawn
    reached = {"by_seed": {"1": 0.5}, "mean": 0.5, "low": 0.5, "high": 0.5}
    never = {"by_seed": {"1": "not reached"}, "mean": None, "low": None, "high": None}
    drawn = figures.time_to_quality({"drop": never, "sctd": reached}, colours).svg
    assert "not reached" in drawn
    assert colours["sctd"] in drawn
    assert colours["drop"] not in drawn


def test_what_can_be_shown_at_all_is_said(whole):
    page = (whole[0] / "report.md").read_text()
    assert "With 2 seeds a difference is shown from about 9.0 times its standard deviation" in page
    assert "What the words mean" in page
    assert "word frequencies alone, at" in page


def test_a_report_says_when_its_runs_began(whole):
    began = [json.loads(path.read_text())["started"] for path in whole[0].rglob("environment.json")]
    assert whole[1]["environment"]["started"] == min(began) <= whole[1]["environment"]["ended"]


def test_hostile_text_shows_as_text():
    figure = Figure("f", "<?xml?><svg></svg>", HOSTILE, [["a", HOSTILE]])
    blocks = [Heading(HOSTILE), Paragraph(HOSTILE), Code(HOSTILE), Table([HOSTILE], [[HOSTILE]]), figure]
    page = to_html(HOSTILE, blocks)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 9
    text = to_markdown(HOSTILE, [blocks[0], blocks[1], blocks[3]])
    assert "<script" not in text.replace("\\<script", "")
    assert "\\|" in text
    assert "\\[a\\](b)" in text
