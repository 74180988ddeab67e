"""Tokenizers: trained ones, given ones, and what text becomes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import vocabulary, write_tokenizer
from sctd.errors import UserError
from sctd.tokens.encode import PIECE_CHARS, encode_documents
from sctd.tokens.tokenizer import copy_tokenizer, describe_tokenizer, open_encoder
from sctd.tokens.train_tokenizer import Kind, check_vocab_size, train_tokenizer

BERT_VOCAB = Path(__file__).parents[2] / "shared/data/vocab/bert-base-uncased-vocab.txt"


def paragraphs() -> list[str]:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzéß漢字", k=draw.randrange(2, 9))) for _ in range(500)]
    return [" ".join(draw.choices(words, k=20)).capitalize() + "." for _ in range(200)]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_trained_tokenizer_loads_in_transformers_with_its_special_tokens(tmp_path: Path, kind: Kind) -> None:
    from transformers import AutoTokenizer

    train_tokenizer(paragraphs(), tmp_path, kind, 600, lowercase=True, seq_len=64)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == 600
    assert tokenizer.model_max_length == 64
    assert tokenizer.is_fast
    text = paragraphs()[0]
    ids = tokenizer(text).input_ids
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.unk_token_id not in ids
    back = tokenizer.decode(ids, skip_special_tokens=True).strip().replace(" .", ".")
    if kind == "bpe":  # WordPiece takes the accents off, and the blanks between Chinese characters for its own
        assert back == text.lower()
    pair = tokenizer("one", "two")
    assert pair.input_ids.count(tokenizer.sep_token_id) == 2
    assert tokenizer("[MASK]", add_special_tokens=False).input_ids == [tokenizer.mask_token_id]


def test_a_trained_wordpiece_is_loaded_as_a_bert_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    train_tokenizer(paragraphs(), tmp_path, "wordpiece", 300, lowercase=True, seq_len=64)
    assert type(AutoTokenizer.from_pretrained(tmp_path)).__name__.startswith("BertTokenizer")
    assert describe_tokenizer(tmp_path).kind == "WordPiece"


def test_continuing_pieces_are_common_tokens_not_special_ones(tmp_path: Path) -> None:
    train_tokenizer(paragraphs(), tmp_path, "wordpiece", 300, lowercase=True, seq_len=64)
    added = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    assert [token["content"] for token in added] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_case_is_kept_when_asked(tmp_path: Path, kind: Kind) -> None:
    ids = {}
    for lowercase in (True, False):
        folder = tmp_path / str(lowercase)
        folder.mkdir()
        train_tokenizer(["Great great GREAT"] * 50, folder, kind, 400, lowercase, 64)
        encoder = open_encoder(folder)
        ids[lowercase] = [encoder.encode(word, add_special_tokens=False).ids for word in ("Great", "great")]
    assert ids[True][0] == ids[True][1]
    assert ids[False][0] != ids[False][1]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_training_gives_the_same_bytes_in_every_process(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "text").write_text("\n".join(paragraphs()), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from sctd.tokens.train_tokenizer import train_tokenizer\n"
        "text = Path('text').read_text(encoding='utf-8').split('\\n'); out = Path(sys.argv[1]); out.mkdir()\n"
        f"train_tokenizer(text, out, '{kind}', 500, True, 64)"
    )
    for name in ("a", "b", "c"):
        subprocess.run([sys.executable, "-c", code, name], cwd=tmp_path, check=True, env=environment())
    files = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("a", "b", "c")]
    assert files[0] == files[1] == files[2]


def environment() -> dict[str, str]:
    import os

    import sctd

    return os.environ | {"PYTHONPATH": str(Path(sctd.__file__).parents[1])}


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 99), ("bpe", 299)])
def test_a_vocabulary_that_cannot_hold_its_alphabet_is_refused(kind: Kind, size: int) -> None:
    check_vocab_size(kind, size + 1)
    with pytest.raises(UserError, match=f"--vocab-size {size} is too small for {kind}: give {size + 1} at least"):
        check_vocab_size(kind, size)


# given ones


def given(folder: Path, **config: object) -> Path:
    write_tokenizer(folder, 100)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def test_a_given_tokenizer_is_copied_and_described(tmp_path: Path) -> None:
    copy_tokenizer(str(given(tmp_path / "given")), tmp_path / "out", 64)
    info = describe_tokenizer(tmp_path / "out")
    assert (info.kind, info.vocab_size) == ("WordPiece", 100)
    assert (info.special.pad, info.special.unk, info.special.cls, info.special.sep, info.special.mask) == (*range(5),)


def test_a_folder_with_only_a_vocab_txt_is_a_bert_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/vocab.txt").write_text("\n".join(vocabulary(200)) + "\n")
    copy_tokenizer(str(tmp_path / "given"), tmp_path / "out", 64)
    assert describe_tokenizer(tmp_path / "out").vocab_size == 200
    assert open_encoder(tmp_path / "out").encode("Baba", add_special_tokens=False).tokens == ["baba"]
    config = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert config["model_max_length"] == 64
    assert str(tmp_path) not in json.dumps(config)


def test_the_vocabulary_of_bert_base_uncased_works(tmp_path: Path) -> None:
    if not BERT_VOCAB.exists():
        pytest.skip("../shared/data/vocab is absent: it is no part of the repository")
    (tmp_path / "given").mkdir()
    (tmp_path / "given/vocab.txt").write_bytes(BERT_VOCAB.read_bytes())
    copy_tokenizer(str(tmp_path / "given"), tmp_path / "out", 128)
    info = describe_tokenizer(tmp_path / "out")
    assert info.vocab_size == 30522
    assert (info.special.cls, info.special.sep, info.special.mask, info.special.pad) == (101, 102, 103, 0)
    encoder = open_encoder(tmp_path / "out")
    assert encoder.encode("Hello, World!", add_special_tokens=False).ids == [7592, 1010, 2088, 999]


def roberta(folder: Path) -> Path:
    """A byte-level BPE whose special tokens have RoBERTa's names and ids in RoBERTa's places."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(paragraphs(), trainer)
    tokenizer.add_special_tokens(["<mask>"])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    names |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_special_tokens_may_have_other_names(tmp_path: Path) -> None:
    copy_tokenizer(str(roberta(tmp_path / "given")), tmp_path / "out", 64)
    info = describe_tokenizer(tmp_path / "out")
    special = info.special
    assert (special.cls, special.pad, special.sep, special.unk, special.mask) == (0, 1, 2, 3, 400)
    assert (info.kind, info.vocab_size) == ("BPE", 401)


