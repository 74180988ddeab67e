"""Minimal pairs by pseudo-log-likelihood, against one sentence and one mask at a time."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import SPECIAL, tiny_encoder, words
from sctd.cli import main
from sctd.errors import UserError
from sctd.scores import blimp as module
from sctd.scores.blimp import blimp, summarise
from sctd.scores.blimp_data import MinimalPairs, load_pairs
from sctd.scores.encoder import Encoder, load_encoder
from sctd.scores.pseudo_likelihood import logits_at, pseudo_log_likelihoods

SHARED = Path(__file__).parents[2] / "shared" / "data" / "blimp"
WORD = words(30)
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny_encoder(tmp_path_factory.mktemp("model"), max_length=24)


def row(good: str, bad: str, name: str = "set_a", phenomenon: str = "agreement") -> dict[str, str]:
    return {"sentence_good": good, "sentence_bad": bad, "UID": name, "linguistics_term": phenomenon, "field": "syntax"}


def write(folder: Path, name: str, *rows: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder


@torch.no_grad()
def naive(encoder: Encoder, sentence: str, within_word: str) -> float:
    """One mask at a time, by transformers alone."""
    network = encoder.network("AutoModelForMaskedLM")
    encoded = encoder.tokenizer(sentence, return_tensors="pt")
    ids, word_of = encoded["input_ids"], encoded.word_ids(0)
    total = 0.0
    for place in range(1, ids.shape[1] - 1):
        copy = ids.clone()
        for other in range(place, ids.shape[1] - 1):
            if other == place or (within_word == "l2r" and word_of[other] == word_of[place]):
                copy[0, other] = SPECIAL.mask
        logits = network(input_ids=copy, attention_mask=torch.ones_like(copy)).logits[0, place]
        total += float(logits.log_softmax(-1)[ids[0, place]])
    return total


@pytest.mark.parametrize("within_word", ["none", "l2r"])
def test_pseudo_log_likelihoods_equal_one_mask_at_a_time(encoder: Encoder, within_word: str) -> None:
    # "bababubo" is no word of the tiny vocabulary and so several pieces
    sentences = [WORD[3], f"{WORD[1]} {WORD[2]} {WORD[3]}", "bababubo " + WORD[5], f"{WORD[9]} bababubo, {WORD[2]}."]
    assert max(len(encoder.tokenizer.tokenize(text)) - len(text.split()) for text in sentences) > 0
    found, cut = pseudo_log_likelihoods(encoder, encoder.network("AutoModelForMaskedLM"), sentences, within_word)
    np.testing.assert_allclose(found, [naive(encoder, text, within_word) for text in sentences], atol=1e-4)
    assert cut == 0


def test_masking_the_rest_of_a_word_changes_words_of_several_pieces_alone(encoder: Encoder) -> None:
    network = encoder.network("AutoModelForMaskedLM")
    sentences = [f"{WORD[1]} {WORD[2]}", "bababubo"]
    plain, _ = pseudo_log_likelihoods(encoder, network, sentences, "none")
    corrected, _ = pseudo_log_likelihoods(encoder, network, sentences, "l2r")
    assert plain[0] == pytest.approx(corrected[0], abs=1e-5)
    assert abs(plain[1] - corrected[1]) > 1e-3


def test_batches_of_any_size_give_the_same_sums(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from sctd.scores import pseudo_likelihood

    network = encoder.network("AutoModelForMaskedLM")
    sentences = [" ".join(WORD[i : i + 2 + i % 3]) for i in range(20)]
    seen: list[int] = []
    whole, _ = pseudo_log_likelihoods(encoder, network, sentences, advance=seen.append)
    assert sum(seen) == 20
    monkeypatch.setattr(pseudo_likelihood, "COPIES_TOKENS", 1)
    alone, _ = pseudo_log_likelihoods(encoder, network, sentences)
    np.testing.assert_allclose(whole, alone, atol=1e-4)


def test_logits_of_one_row_are_those_of_the_whole_network(encoder: Encoder) -> None:
    network = encoder.network("AutoModelForMaskedLM")
    ids = torch.randint(5, 200, (3, 9), generator=torch.Generator().manual_seed(1))
    rows = torch.tensor([1, 4, 7])

    class Other(torch.nn.Module):
        """The same network under no name that is known."""

        def forward(self, input_ids: torch.Tensor) -> Any:
            return network(input_ids=input_ids)

    with torch.no_grad():
        torch.testing.assert_close(logits_at(network, ids, rows), logits_at(Other(), ids, rows), rtol=1e-4, atol=1e-5)


def test_sentences_that_are_too_long_are_cut_and_counted(encoder: Encoder) -> None:
    _, cut = pseudo_log_likelihoods(encoder, encoder.network("AutoModelForMaskedLM"), [" ".join(WORD), WORD[0]])
    assert cut == 1


def liking(folder: Path, word: str) -> str:
    """A model to which one word is always likelier than it should be."""
    encoder = tiny_encoder(folder, max_length=24)
    network = encoder.network("AutoModelForMaskedLM")
    with torch.no_grad():
        network.cls.predictions.bias[encoder.tokenizer.convert_tokens_to_ids(word)] += 50.0
    network.save_pretrained(folder)
    return str(folder)


def test_a_model_is_right_where_it_likes_the_good_sentence_s_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = liking(tmp_path / "model", WORD[7])
    data = tmp_path / "data"
    good = [row(f"{WORD[i]} {WORD[7]}", f"{WORD[i]} {WORD[8]}", "likes", "one") for i in range(4)]
    write(data, "likes", *good)
    write(data, "half", good[0] | {"UID": "half"}, row(f"{WORD[1]} {WORD[8]}", f"{WORD[1]} {WORD[7]}", "half", "one"))
    write(data, "tie", row(WORD[3], WORD[3], "tie", "two"))
    results = blimp(model, str(data), str(tmp_path / "out"), **CPU)
    sets = results["model"]["sets"]
    assert {name: (each["correct"], each["pairs"]) for name, each in sets.items()} == {
        "half": (1, 2),
        "likes": (4, 4),
        "tie": (0, 1),
    }
    assert results["model"]["phenomena"] == {"one": 0.75, "two": 0.0}
    assert results["model"]["overall"] == pytest.approx(0.5)
    assert json.loads((tmp_path / "out/blimp.json").read_text())["model"] == results["model"]
    shown = capsys.readouterr().out
    assert "75.0" in shown
    assert "50.0" in shown


def test_overall_is_the_mean_over_sets_whatever_their_sizes() -> None:
    sets = [MinimalPairs("a", "p", "f", (("x", "y"),) * 3), MinimalPairs("b", "p", "g", (("x", "y"),))]
    found = summarise(sets, {"a": [1.0, 2.0, -1.0], "b": [-1.0]})
    assert found["overall"] == found["phenomena"]["p"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["fields"] == {"f": pytest.approx(2 / 3), "g": 0.0}


def test_a_stopped_command_goes_on_set_by_set(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for name in ("a", "b", "c"):
        write(data, name, row(WORD[1], WORD[2], name))
    score_set, done = module.score_set, []

    def stopped(encoder: Any, network: Any, pairs: Any, *rest: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(pairs.name)
        return score_set(encoder, network, pairs, *rest)

    monkeypatch.setattr(module, "score_set", stopped)
    arguments: dict[str, Any] = {"data": str(data), "out": str(tmp_path / "out"), "random_init": False, **CPU}
    with pytest.raises(KeyboardInterrupt):
        blimp(str(encoder.folder), **arguments)
    done.clear()
    results = blimp(str(encoder.folder), **arguments)
    assert done == ["c"]
    assert list(results["model"]["sets"]) == ["a", "b", "c"]
    with pytest.raises(
        UserError, match=r"out holds results of another within_word .none, now l2r.: give another --out"
    ):
        blimp(str(encoder.folder), within_word="l2r", **arguments)


def test_pairs_and_sets_are_chosen(encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    write(data, "a", *[row(WORD[i], WORD[i + 1], "a", "one") for i in range(5)])
    write(data, "b", row(WORD[1], WORD[2], "b", "two"))
    assert [each.name for each in load_pairs(str(data), ["two"], None)] == ["b"]
    assert [each.name for each in load_pairs(str(data), ["a", "two"], None)] == ["a", "b"]
    results = blimp(str(encoder.folder), str(data), pairs=2, sets=["one"], random_init=False, **CPU)
    assert results["model"]["sets"]["a"]["pairs"] == 2
    assert "the first 2 pairs of each set" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match=r'no set or phenomenon "onee"; did you mean "one"\?'):
        load_pairs(str(data), ["onee"], None)


def test_margins_of_other_data_are_not_taken_for_these(encoder: Encoder, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"out": str(tmp_path / "out"), "random_init": False, **CPU}
    first = write(tmp_path / "first", "a", row(WORD[1], WORD[2]))
    second = write(tmp_path / "second", "a", row(WORD[2], WORD[1]))
    one, other = (blimp(str(encoder.folder), str(data), **arguments)["model"]["overall"] for data in (first, second))
    assert {one, other} == {0.0, 1.0}


def test_an_encoder_without_output_head_is_refused(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "model").folder
    load_encoder(folder).network("AutoModel").save_pretrained(folder)
    data = write(tmp_path / "data", "a", row(WORD[1], WORD[2]))
    with pytest.raises(UserError, match=r"has no output head \(.* is missing\)"):
        blimp(str(folder), str(data), **CPU)


def test_a_sentence_without_a_token_is_named(encoder: Encoder) -> None:
    with pytest.raises(UserError, match=r"The sentence '' has no token"):
        pseudo_log_likelihoods(encoder, encoder.network("AutoModelForMaskedLM"), [WORD[1], ""])


def test_several_names_follow_one_flag(encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for name in ("a", "b", "c"):
        write(data, name, row(WORD[1], WORD[2], name, f"of {name}"))
    words = ["--data", str(data), "--sets", "a", "of b", "--device", "cpu", "--random-init", "false"]
    assert main(["blimp", str(encoder.folder), *words]) == 0
    shown = capsys.readouterr().out
    assert "of a" in shown
    assert "of b" in shown
    assert "of c" not in shown


def test_compressed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(row("x", "y")).encode()))
    assert load_pairs(str(tmp_path), None, None) == [MinimalPairs("set_a", "agreement", "syntax", (("x", "y"),))]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{broken\n", r"a.jsonl, line 1, is not JSON"),
        ("[]\n", r"a.jsonl, line 1, is no JSON object"),
        (json.dumps(row("x", " ")) + "\n", r"a.jsonl, line 1: 'sentence_bad' is missing or empty"),
        (json.dumps({"sentence_good": "x"}) + "\n", r"line 1: 'sentence_bad' is missing"),
        (
            json.dumps(row("x", "y")) + "\n" + json.dumps(row("x", "y", "b")) + "\n",
            r"line 2 is of b, .* one set a file",
        ),
        ("", r"a.jsonl has no pairs"),
        ("\xff", r"line 1, is not UTF-8"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=sentence):
        load_pairs(str(tmp_path), None, None)


def test_a_set_that_two_files_hold_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", row("x", "y"))
    write(tmp_path, "b", row("x", "y"))
    with pytest.raises(UserError, match=r"b.jsonl holds the set set_a, as another file there does"):
        load_pairs(str(tmp_path), None, None)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "model").folder
    network = load_encoder(folder).network("AutoModelForMaskedLM")
    with torch.no_grad():
        network.cls.predictions.bias.fill_(float("nan"))
    network.save_pretrained(folder)
    data = write(tmp_path / "data", "a", row(WORD[1], WORD[2]))
    with pytest.raises(UserError, match="gives probabilities that are no numbers"):
        blimp(str(folder), str(data), **CPU)


def test_what_auto_came_to_is_kept(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sctd.train import device

    data = write(tmp_path / "data", "a", row(WORD[1], WORD[2]))
    for fast in (True, False):  # the measurement comes out otherwise the second time
        monkeypatch.setattr(device, "cpu_multiplies_bf16_fast", lambda fast=fast: fast)
        found = blimp(str(encoder.folder), str(data), str(tmp_path / "out"), random_init=False, device="cpu")
        assert found["settings"]["precision"] == "bf16"


def test_what_cannot_be_scored_ends_in_a_sentence(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["blimp", str(encoder.folder), "--data", str(tmp_path / "empty")]) == 2
    assert "has no .jsonl files" in capsys.readouterr().err
    assert main(["blimp", str(encoder.folder), "--data", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    data = write(tmp_path / "data", "a", row(WORD[1], WORD[2]))
    assert main(["blimp", str(encoder.folder), "--data", str(data), "--pairs", "0"]) == 2
    assert "--pairs is 0" in capsys.readouterr().err
    folder = tiny_encoder(tmp_path / "no-mask").folder
    config = json.loads((folder / "tokenizer_config.json").read_text())
    plain = {**config, "tokenizer_class": "PreTrainedTokenizerFast"}  # which has no mask token of its own
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in plain.items() if k != "mask_token"}))
    assert main(["blimp", str(folder), "--data", str(data)]) == 2
    assert "has no mask token" in capsys.readouterr().err


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def no_hub(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "get_dataset_config_names", no_hub)
    with pytest.raises(UserError, match=r"hf:nyu-mll/blimp cannot be had .*no route"):
        load_pairs(None, None, None)


def test_the_hub_s_rows_become_the_same_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = {"set_b": [row("x", "y", "set_b")], "set_a": [row("v", "w")]}
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda _: list(rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda _, name, split: datasets.Dataset.from_list(rows[name]))
    assert [each.name for each in load_pairs(None, None, None)] == ["set_a", "set_b"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/blimp is not there")
def test_the_shared_copy_reads_whole() -> None:
    sets = load_pairs(str(SHARED), None, None)
    assert len(sets) == 67
    # the files name 13 phenomena: s-selection apart from the argument structure that the paper counts it to
    assert len({each.phenomenon for each in sets}) == 13
    assert {len(each.pairs) for each in sets} == {1000}
