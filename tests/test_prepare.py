"""The verb prepare, from files to a data folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from helpers import write_tokenizer
from sctd.errors import UserError
from sctd.tokens.manifest import Manifest
from sctd.tokens.prepare import prepare
from sctd.tokens.prepared import load_prepared

ROOT = Path(__file__).parents[1]
SYLLABLES = ["ba", "be", "bi", "bo", "bu", "da", "de", "di", "do", "du"]


def text_of(number: int, seed: int = 0) -> list[str]:
    """Documents of 1 to 6 paragraphs of known words."""
    draw = random.Random(seed)
    words = [a + b for a in SYLLABLES for b in SYLLABLES]
    return [
        "\n".join(" ".join(draw.choices(words, k=draw.randrange(3, 40))) for _ in range(draw.randrange(1, 7)))
        for _ in range(number)
    ]


def write_corpus(folder: Path, number: int = 300, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    texts = text_of(number, seed)
    half = number // 2
    (folder / "a.txt").write_text("\n\n".join(texts[:half]) + "\n")
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[half:]))
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer", 200)
    return tmp_path / "tokenizer"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 10 kB instead of 4 MiB, so that small corpora have many."""
    from functools import partial

    from sctd.text.blocks import read_blocks

    monkeypatch.setattr("sctd.tokens.stages.read_blocks", partial(read_blocks, block_bytes=10_000))


def run(corpus: Path | list[str], out: Path, **options: Any) -> Manifest:
    places = corpus if isinstance(corpus, list) else [str(corpus)]
    return prepare(places, str(out), **({"seq_len": 32, "vocab_size": 200} | options))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def documents_of(folder: Path, split: str) -> list[str]:
    """The documents of a split, read back from its rows."""
    from transformers import AutoTokenizer

    data = load_prepared(folder)
    special = data.manifest.special
    rows = getattr(data, split)
    stream = rows.rows(np.arange(len(rows)))[:, 1:-1].ravel()
    stream = stream[stream != special.pad]
    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer_dir)
    ends = [*np.flatnonzero(stream == special.sep).tolist(), len(stream)]
    texts, start = [], 0
    for end in ends:
        texts.append(tokenizer.decode(stream[start:end]))
        start = end + 1
    return [text for text in texts if text]


def test_every_document_is_found_again_in_exactly_one_split(corpus: Path, tmp_path: Path) -> None:
    manifest = run(corpus, tmp_path / "out", validation_share=0.1)
    train, validation = (documents_of(tmp_path / "out", split) for split in ("train", "validation"))
    expected = [" ".join(text.split("\n")) for text in text_of(300)]
    assert sorted(train + validation) == sorted(expected)
    order = {text: i for i, text in enumerate(expected)}
    assert [order[text] for text in train] == sorted(order[text] for text in train)
    assert 15 <= len(validation) <= 50
    assert manifest.splits["train"].documents == len(train)
    assert manifest.splits["validation"].documents == len(validation)
    sizes = [len("\n".join(text.split("\n")).encode()) for text in text_of(300)]
    assert manifest.splits["train"].bytes + manifest.splits["validation"].bytes == sum(sizes)


def test_the_folder_is_as_the_design_has_it(corpus: Path, tmp_path: Path) -> None:
    manifest = run(corpus, tmp_path / "out")
    assert set(files_of(tmp_path / "out")) == {
        "manifest.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "unigram.npy",
        "train-00000.npy",
        "validation-00000.npy",
    }
    data = load_prepared(tmp_path / "out")
    assert data.manifest == manifest
    rows = data.train.rows(np.arange(len(data.train)))
    special = manifest.special
    assert (rows[:, 0] == special.cls).all()
    assert (rows[:-1, -1] == special.sep).all()
    assert (rows[:-1] != special.pad).all()
    assert special.mask not in rows
    text = rows[~np.isin(rows, special.all())]
    np.testing.assert_array_equal(np.bincount(text, minlength=manifest.vocab_size), data.unigram)
    assert manifest.splits["train"].tokens == len(text)
    share = data.unigram[data.unigram > 0] / len(text)
    assert manifest.unigram_entropy == pytest.approx(-(share * np.log(share)).sum())
    assert manifest.provenance["inputs"] == [
        {"path": str(corpus / name), "bytes": (corpus / name).stat().st_size} for name in ("a.txt", "b.jsonl")
    ]
    assert manifest.provenance["settings"]["seq_len"] == 32


