"""What of evaluation text stands in pretraining text: planted sentences, counted by hand, and Python's sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import SPECIAL, make_prepared, vocabulary
from sctd.cli import main
from sctd.errors import UserError
from sctd.files import sha256_file
from sctd.scores import ngram_index
from sctd.scores.ngram_index import pieces, search
from sctd.scores.overlap import Match, count, look_up, overlap
from sctd.scores.tasks.task import ChoiceExample, SpanExample, TextExample, WordPairExample, checksum_of
from sctd.tokens.encode import encode_documents
from sctd.tokens.manifest import TOKENIZER, read_manifest
from sctd.tokens.packing import pack
from sctd.tokens.prepared import TokenSplit, load_prepared
from sctd.tokens.shards import ShardWriter
from sctd.tokens.tokenizer import describe_tokenizer, open_encoder

WORDS = [word for word in vocabulary(200)[5:] if not word.startswith("##")]  # each is one token


def text(*numbers: int) -> str:
    return " ".join(WORDS[number] for number in numbers)


def prepared(tmp_path: Path, documents: list[str], seq_len: int = 8) -> Path:
    """A data folder whose training split holds these documents, two rows a shard."""
    folder = tmp_path / "data"
    if not folder.exists():
        make_prepared(tmp_path, seq_len=seq_len)
    for old in folder.glob("train-*.npy"):
        old.unlink()
    manifest = read_manifest(folder)
    stream = encode_documents(open_encoder(folder / TOKENIZER), documents, SPECIAL.sep)
    writer = ShardWriter(folder, "train", seq_len, manifest.dtype, shard_bytes=2 * seq_len * 2)
    for rows in pack([stream], seq_len, SPECIAL):
        writer.add(rows)
    shards = writer.close()
    tokens, sequences = int((stream != SPECIAL.sep).sum()), sum(shard.sequences for shard in shards)
    train = replace(
        manifest.splits["train"], documents=len(documents), tokens=tokens, sequences=sequences, shards=shards
    )
    replace(manifest, splits=manifest.splits | {"train": train}).write(folder)
    return folder


def match(tmp_path: Path, documents: list[str], sentence: str, n: int = 8) -> Match:
    return look_up([sentence], load_prepared(prepared(tmp_path, documents)), n)[sentence]


def test_a_sentence_is_found_whole_across_row_and_shard_borders(tmp_path: Path) -> None:
    found = match(tmp_path, [text(*range(30))], text(*range(3, 28)))  # rows hold 6 tokens
    assert found == Match(grams=18, grams_found=18, whole=True, too_short=False)


def test_nothing_matches_across_a_documents_end(tmp_path: Path) -> None:
    documents = [text(*range(10)), text(*range(10, 20))]
    assert match(tmp_path, documents, text(*range(5, 15))) == Match(3, 0, whole=False, too_short=False)
    # of its 7 4-grams, 5 6 7 8 and 6 7 8 9 stand in the first document, 10 .. 13 and 11 .. 14 in the second
    assert match(tmp_path, documents, text(*range(5, 15)), n=4) == Match(7, 4, whole=False, too_short=False)


@pytest.mark.parametrize("length", [4, 5, 6, 7, 17])
def test_a_whole_document_is_found_wherever_it_ends_in_its_row(tmp_path: Path, length: int) -> None:
    documents = [text(*range(40, 45)), text(*range(length))]
    found = match(tmp_path, documents, text(*range(length)))
    assert (found.whole, found.share) == (True, 1.0 if length >= 8 else 0.0)
    assert not match(tmp_path, documents, text(*range(length), length)).whole
    assert not match(tmp_path, documents, text(44, *range(length))).whole


def test_of_24_tokens_with_one_changed_9_of_17_n_grams_are_left(tmp_path: Path) -> None:
    changed = text(*range(12), 50, *range(13, 24))
    found = match(tmp_path, [text(*range(30))], changed)
    assert found == Match(17, 9, whole=False, too_short=False)
    examples = [TextExample("a", changed, 0)]
    assert count(examples, {changed: found}, threshold=0.5)["flagged"] == ["a"]
    assert count(examples, {changed: found}, threshold=0.53)["flagged"] == []


def test_a_text_whose_beginning_stands_in_many_places_is_found_at_the_right_one(tmp_path: Path) -> None:
    documents = [text(*range(9), 30), text(*range(9), 31), text(*range(9), 32, 33), text(*range(8))]
    data = load_prepared(prepared(tmp_path, documents))
    wanted = {
        text(*range(9), 32, 33): True,
        text(*range(9), 31): True,
        text(*range(9), 31, 33): False,
        text(*range(9)): True,
    }
    assert {sentence: found.whole for sentence, found in look_up([*wanted], data, 8).items()} == wanted


def test_short_texts_are_looked_up_whole_from_four_tokens_on(tmp_path: Path) -> None:
    documents = [text(*range(30))]
    assert match(tmp_path, documents, text(9, 10, 11, 12)) == Match(0, 0, whole=True, too_short=False)
    assert match(tmp_path, documents, text(9, 10, 12, 11)) == Match(0, 0, whole=False, too_short=False)
    assert match(tmp_path, documents, text(9, 10, 11)) == Match(0, 0, whole=False, too_short=True)
    assert match(tmp_path, documents, text(9, 10, 11), n=3) == Match(1, 1, whole=True, too_short=False)
    assert match(tmp_path, documents, "") == Match(0, 0, whole=False, too_short=True)


def test_an_unknown_token_matches_nothing(tmp_path: Path) -> None:
    sentence = text(*range(9)) + " 漢 " + text(9)
    assert match(tmp_path, [sentence], sentence) == Match(4, 2, whole=False, too_short=False)


def test_paragraphs_follow_each_other_as_prepare_joins_them(tmp_path: Path) -> None:
    assert match(tmp_path, [text(*range(20))], text(1, 2, 3, 4) + " \n\n" + text(5, 6, 7, 8, 9)).whole


def byte_level_tokenizer(folder: Path) -> None:
    """One token a byte, and one for a space with a t: a word that begins with t is other tokens after a space."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt"]
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [("Ġ", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(names[:5])
    tokenizer.save(str(folder / "tokenizer.json"))
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | dict(zip(keys, names, strict=False))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_text_is_known_within_a_paragraph_and_at_its_start_where_the_tokenizer_tells_them_apart(
    tmp_path: Path,
) -> None:
    folder = make_prepared(tmp_path, vocab_size=262, seq_len=8)
    byte_level_tokenizer(folder / TOKENIZER)
    manifest = read_manifest(folder)
    replace(manifest, tokenizer=describe_tokenizer(folder / TOKENIZER)).write(folder)
    data = load_prepared(prepared(tmp_path, ["the cat ran and the dog sat"]))
    found = look_up(["the cat ran", "the dog sat", "the cat sat"], data, 5)
    assert [each.whole for each in found.values()] == [True, True, False]
    # read after a space, its first 5-gram is Ġt h e Ġ d, which stands there; t h e Ġ d does not
    assert found["the dog sat"] == Match(7, 7, whole=True, too_short=False)


def sets_of_tuples(
    texts: Sequence[Sequence[int]], documents: Sequence[Sequence[int]], n: int, shortest: int
) -> list[tuple[int, int, bool]]:
    """The same by Python's sets."""
    every = {
        tuple(document[i:j])
        for document in documents
        for i in range(len(document))
        for j in range(i + 1, len(document) + 1)
    }
    out = []
    for ids in map(tuple, texts):
        grams = [ids[i : i + n] for i in range(len(ids) - n + 1)]
        out.append((len(grams), sum(gram in every for gram in grams), len(ids) >= min(n, shortest) and ids in every))
    return out


def searched(
    texts: Sequence[Sequence[int]], documents: Sequence[Sequence[int]], n: int, vocab_size: int, seq_len: int
) -> list[tuple[int, int, bool]]:
    stream = np.array([token for document in documents for token in [*document, SPECIAL.sep]])
    rows = np.concatenate(list(pack([stream], seq_len, SPECIAL)))
    found = search([np.array(ids, dtype=np.int64) for ids in texts], TokenSplit([rows], seq_len), vocab_size, n, 4)
    return list(zip(found.grams.tolist(), found.grams_found.tolist(), found.whole.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_the_counts_are_those_of_sets_of_tuples(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = np.random.default_rng(seed)
    vocab_size, seq_len, n = random.integers([8, 8, 2], [12, 14, 9]).tolist()
    monkeypatch.setattr(ngram_index, "PIECE_TOKENS", int(random.integers(1, 60)))
    documents = [random.integers(5, vocab_size, size=random.integers(1, 40)).tolist() for _ in range(12)]
    texts = [random.integers(5, vocab_size + 1, size=random.integers(0, 12)).tolist() for _ in range(30)]
    texts += documents[:4] + [document[2:-1] for document in documents[:4]]
    assert searched(texts, documents, n, vocab_size, seq_len) == sets_of_tuples(texts, documents, n, 4)


def test_what_only_the_hash_finds_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def sums(seed: int, vocab_size: int) -> tuple[Any, Any]:
        return np.arange(vocab_size + 1, dtype=np.uint64), np.uint64(1)

    monkeypatch.setattr(ngram_index, "hash_values", sums)
    wanted = [10, 11, 12, 13]
    assert searched([wanted], [[13, 12, 11, 10, 9, 12, 12, 13]], 4, 20, 8) == [(1, 0, False)]
    assert searched([wanted], [[13, 12, 11, 10, 11, 12, 13]], 4, 20, 8) == [(1, 1, True)]


def test_hashes_that_do_not_tell_the_texts_n_grams_apart_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = ngram_index.hash_values, []

    def first_one_bad(seed: int, vocab_size: int) -> tuple[Any, Any]:
        asked.append(seed)
        values, base = real(seed, vocab_size)
        return (values, base) if seed else (np.zeros_like(values), base)

    monkeypatch.setattr(ngram_index, "hash_values", first_one_bad)
    assert searched([[5, 6, 7, 8], [6, 7, 8, 9]], [[5, 6, 7, 8]], 4, 20, 8) == [(1, 1, True), (1, 0, False)]
    assert asked == [0, 1]


def test_pieces_join_the_rows_again_and_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_index, "PIECE_TOKENS", 6)
    rows = next(pack([np.array([10, 11, 12, 3, 13, 14, 15, 16, 3])], 5, SPECIAL))  # inner: 10 11 12 | 3 13 14 | ...
    split = TokenSplit([rows, np.array([[2, 15, 16, 3, 0]])], 5)
    found = [(size, ids.tolist()) for size, ids in pieces(split, ahead=2)]
    assert found == [(6, [10, 11, 12, 3, 13, 14, 15, 16]), (3, [15, 16, 3, -1, -1])]


def test_a_context_that_repeats_counts_once_and_flags_each_of_its_questions(tmp_path: Path) -> None:
    data = load_prepared(prepared(tmp_path, [text(*range(30))]))
    known, other = text(*range(2, 22)), text(*range(40, 60))
    examples = [
        SpanExample("q1", text(60, 61, 62, 63), known, ()),
        SpanExample("q2", text(60, 61, 62, 64), known, ()),
        SpanExample("q3", text(60, 61, 62, 64), other, ()),
        SpanExample("q4", text(3, 4, 5, 6), other, ()),
        SpanExample("q5", text(3, 4), other, ()),
    ]
    matches = look_up([side for each in examples for side in (each.question, each.context)], data, 8)
    assert count(examples, matches, 0.5) == {
        "of": checksum_of(examples),
        "examples": 5,
        "texts": 6,
        "too_short": 1,
        "whole_texts": 2,
        "whole_short": 1,
        "ngrams": 26,  # 13 of each context
        "ngrams_found": 13,
        "share": 0.5,
        "flagged": ["q1", "q2", "q4"],
        "whole": ["q1", "q2", "q4"],
    }


def test_every_side_of_every_kind_of_example_counts() -> None:
    nothing, all_of_it = Match(3, 0, False, False), Match(3, 3, True, False)
    kinds: list[tuple[Any, int]] = [
        (TextExample("a", "1", 0), 1),
        (TextExample("a", "1", 0, second="2"), 2),
        (ChoiceExample("a", "1", ("2", "3"), 0), 3),
        (WordPairExample("a", "w", "1", "2", ((0, 1), (0, 1)), 0), 2),
        (SpanExample("a", "1", "2", ()), 2),
    ]
    for example, sides in kinds:
        for side in map(str, range(1, sides + 1)):
            matches = dict.fromkeys("123", nothing) | {side: all_of_it}
            assert count([example], matches, 0.5)["flagged"] == ["a"]
        assert count([example], dict.fromkeys("123", nothing), 0.5)["texts"] == sides


def test_examples_that_are_scored_together_are_flagged_together() -> None:
    matches = {"found": Match(3, 3, True, False), "new": Match(3, 0, False, False)}
    groups = [("1", "new", "q1"), ("2", "found", "q1"), ("3", "new", "q2"), ("4", "new", None), ("5", "found", None)]
    found = count([TextExample(name, side, 0, group=group) for name, side, group in groups], matches, 0.5)
    assert (found["flagged"], found["whole"]) == (["1", "2", "5"], ["2", "5"])


def test_the_verb_counts_text_files_and_writes_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = prepared(tmp_path, [text(*range(30)), text(*range(30, 60))])
    lines = f"{text(*range(3, 15))}\n\n{text(*range(60, 70))}\n{text(1, 2)}\n"
    Path("a[b].txt").write_text(lines, encoding="utf-8")
    Path("c.txt").write_text(text(*range(30, 40)), encoding="utf-8")
    assert main(["overlap", "--data", str(data), "--texts", "a[b].txt", "c.txt", "--out", "out"]) == 0
    found = json.loads(Path("out/overlap.json").read_text())
    assert found["settings"] == {"tasks": [], "tasks_data": None, "n": 8, "threshold": 0.5}
    assert found["data"] == {"path": str(data), "manifest_sha256": sha256_file(data / "manifest.json"), "tokens": 60}
    assert found["tasks"] == {}
    assert found["texts"]["c.txt"]["flagged"] == ["1"]
    counts = found["texts"]["a[b].txt"]
    assert (counts["examples"], counts["too_short"], counts["ngrams"], counts["ngrams_found"]) == (3, 1, 8, 5)
    assert counts["flagged"] == counts["whole"] == ["1"]
    shown = capsys.readouterr().out
    assert "Looked up in 60 tokens" in shown
    assert [line.replace("│", " ").split() for line in shown.splitlines() if ".txt" in line] == [
        ["a[b].txt", "3", "3", "1", "1", "0", "62.5%", "1"],
        ["c.txt", "1", "1", "0", "1", "0", "100.0%", "1"],
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "There is nothing to look up: give --tasks NAMES or --texts FILES"),
        ({"texts": ["good.txt"], "n": 1}, "--n is 1; it must be 2 or more"),
        ({"texts": ["good.txt"], "threshold": 0.0}, "--threshold is 0.0; it must be above 0"),
        ({"texts": ["good.txt"], "threshold": 1.5}, "--threshold is 1.5; .* at most 1"),
        ({"texts": ["good.txt"], "threshold": float("nan")}, "--threshold is nan"),
        ({"texts": ["nowhere.txt"]}, r"Cannot read nowhere\.txt: No such file"),
        ({"texts": ["."]}, r"Cannot read \.: Is a directory"),
        ({"texts": ["blank.txt"]}, r"blank\.txt has no text: give a text file"),
        ({"texts": ["latin.txt"]}, r"latin\.txt, line 2, is not UTF-8"),
        ({"texts": ["good.txt"], "data": "nowhere"}, "nowhere is not a folder: give the folder that sctd prepare"),
        ({"texts": ["good.txt"], "out": "good.txt"}, r"--out good\.txt is a file: give a folder"),
        ({"tasks": ["colaa"]}, 'did you mean "cola"'),
        ({"tasks": ["cola"], "tasks_data": "empty"}, "empty"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], message: str
) -> None:
    prepared(tmp_path, [text(*range(30))])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Path("good.txt").write_text("baba babe bada bade")
    Path("blank.txt").write_text("\n \n")
    Path("latin.txt").write_bytes(b"good\nna\xefve\n")
    with pytest.raises(UserError, match=message):
        overlap(**{"data": "data", "out": "out"} | flags)
    assert not Path("out").exists()
