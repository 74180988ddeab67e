"""How far the pass with dropping is from the full one: states, measures, the verb, and the list of words."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import make_prepared
from naive import embed, one_pass, run_layer
from sctd.cli import main
from sctd.config import LogConfig, ModelConfig, PretrainConfig, ScheduleConfig
from sctd.errors import UserError
from sctd.method.drift import DriftMeter, LayerStates, layer_states
from sctd.method.dropping import Rows, finish_dropped, finish_full, run_prefix
from sctd.pretrain import pretrain
from sctd.scores.drift import drift, print_table
from sctd.scores.dropped_words import Word, correlation, write_words
from sctd.tokens.prepared import load_prepared
from sctd.train.metrics import RunLog
from sctd.train.trainer import Trainer
from test_dropping import LENGTH, batch, objective

# ---- states


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("layers", [4, 6])
def test_the_states_of_the_last_two_layers_are_those_of_the_passes(layers: int, padded: bool) -> None:
    made, masked = objective(layers).eval(), batch(padded)
    kept = made.select(masked)
    states = layer_states(made.model, masked.input_ids, masked.attention_mask, kept, made.route)
    assert len(states) == layers
    every = torch.arange(LENGTH).expand(3, -1)
    route, rows = made.route, Rows(every, kept[0])
    prefix = run_prefix(made.model, masked.input_ids, masked.attention_mask, route)
    full = finish_full(made.model, prefix, masked.attention_mask, rows, route.start)
    dropped = finish_dropped(made.model, prefix, masked.attention_mask, kept, rows, route)
    torch.testing.assert_close(states[-1].full, full.predicted)
    torch.testing.assert_close(states[-1].dropped, dropped.predicted)
    torch.testing.assert_close(states[-2].full, full.local)
    torch.testing.assert_close(states[-2].dropped, dropped.local)
    assert states[-2].full.shape[1] == kept[0].shape[1]


def test_the_last_states_equal_the_naive_passes() -> None:
    made, masked = objective(6).eval(), batch(False)
    kept = made.select(masked)
    last = layer_states(made.model, masked.input_ids, None, kept, made.route)[-1]
    for row in range(3):
        ids = masked.input_ids[row].tolist()
        for found, places in ((last.full, None), (last.dropped, sorted(kept[0][row].tolist()))):
            _, wanted = one_pass(made.model, ids, places)
            torch.testing.assert_close(found[row], torch.stack(wanted), rtol=1e-6, atol=1e-8)


def test_every_layers_states_equal_the_naive_layers() -> None:
    made, masked = objective(6).eval(), batch(False)
    kept = made.select(masked)
    states = layer_states(made.model, masked.input_ids, None, kept, made.route)
    for row in range(3):
        places = kept[0][row].tolist()
        full = short = prefix = embed(made.model, masked.input_ids[row].tolist())
        for number, state in enumerate(states[:-1]):
            full = run_layer(made.model, number, full, full)
            if number < 2:  # L/2 - 1
                short = prefix = full
                wanted = full, full
            else:
                queries = [prefix[place] for place in places] if number == 2 else short
                short = run_layer(made.model, number, queries, prefix if number == 2 else short)
                wanted = [full[place] for place in places], short
            torch.testing.assert_close(state.full[row], torch.stack(wanted[0]), rtol=1e-6, atol=1e-8)
            torch.testing.assert_close(state.dropped[row], torch.stack(wanted[1]), rtol=1e-6, atol=1e-8)


def test_the_first_layers_are_the_same_in_both_passes_and_with_ratio_1_all_are() -> None:
    made, masked = objective(6).eval(), batch(True)
    states = layer_states(made.model, masked.input_ids, masked.attention_mask, made.select(masked), made.route)
    assert all(torch.equal(state.full, state.dropped) for state in states[:2])
    torch.testing.assert_close(states[2].full, states[2].dropped)  # the hybrid layer reads all rows
    assert not any(torch.allclose(state.full, state.dropped) for state in states[3:])
    whole = objective(6, keep_ratio=1.0).eval()
    meter = DriftMeter()
    meter.add(layer_states(whole.model, masked.input_ids, masked.attention_mask, whole.select(masked), whole.route))
    found = meter.read()
    assert found["cosine"] == pytest.approx([1.0] * 6)
    assert found["kl_cls"] == pytest.approx([0.0] * 6, abs=1e-6)
    assert found["cka"] == pytest.approx([1.0] * 6)


# ---- measures


def read(full: torch.Tensor, dropped: torch.Tensor, real: torch.Tensor | None = None) -> dict[str, float]:
    meter = DriftMeter()
    meter.add([LayerStates(full, dropped, real)])
    return {name: figures[0] for name, figures in meter.read().items()}


def test_identical_states_are_no_distance_apart() -> None:
    states = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    assert read(states, states) == {"cosine": pytest.approx(1), "kl_cls": pytest.approx(0), "cka": pytest.approx(1)}


def test_a_turn_a_scale_and_a_shift_leave_the_kernel_alignment_at_1() -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 50, 4, generator=generator)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    found = read(states, 3 * states @ turn + 2)
    assert found["cka"] == pytest.approx(1, abs=1e-5)
    assert found["cosine"] < 0.9


def test_cosine_and_kl_by_hand() -> None:
    full = torch.tensor([[[math.log(3), 0.0], [1.0, 0.0]]])
    dropped = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    found = read(full + 1e-12, dropped + torch.tensor([[[1e-12, 1e-12], [0.0, 0.0]]]))
    # softmax (3/4, 1/4) against (1/2, 1/2)
    assert found["kl_cls"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)
    only_second = read(full[:, 1:], dropped[:, 1:])
    assert only_second["cosine"] == pytest.approx(1 / math.sqrt(2))


def test_the_kernel_alignment_batch_by_batch_equals_that_of_the_gram_matrices() -> None:
    generator = torch.Generator().manual_seed(2)
    full = torch.randn(4, 6, 5, generator=generator)
    dropped = full + torch.randn(4, 6, 5, generator=generator)
    meter = DriftMeter()
    for first in range(0, 4, 2):
        meter.add([LayerStates(full[first : first + 2], dropped[first : first + 2], None)])
    a, b = (each.flatten(0, 1).double() - each.flatten(0, 1).double().mean(0) for each in (full, dropped))
    k, m = a @ a.T, b @ b.T
    assert meter.read()["cka"][0] == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())), abs=1e-6)


def test_padded_rows_count_for_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    full, dropped = torch.randn(2, 6, 5, generator=generator), torch.randn(2, 6, 5, generator=generator)
    real = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]])
    padded = full.clone()
    padded[:, 4:] = 99.0
    found, wanted = read(padded, dropped, real), read(full[:, :4], dropped[:, :4])
    assert found == {name: pytest.approx(figure, abs=1e-6) for name, figure in wanted.items()}


# ---- the verb

STEPS = 6


def run_of(folder: Path, method: str, layers: int = 4) -> tuple[Path, Path]:
    """(run, data) of a tiny finished run with a checkpoint every second step."""
    data = make_prepared(folder)
    config = PretrainConfig(
        method=method,  # type: ignore[arg-type]
        model=ModelConfig(num_layers=layers, hidden_size=32, num_heads=2),
        schedule=ScheduleConfig(steps=STEPS),
        log=LogConfig(every=2),
        device="cpu",
        precision="fp32",
    )
    config.batch.size, config.eval.sequences, config.eval.every = 4, 8, 3
    config.checkpoint.every, config.checkpoint.keep = 2, 10
    pretrain(str(data), str(folder / "run"), config)
    return folder / "run", data


@pytest.fixture(scope="module")
def sctd_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return run_of(tmp_path_factory.mktemp("sctd"), "sctd")


def test_drift_is_measured_at_every_checkpoint(
    sctd_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = sctd_run
    results = drift(str(run), str(data), str(tmp_path / "out"), sequences=8, device="cpu", precision="fp32")
    assert [each["step"] for each in results["checkpoints"]] == [2, 4, 6]
    assert json.loads((tmp_path / "out/drift.json").read_text()) == results
    assert results["settings"]["keep_rule"] == "importance"
    last = results["checkpoints"][-1]
    assert last["cosine"][:2] == pytest.approx([1, 1])  # of 4 layers the first two are the same in both passes
    assert last["cosine"][3] < 1
    assert last["kl_cls"][2] > 0
    assert last["mean"]["cosine"] == pytest.approx(sum(last["cosine"][2:]) / 2)
    shown = capsys.readouterr().out
    assert f"{last['cosine'][3]:.4f}" in shown


def test_training_logs_the_same_drift(sctd_run: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = sctd_run
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = {line["step"]: line["drift"] for line in lines if "drift" in line}
    assert set(logged) == {0, 3, 6}
    results = drift(str(run), str(data), str(tmp_path), sequences=8, device="cpu", precision="fp32")
    for name, figures in logged[6].items():
        assert results["checkpoints"][-1][name] == pytest.approx(figures, abs=1e-6)


def test_the_list_of_words_says_how_often_each_is_kept(sctd_run: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = sctd_run
    drift(str(run), str(data), str(tmp_path), sequences=16, device="cpu", precision="fp32")
    header, *rows = [line.split("\t") for line in (tmp_path / "importance.tsv").read_text().splitlines()]
    assert header == ["rank", "token", "special", "count", "per_million", "importance", "seen", "kept_share"]
    table = {row[1]: dict(zip(header, row, strict=True)) for row in rows}
    assert table["[CLS]"]["special"] == "yes"
    assert table["[CLS]"]["kept_share"] == table["[MASK]"]["kept_share"] == "1.0000"
    assert int(table["[CLS]"]["seen"]) == 16
    assert [row[0] for row in rows if row[2]] == [""] * sum(row[2] == "yes" for row in rows)
    assert rows[0][0] == "1"
    ordinary = [float(row[5]) for row in rows if not row[2]]
    assert ordinary == sorted(ordinary, reverse=True)
    kept = sum(int(row[6]) * float(row[7]) for row in rows if row[7])
    assert kept == pytest.approx(16 * 16, abs=0.1)  # half of each sequence of 32


def test_the_file_of_words_by_hand(tmp_path: Path) -> None:
    words = [Word("a\u0301", False, 3, 1.5, 2.0, 4, 1), Word("b", False, 9, 4.5, 1.0, 0, 0)]
    write_words(tmp_path / "w.tsv", words)
    assert (tmp_path / "w.tsv").read_text(encoding="utf-8").splitlines()[1:] == [
        "1\ta\u0301\t\t3\t1.50\t2.0000\t4\t0.2500",
        "2\tb\t\t9\t4.50\t1.0000\t0\t",
    ]
    assert correlation(words) == pytest.approx(-1)
    assert correlation([replace(word, score=1.0) for word in words]) is None


def test_a_token_that_was_never_predicted_does_not_count_in_the_correlation() -> None:
    learned = [Word("a", False, 3, 1.5, 2.0, 4, 1), Word("b", False, 9, 4.5, 3.0, 0, 0)]
    untouched = [Word("c", False, 1, 0.5, 10.0, 0, 0), Word("[CLS]", True, 0, 0.0, 10.0, 4, 4)]
    assert correlation([*learned, *untouched]) == pytest.approx(1)


def test_a_token_with_a_tab_or_a_quote_is_read_back_whole(tmp_path: Path) -> None:
    words = [Word(token, False, 3, 1.5, 2.0, 4, 1) for token in ("a\tb", '"', "c\nd")]
    write_words(tmp_path / "w.tsv", words)
    with (tmp_path / "w.tsv").open(encoding="utf-8", newline="") as file:
        assert [row["token"] for row in csv.DictReader(file, delimiter="\t")] == ["a\tb", '"', "c\nd"]


def test_twelve_layers_are_shown_whole_on_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    figures = [1.0] * 6 + [0.9876, 0.8765, 0.7654, 0.6543, 0.5432, 0.4321]
    last = {"step": 1_000_000, "cosine": figures, "kl_cls": [1.234e-05] * 12, "cka": figures}
    print_table({"settings": {"first_layer_that_differs": 6}, "checkpoints": [last]})
    shown = capsys.readouterr().out
    assert "\u2026" not in shown
    assert shown.count("0.4321") == 3  # cosine, cosine again beside the other measures, CKA
    assert "1.234e-05" in shown


def test_a_figure_that_is_no_number_is_null_in_the_log(tmp_path: Path) -> None:
    RunLog(tmp_path, 0).write({"step": 1, "drift": {"cka": [1.0, math.nan]}})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "drift": {"cka": [1.0, None]}}


def test_the_sequences_that_training_measures_on_do_not_depend_on_the_micro_batch(tmp_path: Path) -> None:
    data = load_prepared(make_prepared(tmp_path))
    found = []
    for micro in (None, 3):
        config = PretrainConfig(model=ModelConfig(num_layers=4, hidden_size=32, num_heads=2))
        config.schedule.steps, config.batch.micro, config.device, config.precision = 1, micro, "cpu", "fp32"
        found.append(torch.cat([each.input_ids for each in Trainer(tmp_path, data, config).drift_batches]))
    assert torch.equal(*found)


def test_a_dense_run_is_compared_by_frequency(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, data = run_of(tmp_path, "dense")
    results = drift(str(run), str(data), sequences=8, device="cpu", precision="fp32")
    assert results["settings"]["keep_rule"] == "frequency"
    assert "Compared by the rule 'frequency'" in capfd.readouterr().err
    assert (run / "drift.json").exists()
    assert not (run / "importance.tsv").exists()
    with pytest.raises(UserError, match="this run has learned no importance"):
        drift(str(run), str(data), keep_rule="importance")


def test_one_rule_compares_all_runs(sctd_run: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = sctd_run
    own = drift(str(run), str(data), str(tmp_path), sequences=8, device="cpu", precision="fp32")
    other = drift(
        str(run), str(data), str(tmp_path), sequences=8, keep_rule="frequency", device="cpu", precision="fp32"
    )
    assert other["settings"]["keep_rule"] == "frequency"
    assert other["checkpoints"] != own["checkpoints"]


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, data = run_of(tmp_path, "drop")
    (run / "checkpoints/step-4/model.safetensors").write_bytes(b"damaged")
    results = drift(str(run), str(data), sequences=8, device="cpu", precision="fp32")
    assert [each["step"] for each in results["checkpoints"]] == [2, 6]
    assert re.search(r"Passed over: .*step-4.*damaged", " ".join(capfd.readouterr().err.split()))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{run}", "--data", "{data}", "--sequences", "0"], "--sequences is 0"),
        (["{run}", "--data", "{data}", "--keep-rule", "rare"], "there is no 'rare'; choose one of importance, random"),
        (["nowhere", "--data", "{data}"], "nowhere is not a folder"),
        (["{data}", "--data", "{data}"], "has no whole checkpoint"),
        (["{run}", "--data", "{data}", "--out", "{data}/manifest.json"], "manifest.json is a file: give a folder"),
        (["{run}", "--data", "{other}"], "was begun on other data than"),
    ],
)
def test_what_cannot_be_measured_ends_in_a_sentence(
    sctd_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    run, data = sctd_run
    places: dict[str, Any] = {"run": run, "data": data, "other": make_prepared(tmp_path, seed=2)}
    assert main(["drift", *(word.format(**places) for word in words)]) == 2
    assert sentence in capsys.readouterr().err


def test_two_layers_are_too_few(tmp_path: Path) -> None:
    run, data = run_of(tmp_path, "dense", layers=2)
    with pytest.raises(UserError, match="has 2 layers, of which none can drop tokens"):
        drift(str(run), str(data), sequences=8, device="cpu", precision="fp32")
