"""Probes, minimal pairs and quick tasks while a model trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import make_prepared, words
from sctd.cli import main
from sctd.pretrain import pretrain
from sctd.recipe import build_config
from sctd.train.metrics import read_metrics

WORD = words(30)
SMALL = {
    "model.num_layers": 4,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "schedule.steps": 4,
    "batch.size": 4,
    "eval.sequences": 8,
    "log.tensorboard": False,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a probe, a set of minimal pairs and a task."""
    folder = tmp_path_factory.mktemp("scored")
    for name in ("probing", "blimp", "tasks/sst2"):
        (folder / name).mkdir(parents=True)
    rows = [(split, "AB"[i % 2], WORD[i % 2]) for split in ("tr", "va", "te") for i in range(12)]
    (folder / "probing/first.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    pair = {"sentence_good": WORD[1], "sentence_bad": WORD[2], "UID": "a", "linguistics_term": "b", "field": "c"}
    (folder / "blimp/a.jsonl").write_text(json.dumps(pair) + "\n")
    for split in ("train", "dev"):
        lines = "".join(f"{WORD[i % 2]}\t{i % 2}\n" for i in range(8))
        (folder / f"tasks/sst2/{split}.tsv").write_text("sentence\tlabel\n" + lines)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prepared(tmp_path_factory.mktemp("data")))


ALL = ["probe:first", "blimp", "blimp:b", "task:sst2"]


def settings(scored: str, *names: str, **changes: Any) -> Any:
    return build_config({**SMALL, "eval.probes": list(names), "eval.probes_data": scored, **changes})


def test_signals_stand_in_metrics_jsonl_every_so_many_steps(data: str, scored: str, tmp_path: Path) -> None:
    pretrain(data, str(tmp_path / "run"), settings(scored, *ALL, **{"eval.probes_every": 2}))
    lines: dict[int, dict[str, Any]] = {}
    for line in read_metrics(tmp_path / "run"):
        lines.setdefault(line["step"], {}).update(line)
    for step in (2, 4):
        assert 0 <= lines[step]["eval_probe_first"] <= 1
        assert lines[step]["eval_blimp"] == lines[step]["eval_blimp_b"] in (0.0, 1.0)
        assert 0 <= lines[step]["eval_task_sst2"] <= 1
    assert "eval_blimp" not in lines[3]
    # the last ones are what the verbs say of the finished model
    from sctd.scores.probe import probe

    found = probe(str(tmp_path / "run"), f"{scored}/probing", random_init=False, device="cpu", precision="fp32")
    assert lines[4]["eval_probe_first"] == found["parts"]["first"]["model"]["mean"]["test"]


def test_signals_change_nothing_of_what_is_trained(data: str, scored: str, tmp_path: Path) -> None:
    changes = {"model.dropout": 0.1, "eval.probes_every": 1}
    pretrain(data, str(tmp_path / "with"), settings(scored, "task:sst2", **changes))
    pretrain(data, str(tmp_path / "without"), build_config({**SMALL, "model.dropout": 0.1}))
    weights = [(tmp_path / run / "model/model.safetensors").read_bytes() for run in ("with", "without")]
    assert weights[0] == weights[1]


def test_a_signal_that_fails_costs_neither_run_nor_checkpoint(
    data: str, scored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from sctd.scores import signals

    def failing(name: str, folder: Path) -> Any:
        def signal(encoder: Any) -> dict[str, float]:
            raise ValueError("no room")

        return signal

    monkeypatch.setitem(signals.KINDS, "blimp", failing)
    changes = {"eval.probes_every": 2, "checkpoint.every": 2, "checkpoint.keep": 5}
    pretrain(data, str(tmp_path / "run"), settings(scored, "blimp", **changes))
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["step-2", "step-4"]
    assert "step 4: eval.probes failed (no room); training goes on." in " ".join(capfd.readouterr().err.split())


def test_signals_are_asked_for_in_the_run_s_precision(
    data: str, scored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sctd.scores import signals

    seen = []

    def looking(name: str, folder: Path) -> Any:
        def signal(encoder: Any) -> dict[str, float]:
            seen.append((encoder.precision, encoder.device.type))
            return {}

        return signal

    monkeypatch.setitem(signals.KINDS, "blimp", looking)
    pretrain(data, str(tmp_path / "run"), settings(scored, "blimp", precision="bf16", **{"eval.probes_every": 4}))
    assert seen == [("bf16", "cpu")]


@pytest.mark.parametrize(
    ("names", "folder", "sentence"),
    [
        (["probes:first"], True, "there is no signal 'probes:first'; give probe:NAME, blimp, blimp:NAME or task:NAME"),
        (["task"], True, "there is no signal 'task'"),
        (["probe:frist"], True, 'no probe "frist"; did you mean "first"?'),
        (["task:cola"], True, "has no folder cola"),
        (["blimp"], False, "eval.probes needs eval.probes_data"),
    ],
)
def test_a_signal_that_cannot_be_had_ends_before_training(
    data: str,
    scored: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    names: list[str],
    folder: bool,
    sentence: str,
) -> None:
    words = [item for name, value in SMALL.items() for item in (f"--{name}", str(value).lower())]
    words += ["--eval.probes", *names, *(["--eval.probes_data", scored] if folder else [])]
    assert main(["pretrain", "--data", data, "--out", str(tmp_path / "run"), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
