"""The verb `evaluate`: runs that are kept, shared, gone on with, and shown beside what less than a model reaches."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny_encoder, words
from sctd.cli import main
from sctd.errors import UserError
from sctd.markdown import escaped
from sctd.scores import jobs
from sctd.scores.evaluate import evaluate
from sctd.scores.finetuning import default_lr, subset
from sctd.scores.tasks.load import load_split
from sctd.scores.tasks.table import TASKS
from sctd.scores.tasks.task import TextExample, checksum_of

ALL_KINDS = ["sst2", "stsb", "copa", "wic", "squad_v2"]


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Small tasks of every kind; of sst2 the first word tells the label."""
    folder = tmp_path_factory.mktemp("tasks")
    word = words(60)

    def write(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    for split, rows in (("train", 64), ("dev", 16)):
        pairs = [(f"{word[i % 2]} {word[i % 7 + 2]} {word[i % 5 + 9]}", i % 2) for i in range(rows)]
        write(f"sst2/{split}.tsv", "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in pairs))
        scores = [(word[i % 9], word[(i * i) % 9], 5.0 * (i % 9 == (i * i) % 9)) for i in range(rows)]
        write(f"stsb/{split}.tsv", "sentence1\tsentence2\tscore\n" + "".join(f"{a}\t{b}\t{s}\n" for a, b, s in scores))
        choices = [(word[i % 9], word[i % 9], word[i % 9 + 9], i % 2) for i in range(rows // 4)]
        write(
            f"copa/{split}.jsonl",
            lines(
                *(
                    {"premise": p, "choice1": c[0], "choice2": c[1], "question": "cause", "label": label}
                    for p, right, wrong, label in choices
                    for c in [(right, wrong) if label == 0 else (wrong, right)]
                )
            ),
        )
        row = {"word": word[0], "sentence1": word[0], "sentence2": word[0], "start1": 0, "start2": 0}
        end = len(word[0])
        write(
            f"wic/{split}.jsonl",
            lines(*(row | {"end1": end, "end2": end, "label": i % 2 == 0} for i in range(rows // 4))),
        )
        context = " ".join(word[:40])
        questions = [
            {
                "id": f"{split}{i}",
                "question": word[i],
                "answers": [] if i % 2 else [{"text": word[i], "answer_start": context.index(word[i])}],
                "is_impossible": bool(i % 2),
            }
            for i in range(rows // 4)
        ]
        write(
            f"squad_v2/{split}.json", json.dumps({"data": [{"paragraphs": [{"context": context, "qas": questions}]}]})
        )
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder(tmp_path_factory.mktemp("model"), max_length=24).folder)


SHORT: dict[str, Any] = {"device": "cpu", "precision": "fp32", "epochs": 1}


@pytest.fixture(scope="module")
def finished(model: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "out"
    evaluate(model, ALL_KINDS, str(out), data, seeds=2, **SHORT)
    return out


def test_every_kind_of_task_is_scored_beside_its_baselines(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert list(results["tasks"]) == ALL_KINDS
    for name, task in results["tasks"].items():
        assert set(task["arms"]) == {"majority", "bag-of-words", "random-init", "model"}
        runs = task["arms"]["model"]["dev"]["runs"]
        assert [run["seed"] for run in runs] == [1, 2]
        assert set(runs[0]["scores"]) == set(TASKS[name].metrics)
        main_metric = task["metrics"][0]
        figures = sorted(run["scores"][main_metric] for run in runs)
        assert task["arms"]["model"]["dev"]["median"][main_metric] == pytest.approx(sum(figures) / 2)
        assert [task["arms"]["model"]["dev"][name][main_metric] for name in ("min", "max")] == figures
    assert results["tasks"]["sst2"]["arms"]["majority"]["dev"]["median"]["accuracy"] == 0.5
    assert results["tasks"]["sst2"]["arms"]["bag-of-words"]["dev"]["median"]["accuracy"] == 1.0
    mains = [task["arms"]["model"]["dev"]["median"][task["metrics"][0]] for task in results["tasks"].values()]
    assert results["averages"]["model"] == pytest.approx(sum(mains) / len(mains))


def test_two_seeds_are_two_runs(finished: Path) -> None:
    runs = [json.loads((finished / f"runs/stsb/model-{seed}.json").read_text())["splits"] for seed in (1, 2)]
    assert runs[0]["dev"]["predictions"] != runs[1]["dev"]["predictions"]


def test_tasks_of_an_earlier_command_stay_in_the_results(model: str, data: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"seeds": 1, "baselines": False, **SHORT}
    first = evaluate(model, ["stsb"], str(tmp_path / "out"), data, **given)
    both = evaluate(model, ["sst2"], str(tmp_path / "out"), data, **given)
    assert list(both["tasks"]) == ["sst2", "stsb"]
    assert both["tasks"]["stsb"] == first["tasks"]["stsb"]
    assert set(both["averages"]) == {"model"}


def test_a_result_that_was_made_otherwise_is_made_again(model: str, data: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"seeds": 1, "baselines": False, **SHORT}
    evaluate(model, ["sst2"], str(tmp_path / "out"), data, **given)
    path = tmp_path / "out/runs/sst2/model-1.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"fine_tuning": found["fine_tuning"] | {"epochs": 7}}))
    evaluate(model, ["sst2"], str(tmp_path / "out"), data, **given)
    assert json.loads(path.read_text())["fine_tuning"]["epochs"] == 1


def test_what_else_lies_in_the_runs_folder_is_passed_over(model: str, data: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"seeds": 1, "baselines": False, **SHORT}
    evaluate(model, ["sst2"], str(tmp_path / "out"), data, **given)
    (tmp_path / "out/runs/sst2/model-1-old.json").write_text("{}")
    again = evaluate(model, ["sst2"], str(tmp_path / "out"), data, **given)
    assert len(again["tasks"]["sst2"]["arms"]["model"]["dev"]["runs"]) == 1


@pytest.mark.parametrize("task", ["sst2", "stsb", "squad_v2"])
def test_damaged_weights_are_no_score(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "model", max_length=24).folder
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    command = ["evaluate", str(folder), "--tasks", task, "--data", data, "--out", str(tmp_path / "out"), "--seeds", "1"]
    assert main([*command, "--epochs", "1", "--device", "cpu", "--precision", "fp32", "--baselines", "false"]) == 2
    assert "its weights are damaged, or its fine-tuning ran away" in " ".join(capsys.readouterr().err.split())


def test_the_same_seed_gives_the_same_predictions(model: str, data: str, finished: Path, tmp_path: Path) -> None:
    evaluate(model, ["sst2", "wic"], str(tmp_path / "again"), data, seeds=1, baselines=False, **SHORT)
    for task in ("sst2", "wic"):
        first, again = (
            json.loads((folder / "runs" / task / "model-1.json").read_text())["splits"]
            for folder in (finished, tmp_path / "again")
        )
        assert first == again


def test_finished_runs_are_not_made_again(
    model: str, data: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("a finished run was begun again")

    monkeypatch.setattr(jobs, "run_job", never)
    before = json.loads((finished / "results.json").read_text())["tasks"]
    assert evaluate(model, ALL_KINDS, str(finished), data, seeds=2, **SHORT)["tasks"] == before


def test_results_on_other_examples_are_made_again(model: str, tmp_path: Path) -> None:
    for name, labels in (("one", (0, 1)), ("other", (1, 0))):
        for split in ("train", "dev"):
            path = tmp_path / name / "sst2" / f"{split}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("sentence\tlabel\n" + "".join(f"{words(9)[i]}\t{labels[i % 2]}\n" for i in range(9)))
    arguments: dict[str, Any] = {"seeds": 1, **SHORT}
    one = evaluate(model, ["sst2"], str(tmp_path / "out"), str(tmp_path / "one"), **arguments)
    other = evaluate(model, ["sst2"], str(tmp_path / "out"), str(tmp_path / "other"), **arguments)
    fresh = evaluate(model, ["sst2"], str(tmp_path / "fresh"), str(tmp_path / "other"), **arguments)
    scores = [
        {arm: found["dev"]["median"] for arm, found in results["tasks"]["sst2"]["arms"].items()}
        for results in (one, other, fresh)
    ]
    assert scores[1] == scores[2]


def test_a_stop_in_the_middle_keeps_what_is_finished(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job, done = jobs.run_job, []

    def stopped(job: Any, *rest: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job)
        return run_job(job, *rest)

    monkeypatch.setattr(jobs, "run_job", stopped)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, ["sst2"], str(out), data, seeds=1, **SHORT)
    assert sorted(path.name for path in (out / "runs/sst2").glob("*.json")) == [
        "bag-of-words-1.json",
        "majority-1.json",
    ]
    done.clear()
    results = evaluate(model, ["sst2"], str(out), data, seeds=1, **SHORT)
    assert [job.arm for job in done] == ["model", "random-init"]
    assert set(results["tasks"]["sst2"]["arms"]) == {"majority", "bag-of-words", "random-init", "model"}


def test_a_run_that_another_process_has_is_left_to_it(
    model: str, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    out = tmp_path / "out"
    evaluate(model, ["sst2"], str(out), data, seeds=1, baselines=False, **SHORT)
    (out / "runs/sst2/model-1.json").unlink()
    with FileLock(out / "runs/sst2/model-1.lock"):
        results = evaluate(model, ["sst2"], str(out), data, seeds=1, baselines=False, **SHORT)
    assert results["tasks"]["sst2"]["arms"] == {}
    assert "Under way in other processes: SST-2 model seed 1; the same" in capfd.readouterr().err


def test_two_processes_that_begin_at_once_share_the_runs(model: str, data: str, tmp_path: Path) -> None:
    words_given = ["evaluate", model, "--tasks", "sst2", "wic", "--data", data, "--out", str(tmp_path / "out")]
    words_given += ["--seeds", "2", "--epochs", "1", "--device", "cpu", "--precision", "fp32", "--baselines", "false"]
    both = [
        subprocess.Popen([sys.executable, "-m", "sctd", *words_given], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for each in both:
        _, err = each.communicate()
        assert each.returncode == 0, err
    results = evaluate(model, ["sst2", "wic"], str(tmp_path / "out"), data, seeds=2, baselines=False, **SHORT)
    assert [len(task["arms"]["model"]["dev"]["runs"]) for task in results["tasks"].values()] == [2, 2]


def test_results_of_another_model_or_setting_are_refused_and_stay(
    data: str, model: str, finished: Path, tmp_path: Path
) -> None:
    before = (finished / "results.json").read_text()
    with pytest.raises(UserError, match=r"holds results of another epochs .1, now 2.: give another --out"):
        evaluate(model, ["sst2"], str(finished), data, seeds=1, device="cpu", precision="fp32", epochs=2)
    other = tiny_encoder(tmp_path / "other", max_length=32)
    with pytest.raises(UserError, match="holds results of another model"):
        evaluate(str(other.folder), ["sst2"], str(finished), data, **SHORT)
    assert (finished / "results.json").read_text() == before


def test_scores_without_what_overlaps_leave_the_flagged_out(
    model: str, data: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads((finished / "runs/sst2/model-1.json").read_text())["splits"]["dev"]["predictions"]
    wrong = [name for name, label in found.items() if label != int(name) % 2]
    path = tmp_path / "overlap.json"
    of = checksum_of(load_split(TASKS["sst2"], data, "dev"))
    path.write_text(json.dumps({"tasks": {"sst2": {"dev": {"flagged": [*wrong, "999"], "of": of}}}}))
    results = evaluate(model, ["sst2"], str(finished), data, seeds=2, without=str(path), **SHORT)
    runs = results["tasks"]["sst2"]["without_overlap"]["model"]["dev"]["runs"]
    assert runs[0]["scores"]["accuracy"] == 1.0 if len(wrong) < 16 else runs[0]["scores"] == {}
    assert f"dev: {len(wrong)} flagged for overlap" in results["tasks"]["sst2"]["notes"]
    assert "Without what overlaps" in capsys.readouterr().out
    other = evaluate(model, ["wic"], str(finished), data, seeds=2, without=str(tmp_path), **SHORT)["tasks"]["wic"]
    assert "without_overlap" not in other
    assert "dev: not looked up for overlap" in other["notes"]
    path.write_text(json.dumps({"tasks": {"sst2": {"dev": {"flagged": wrong, "of": "of another copy"}}}}))
    with pytest.raises(UserError, match="what was looked up of sst2 dev is another copy of it than this one"):
        evaluate(model, ["sst2"], str(finished), data, seeds=2, without=str(path), **SHORT)
    evaluate(model, ALL_KINDS, str(finished), data, seeds=2, **SHORT)  # the whole table again


def test_the_tables_hold_the_numbers_of_results_json(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    page = (finished / "results.md").read_text()
    for task in results["tasks"].values():
        median = task["arms"]["model"]["dev"]["median"]
        for metric in task["metrics"]:
            row = next(
                line
                for line in page.splitlines()
                if f"| {escaped(metric)} |" in line and f"{100 * median[metric]:.1f}" in line
            )
            assert row.count("|") == 9
    assert "windows of 24 tokens" in page
    assert "64 of 67,349 rows" in page


def test_a_quick_budget_takes_fixed_parts_and_says_so(model: str, data: str, tmp_path: Path) -> None:
    from sctd.scores.finetuning import BUDGETS, Budget

    quick = BUDGETS["quick"]
    try:
        BUDGETS["quick"] = Budget(train=10, scored=4, epochs=1)
        results = evaluate(
            model, ["sst2"], str(tmp_path / "out"), data, seeds=1, budget="quick", baselines=False, device="cpu"
        )
    finally:
        BUDGETS["quick"] = quick
    task = results["tasks"]["sst2"]
    assert task["rows"] == {"train": 10, "dev": 4}
    assert "train: quick takes 10 of 64" in task["notes"]
    assert (tmp_path / "out/results.md").read_text().count("not to be compared with published figures") == 1


def test_a_subset_is_the_same_whatever_the_order_and_keeps_groups_whole() -> None:
    examples = [TextExample(str(i), "x", 0, group=f"g{i // 3}") for i in range(30)]
    chosen = subset(TASKS["multirc"], "dev", examples, 10)
    assert len(chosen) == 9
    assert all(sum(e.group == g for e in chosen) == 3 for g in {e.group for e in chosen})
    assert {e.id for e in subset(TASKS["multirc"], "dev", examples[::-1], 10)} == {e.id for e in chosen}
    assert subset(TASKS["multirc"], "dev", examples, None) == examples


def test_narrower_encoders_learn_faster() -> None:
    assert [round(default_lr(width), 6) for width in (256, 768, 1024)] == [9e-5, 3e-5, 2.3e-5]


@pytest.mark.parametrize(
    ("words_given", "sentence"),
    [
        (["--tasks", "colla", "--out", "o"], r'no task "colla"; did you mean "cola"\?'),
        (["--tasks", "cola", "--out", "o", "--seeds", "0"], "--seeds is 0"),
        (["--tasks", "cola", "--out", "o", "--lr", "0"], "--lr is 0"),
        (["--tasks", "cola", "--out", "o", "--max-length", "4"], "--max-length is 4; it must be 16 or more"),
        (["--tasks", "cola", "--out", "o", "--without", "nothing.json"], "Cannot read nothing.json"),
        (["--tasks", "cola", "--out", "o", "--budget", "tiny"], "--budget"),
        (["--tasks", "rte", "--out", "o"], "has no folder rte"),
    ],
)
def test_what_a_user_gets_wrong_ends_in_a_sentence_and_leaves_nothing(
    model: str,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words_given: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", model, "--data", data, *words_given]) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_an_encoder_that_names_its_sizes_otherwise_is_scored(data: str, tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    folder = tiny_encoder(tmp_path / "model").folder
    config = DistilBertConfig(vocab_size=200, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=32)
    DistilBertForMaskedLM(config).save_pretrained(folder)
    results = evaluate(str(folder), ["sst2", "wic"], str(tmp_path / "out"), data, seeds=1, baselines=False, **SHORT)
    assert all(task["arms"]["model"] for task in results["tasks"].values())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.json", "[]"),
        ("settings.json", "{"),
        ("runs/sst2/model-1.json", "{}"),
        ("runs/sst2/model-1.json", '{"of": 1, "seed": 1, "seconds": 1, "splits": {}}'),
        ("runs/sst2/model-1.json", '{"of": "x", "seed": 1, "seconds": 1, "fine_tuning": {}, "cut": {}, "splits": {}}'),
    ],
)
def test_damaged_results_are_named(model: str, data: str, tmp_path: Path, name: str, text: str) -> None:
    out = tmp_path / "out"
    evaluate(model, ["sst2"], str(out), data, seeds=1, baselines=False, **SHORT)
    (out / name).write_text(text)
    with pytest.raises(UserError, match=rf"{Path(name).name} is damaged"):
        evaluate(model, ["sst2"], str(out), data, seeds=1, baselines=False, **SHORT)


@pytest.mark.parametrize("wrong", [{"splits": {}}, {"cut": {"other": 1}}], ids=str)
def test_a_result_without_a_split_or_of_another_one_is_named(
    model: str, data: str, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    evaluate(model, ["sst2"], str(out), data, seeds=1, baselines=False, **SHORT)
    path = out / "runs/sst2/model-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(UserError, match=r"model-1\.json is damaged: remove it"):
        evaluate(model, ["sst2"], str(out), data, seeds=1, baselines=False, **SHORT)