def test_the_result_does_not_depend_on_the_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    for workers in (1, 4):
        run(corpus, tmp_path / str(workers), workers=workers)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "4")


def test_duplicates_are_removed_and_counted(tmp_path: Path) -> None:
    texts = text_of(100)
    (tmp_path / "a.txt").write_text("\n\n".join(texts + texts[:30]))
    (tmp_path / "b.txt").write_text("\n\n".join(text.replace("\n", " \r\n ") for text in texts[50:60]))
    manifest = run([str(tmp_path / "*.txt")], tmp_path / "out")
    assert manifest.duplicates_removed == 40
    assert sum(split.documents for split in manifest.splits.values()) == 100


def test_what_is_held_out_does_not_depend_on_order_or_seed(tmp_path: Path, tokenizer: Path) -> None:
    texts = text_of(200)
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    (tmp_path / "b.txt").write_text("\n\n".join(reversed(texts)))
    held_out = []
    for name, seed in (("a", 1), ("b", 2)):
        run([str(tmp_path / f"{name}.txt")], tmp_path / name, tokenizer=str(tokenizer), seed=seed)
        held_out.append(sorted(documents_of(tmp_path / name, "validation")))
    assert held_out[0] == held_out[1]


def test_a_given_tokenizer_is_used_as_it_is(corpus: Path, tmp_path: Path, tokenizer: Path) -> None:
    manifest = run(corpus, tmp_path / "out", tokenizer=str(tokenizer))
    assert manifest.vocab_size == 200
    places = (tokenizer / "tokenizer.json", tmp_path / "out/tokenizer/tokenizer.json")
    given, used = (Tokenizer.from_file(str(place)) for place in places)
    assert given.get_vocab() == used.get_vocab()
    row = load_prepared(tmp_path / "out").train.rows(np.array([0]))[0]
    first = given.encode(text_of(1)[0], add_special_tokens=False).ids
    assert row[1:31].tolist() == first[:30]


def test_text_that_the_tokenizer_does_not_know_is_pointed_out(
    corpus: Path, tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(corpus, tmp_path / "out", tokenizer=str(tokenizer))
    assert "of the tokens are unknown to the tokenizer" in capsys.readouterr().err


def test_byte_level_bpe_can_be_trained(corpus: Path, tmp_path: Path) -> None:
    manifest = run(corpus, tmp_path / "out", kind="bpe", vocab_size=320)
    assert (manifest.tokenizer.kind, manifest.vocab_size) == ("BPE", 320)


def test_a_hugging_face_data_set_is_input_too(tmp_path: Path, tokenizer: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"body": text_of(60)}).save_to_disk(tmp_path / "set")
    manifest = run([f"hf:{tmp_path / 'set'}"], tmp_path / "out", text_key="body", tokenizer=str(tokenizer))
    assert sum(split.documents for split in manifest.splits.values()) == 60


def test_documents_of_one_token_are_fine(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(text_of(1)[0].split()[0] + s for s in SYLLABLES) + "\nbaba" * 90)
    manifest = run([str(tmp_path / "a.txt")], tmp_path / "out", tokenizer=str(tokenizer), seq_len=8)
    assert manifest.splits["validation"].documents == 1
    assert manifest.splits["validation"].sequences == 1


