"""Probes of the frozen encoder: vectors against one sentence at a time, and cases where the answer is plain."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny_encoder, words
from sctd.cli import main
from sctd.errors import UserError
from sctd.scores import probe as module
from sctd.scores.encoder import Encoder
from sctd.scores.features import sentence_vectors
from sctd.scores.probe import classify, probe, probe_network
from sctd.scores.probe_data import load_probe, load_probes, subset

WORD = words(30)
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("model"), max_length=16)


def write(path: Path, *rows: tuple[str, str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def told_by_a_word(folder: Path, name: str = "plain") -> Path:
    """A probe whose label is A where the sentence begins with word 0, B where it begins with word 1."""
    rows = []
    for split, count in (("tr", 80), ("va", 20), ("te", 20)):
        for i in range(count):
            rows.append((split, "AB"[i % 2], f"{WORD[i % 2]} {WORD[2 + i % 7]} {WORD[9 + i % 5]}"))
    write(folder / f"{name}.txt", *rows)
    return folder


def test_vectors_equal_those_of_one_sentence_at_a_time(encoder: Encoder) -> None:
    sentences = [" ".join(WORD[: 1 + (5 * i) % 9]) for i in range(7)]
    network = encoder.network()
    seen: list[int] = []
    vectors, cut = sentence_vectors(encoder, network, sentences, seen.append)
    assert (sum(seen), cut) == (7, 0)
    assert vectors["mean"].shape == vectors["cls"].shape == (3, 7, 32)  # embeddings and 2 layers
    for i, sentence in enumerate(sentences):
        with torch.no_grad():
            states = network(
                **encoder.tokenizer(sentence, return_tensors="pt"), output_hidden_states=True
            ).hidden_states
        for layer, state in enumerate(states):
            np.testing.assert_allclose(vectors["cls"][layer, i], state[0, 0], atol=1e-4)
            np.testing.assert_allclose(vectors["mean"][layer, i], state[0, 1:-1].mean(0), atol=1e-4)


def test_layer_0_is_the_embeddings_output(encoder: Encoder) -> None:
    network = encoder.network()
    vectors, _ = sentence_vectors(encoder, network, [WORD[3]])
    with torch.no_grad():
        embedded = network.embeddings(**{"input_ids": encoder.tokenizer(WORD[3], return_tensors="pt")["input_ids"]})
    np.testing.assert_allclose(vectors["cls"][0, 0], embedded[0, 0], atol=1e-5)


def test_sentences_that_are_too_long_are_cut_and_counted(encoder: Encoder) -> None:
    _, cut = sentence_vectors(encoder, encoder.network(), [" ".join(WORD), WORD[0]])
    assert cut == 1


def test_a_label_that_a_word_tells_is_found_and_a_random_one_is_not(encoder: Encoder, tmp_path: Path) -> None:
    told_by_a_word(tmp_path / "data")
    dice = random.Random(1)
    rows = [
        (split, dice.choice("AB"), f"{WORD[dice.randrange(20)]} {WORD[dice.randrange(20)]}")
        for split, count in (("tr", 60), ("va", 60), ("te", 200))
        for _ in range(count)
    ]
    write(tmp_path / "data/below/chance.txt", *rows)
    results = probe(str(encoder.folder), str(tmp_path / "data"), str(tmp_path / "out"), **CPU)
    plain, chance = results["parts"]["plain"], results["parts"]["below/chance"]
    assert plain["majority"] == 0.5
    assert (
        plain["bag_of_words"]["test"] == plain["model"]["mean"]["test"] == plain["random_init"]["mean"]["test"] == 1.0
    )
    # [CLS] has not met the word at layer 0, and reads it from layer 1 on
    assert plain["model"]["cls"]["layers"][0]["test"] == 0.5
    assert plain["model"]["cls"]["best"] > 0
    share = sum(label == "A" for split, label, _ in rows if split == "te") / 200
    frequent = max("AB", key=[label for split, label, _ in rows if split == "tr"].count)
    assert chance["majority"] == pytest.approx(share if frequent == "A" else 1 - share)
    assert 0.35 < chance["model"]["mean"]["test"] < 0.65


def test_the_layer_and_the_strength_are_chosen_on_the_validation_split(encoder: Encoder, tmp_path: Path) -> None:
    [task] = load_probes(str(told_by_a_word(tmp_path)))
    found = probe_network(encoder, encoder.network(), task)
    for pooling in ("mean", "cls"):
        layers = found[pooling]["layers"]
        assert [each["layer"] for each in layers] == [0, 1, 2]
        best = max(each["validation"] for each in layers)
        first = next(each for each in layers if each["validation"] == best)
        assert (found[pooling]["best"], found[pooling]["test"]) == (first["layer"], first["test"])


def test_features_of_any_scale_give_the_same_classifier() -> None:
    numbers = np.random.default_rng(1)
    labels = {split: ["A", "B"] * 20 for split in ("tr", "va", "te")}
    vectors = {split: numbers.normal(size=(40, 4)) + np.array([[0.5], [0]] * 20) for split in labels}
    scaled = {split: each * [1, 100, 0.01, 3] + 7 for split, each in vectors.items()}
    assert classify(vectors, labels) == classify(scaled, labels)


def test_a_stopped_command_goes_on_probe_by_probe(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        told_by_a_word(data, name)
    probe_network_ = module.probe_network
    done: list[str] = []

    def stopped(encoder: Any, network: Any, probe: Any, *rest: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(probe.name)
        return probe_network_(encoder, network, probe, *rest)

    monkeypatch.setattr(module, "probe_network", stopped)
    arguments: dict[str, Any] = {"data": str(data), "out": str(tmp_path / "out"), "random_init": False, **CPU}
    with pytest.raises(KeyboardInterrupt):
        probe(str(encoder.folder), **arguments)
    done.clear()
    results = probe(str(encoder.folder), **arguments)
    assert done == ["b"]
    assert json.loads((tmp_path / "out/probe.json").read_text())["parts"] == results["parts"]
    assert f"{100 * results['parts']['a']['model']['mean']['test']:.1f} (" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"out holds results of another max_train .None, now 5.: give another --out"):
        probe(str(encoder.folder), max_train=5, **arguments)


def test_probes_are_chosen_by_their_path(tmp_path: Path) -> None:
    told_by_a_word(tmp_path, "x")
    told_by_a_word(tmp_path, "gold/x")
    assert [each.name for each in load_probes(str(tmp_path))] == ["gold/x", "x"]
    assert [each.name for each in load_probes(str(tmp_path), ["gold/x"])] == ["gold/x"]
    with pytest.raises(UserError, match=r'no probe "gold/y"; did you mean "gold/x"\?'):
        load_probes(str(tmp_path), ["gold/y"])


def test_several_probes_follow_one_flag(encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        told_by_a_word(tmp_path, name)
    words = ["--data", str(tmp_path), "--tasks", "a", "c", "--device", "cpu", "--random-init", "false"]
    assert main(["probe", str(encoder.folder), *words]) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")]
    rows = [name for name in rows if name != "│"]
    assert rows == ["a", "c"]


TR, VA, TE = ("tr", "A", "x"), ("va", "A", "x"), ("te", "A", "x")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([TR, ("tr", "B")], r"p.txt, line 2 has 2 columns where there are 3"),
        ([TR, ("dev", "B", "x")], r"line 2: the split 'dev' is none of tr, va, te"),
        ([TR, ("tr", "B", " ")], r"line 2 has an empty label or sentence"),
        ([TR, ("tr", "B", "x"), TE, ("te", "B", "x")], r"p.txt has no line of split va \(validation\)"),
        ([TR, VA, TE], r"has one label alone in its training split"),
        ([TR, ("tr", "B", "x"), VA, TE], r"has one label alone in its validation split"),
        ([TR, ("",), ("tr", "B", "x")], r"p.txt, line 2 has 1 columns"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_probe("p", write(tmp_path / "p.txt", *rows))


def test_a_label_that_training_lacks_counts_as_wrong_and_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [TR, ("tr", "B", "x"), VA, ("va", "B", "x"), TE, ("te", "C", "x"), ("te", "C", "y")]
    task = load_probe("p", write(tmp_path / "p.txt", *rows))
    assert task.splits["te"].labels == ["A", "C", "C"]
    said = " ".join(capfd.readouterr().err.split())
    assert "p.txt, line 6: the label 'C' of split te is not in the training split; its rows (2) count as wrong" in said


def test_what_cannot_be_probed_ends_in_a_sentence(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(encoder.folder), "--data", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main(["probe", str(encoder.folder), "--data", str(tmp_path)]) == 2
    assert "has no .txt files" in capsys.readouterr().err
    (tmp_path / "p.txt").write_bytes(b"tr\tA\t\xff\n")
    assert main(["probe", str(encoder.folder), "--data", str(tmp_path)]) == 2
    assert "p.txt, line 1, is not UTF-8" in capsys.readouterr().err
    told_by_a_word(tmp_path, "p")
    assert main(["probe", str(encoder.folder), "--data", str(tmp_path), "--max-train", "1"]) == 2
    assert "--max-train is 1" in capsys.readouterr().err
    assert main(["probe", str(encoder.folder), "--data", str(tmp_path), "--out", str(tmp_path / "p.txt")]) == 2
    assert "p.txt is a file: give a folder" in capsys.readouterr().err


def test_the_command_line_takes_several_probes_and_prints_what_it_writes(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        told_by_a_word(tmp_path / "data", name)
    flags = ["--data", str(tmp_path / "data"), "--tasks", "a", "b", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["probe", str(encoder.folder), *flags]) == 0
    parts = json.loads((tmp_path / "out/probe.json").read_text())["parts"]
    assert list(parts) == ["a", "b"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    [at] = [i for i, line in enumerate(lines) if line[1:2] == ["a"]]
    row = " ".join(lines[at])
    model, random_init = parts["a"]["model"], parts["a"]["random_init"]
    columns = [model["mean"], model["cls"], random_init[random_init["best"]]]
    for found in columns:
        assert f"{100 * found['test']:.1f} ({found['best']})" in row
    assert [line[-2] for line in lines[at : at + 3]] == ["80", "20", "20"]


def test_results_of_a_file_that_has_changed_are_made_again(encoder: Encoder, tmp_path: Path) -> None:
    told_by_a_word(tmp_path / "data")
    arguments: dict[str, Any] = {"data": str(tmp_path / "data"), "out": str(tmp_path / "out"), **CPU}
    before = probe(str(encoder.folder), random_init=False, **arguments)["parts"]["plain"]
    with (tmp_path / "data/plain.txt").open("a") as file:
        file.write(f"tr\tA\t{WORD[4]}\n")
    after = probe(str(encoder.folder), random_init=False, **arguments)["parts"]["plain"]
    assert (before["rows"]["tr"], after["rows"]["tr"]) == (80, 81)
    assert before["of"] != after["of"]


def test_fewer_training_sentences_keep_every_label(tmp_path: Path) -> None:
    rows = [("tr", label, f"{label} {i}") for label, count in (("A", 50), ("B", 1), ("C", 1)) for i in range(count)]
    rows += [(split, label, "x") for split in ("va", "te") for label in "AB"]
    whole = load_probe("p", write(tmp_path / "p.txt", *rows))
    few = subset(whole, 5, seed=1)
    assert sorted(few.splits["tr"].labels) == ["A", "A", "A", "B", "C"]
    assert (few, few.splits["te"]) == (subset(whole, 5, seed=1), whole.splits["te"])
    assert few != subset(whole, 5, seed=2)
    with pytest.raises(UserError, match=r"--max-train is 2 and p has 3 labels"):
        subset(whole, 2, seed=1)


def test_dropout_is_off_and_the_same_command_gives_the_same_numbers(encoder: Encoder, tmp_path: Path) -> None:
    [task] = load_probes(str(told_by_a_word(tmp_path)))
    assert probe_network(encoder, encoder.network().train(), task) == probe_network(encoder, encoder.network(), task)


def test_two_processes_add_to_one_file(encoder: Encoder, tmp_path: Path) -> None:
    from sctd.scores.kept import Kept

    path = tmp_path / "probe.json"
    one, other = Kept(path, encoder, {}), Kept(path, encoder, {})
    one.add("x", "1", {})
    other.add("y", "1", {})
    one.add("z", "1", {})
    assert set(Kept(path, encoder, {}).parts) == {"x", "y", "z"}


def test_parts_of_another_form_are_named(encoder: Encoder, tmp_path: Path) -> None:
    from sctd.json_text import differs
    from sctd.scores.kept import Kept
    from sctd.scores.probe import PART

    path = tmp_path / "probe.json"
    Kept(path, encoder, {}).add("a", "1", {"majority": "0.5"})
    with pytest.raises(UserError, match=r"probe\.json is damaged \(parts\.a"):
        Kept(path, encoder, {}, PART)
    assert differs({"tr": 1, "va": 1, "te": 1, "other": "x"}, PART["rows"]) == "other"


def test_vectors_that_are_no_numbers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_encoder(tmp_path / "model").folder
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told_by_a_word(tmp_path / "probes")
    assert main(["probe", str(folder), "--data", str(tmp_path / "probes"), "--device", "cpu"]) == 2
    assert "layer 1 gives no finite numbers: its weights are damaged" in " ".join(capsys.readouterr().err.split())