@pytest.mark.parametrize("name", ["mask", "cls", "sep", "pad"])
def test_a_tokenizer_without_a_token_that_is_needed_is_refused(tmp_path: Path, name: str) -> None:
    folder = given(tmp_path / "given", tokenizer_class="PreTrainedTokenizerFast", **{f"{name}_token": None})
    with pytest.raises(UserError, match=f"given has no {name} token, which masked language modelling needs"):
        copy_tokenizer(str(folder), tmp_path / "out", 64)


def test_what_is_no_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/tokenizer.json").write_text("{")
    (tmp_path / "vocab.txt").write_text("x")
    for name in ("empty", "broken"):
        with pytest.raises(UserError, match=f"{name} is no tokenizer that transformers can load"):
            copy_tokenizer(str(tmp_path / name), tmp_path / "out", 64)
    with pytest.raises(UserError, match="is a file: --tokenizer takes the folder"):
        copy_tokenizer(str(tmp_path / "vocab.txt"), tmp_path / "out", 64)
    with pytest.raises(UserError, match=r"nowhere is no tokenizer .*there is no such folder"):
        copy_tokenizer(str(tmp_path / "nowhere"), tmp_path / "out", 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tokenizer, settings: tokenizer["model"]["vocab"].update(baba=2**31), "an id of 2,147,483,648"),
        (lambda tokenizer, settings: settings.update(model_max_length=[512]), "is no tokenizer"),
        (lambda tokenizer, settings: settings.update(extra="\ud800"), "cannot be written"),
    ],
)
def test_a_tokenizer_that_would_fail_later_is_refused_now(tmp_path: Path, change: Any, said: str) -> None:
    place = tmp_path / "t"
    write_tokenizer(place, 100)
    files = [place / "tokenizer.json", place / "tokenizer_config.json"]
    read = [json.loads(file.read_text()) for file in files]
    change(*read)
    for file, content in zip(files, read, strict=True):
        file.write_text(json.dumps(content))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=said):
        copy_tokenizer(str(place), tmp_path / "out", 64)


def test_a_vocabulary_without_a_token_for_what_it_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    names = [name for name in vocabulary(100) if name != "[UNK]"]
    (tmp_path / "t" / "vocab.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"is no tokenizer that transformers can load .*\[UNK\]"):
        copy_tokenizer(str(tmp_path / "t"), tmp_path / "out", 64)


# text to ids


def test_a_stream_has_a_separator_after_each_document(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "t", 100)
    encoder = open_encoder(tmp_path / "t")
    one, two = (encoder.encode(text, add_special_tokens=False).ids for text in ("baba babe", "babi"))
    stream = encode_documents(encoder, ["Baba\nbabe", "babi", "\u200b"], sep=3)
    assert stream.tolist() == [*one, 3, *two, 3]
    assert encode_documents(encoder, [], sep=3).tolist() == []


def test_special_tokens_written_in_a_text_are_common_text(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "t", 100)
    stream = encode_documents(open_encoder(tmp_path / "t"), ["baba [MASK] [SEP] [PAD] [CLS]"], sep=3)
    assert stream[-1] == 3
    assert not set(stream[:-1].tolist()) & {0, 2, 3, 4}


def test_very_long_paragraphs_are_encoded_as_if_in_one_piece(tmp_path: Path) -> None:
    train_tokenizer(paragraphs(), tmp_path, "wordpiece", 300, lowercase=True, seq_len=64)
    encoder = open_encoder(tmp_path)
    text = " ".join(paragraphs()).replace("\n", " ") * 3
    assert len(text) > 4 * PIECE_CHARS
    whole = encoder.encode(text, add_special_tokens=False).ids
    assert encode_documents(encoder, [text], sep=3).tolist() == [*whole, 3]


def test_a_paragraph_without_any_space_is_no_obstacle(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "t", 100)
    assert len(encode_documents(open_encoder(tmp_path / "t"), ["x" * 200_000], sep=3)) > 1


def test_data_within_text_does_not_hold_the_training_up(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    letters = "".join(random.Random(0).choices("abcdefghij", k=200_000))
    for name, sample in (("with", [*paragraphs(), letters]), ("without", paragraphs())):
        (tmp_path / name).mkdir()
        train_tokenizer(sample, tmp_path / name, "wordpiece", 600, lowercase=True, seq_len=64)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "with")) == 600


def test_ctrl_c_ends_the_training_of_a_tokenizer() -> None:
    from sctd.tokens.train_tokenizer import _heeding_signals

    begun, end = time.monotonic(), threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            _heeding_signals(lambda: end.wait(30))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 15
    end.set()