def test_two_documents_are_enough(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.txt").write_text("baba " * 40 + "\n\n" + "bebe " * 40)
    manifest = run([str(tmp_path / "a.txt")], tmp_path / "out", tokenizer=str(tokenizer))
    assert [manifest.splits[split].documents for split in ("train", "validation")] == [1, 1]


def test_importing_the_verb_imports_nothing_heavy() -> None:
    heavy = "numpy tokenizers transformers datasets pyarrow zstandard torch"
    code = f"import sys, sctd.tokens.prepare; print([m for m in '{heavy}'.split() if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert out.stdout.strip() == "[]"


# what is refused


def refused(said: str, corpus: Path | list[str], out: Path, **options: Any) -> None:
    before = files_of(out) if out.is_dir() else out.exists()
    with pytest.raises(UserError) as caught:
        run(corpus, out, **options)
    sentence = str(caught.value)
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert (files_of(out) if out.is_dir() else out.exists()) == before, "something was left half-written"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seq_len": 7}, "--seq-len 7 is out of range: give 8 to 32768"),
        ({"seq_len": 10**6}, "--seq-len 1000000 is out of range"),
        ({"validation_share": 0.0}, "--validation-share 0.0 is out of range"),
        ({"validation_share": 0.9}, "--validation-share 0.9 is out of range"),
        ({"workers": 0}, "--workers 0 is out of range"),
        ({"vocab_size": 50}, "--vocab-size 50 is too small"),
        ({"tokenizer": "/nowhere/at/all"}, "/nowhere/at/all is no tokenizer"),
        ({"text_key": "body"}, "b.jsonl, line 1, has no key 'body' (keys: text)"),
    ],
)
def test_bad_flags_are_refused(corpus: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    refused(said, corpus, tmp_path / "out", **options)


def test_bad_input_at_the_very_end_is_refused_before_any_work(corpus: Path, tmp_path: Path) -> None:
    (corpus / "z.txt").write_bytes(b"\xff\xfe")
    refused("z.txt, line 1, is not UTF-8", corpus, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    refused("z.txt, line 1, is not UTF-8", corpus, tmp_path / "empty")


def test_input_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n\n \n")
    refused("There is no text in", [str(tmp_path / "blank.txt")], tmp_path / "out")


def test_a_single_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("baba\nbebe\n")
    refused("There is only one document in", [str(tmp_path / "a.txt")], tmp_path / "out", documents="file")


def test_of_lines_that_are_all_the_same_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("baba bebe\n" * 40)
    said = "a.txt, 39 more being the same text, and one must be held out for validation: add another."
    refused(said, [str(tmp_path / "a.txt")], tmp_path / "out", documents="line")


def test_a_corpus_of_less_than_one_sequence_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.txt").write_text("baba\nbebe\n")
    said = "The training text makes 1 tokens, less than one sequence of 32: add text"
    refused(said, [str(tmp_path / "a.txt")], tmp_path / "out", tokenizer=str(tokenizer))


def test_a_folder_with_other_things_is_refused(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.doc").write_text("precious")
    refused("out holds other files: choose a new or empty folder", corpus, out)
    refused("thesis.doc is a file: choose a folder", corpus, out / "thesis.doc")


def test_a_finished_folder_is_left_alone(corpus: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    first = run(corpus, out)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    assert run(corpus, out) == first
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    refused("already holds finished data made with seq_len 32 instead of 64", corpus, out, seq_len=64)
    (corpus / "c.txt").write_text("more")
    refused("already holds finished data made with other input files", corpus, out)


def test_a_place_that_cannot_be_written_is_named(corpus: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot write to .*a\.txt/below"):
        run(corpus, corpus / "a.txt" / "below")


def test_two_at_once_are_refused(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sctd.tokens import stages

    original = stages.encode

    def second_run(*arguments: Any, **options: Any) -> Any:
        with pytest.raises(UserError, match="Another sctd prepare is at work in"):
            run(corpus, tmp_path / "out")
        return original(*arguments, **options)

    monkeypatch.setattr(stages, "encode", second_run)
    run(corpus, tmp_path / "out")
    load_prepared(tmp_path / "out")


def test_input_that_changes_while_it_is_read_is_noticed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sctd.tokens import stages

    original = stages.encode

    def encode_after_a_change(*arguments: Any, **options: Any) -> Any:
        (corpus / "a.txt").write_text("other text\n\nnow")
        return original(*arguments, **options)

    monkeypatch.setattr(stages, "encode", encode_after_a_change)
    refused("The input changed while it was read", corpus, tmp_path / "out")
