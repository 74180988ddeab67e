"""A new tokenizer from a sample of the text: BERT's WordPiece, or byte-level BPE."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal

from sctd.errors import UserError
from sctd.files import disk_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Kind = Literal["wordpiece", "bpe"]

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
SMALLEST_VOCAB = {"wordpiece": 100, "bpe": 300}  # bpe: 256 bytes and the special tokens, and some merges
LARGEST_ALPHABET = 1000  # characters, as in BERT's own training
# characters without a space; of longer ones (data within text) the sample has pieces, as the trainers' time grows
# faster than a word's length: 42 s for one of 300,000 letters
LONGEST_WORD = 1000


def train_tokenizer(
    paragraphs: list[str], folder: Path, kind: Kind, vocab_size: int, lowercase: bool, seq_len: int
) -> None:
    """Train on `paragraphs` and write a folder that AutoTokenizer loads (BERT's class for WordPiece).

    The same paragraphs give the same bytes. The vocabulary may come out smaller than `vocab_size` where the sample
    has no more pairs to merge.
    """
    train = _train_wordpiece if kind == "wordpiece" else _train_bpe
    long = re.compile(rf"(\S{{{LONGEST_WORD}}})(?=\S)")
    sample = [long.sub(r"\1 ", paragraph) for paragraph in paragraphs]
    tokenizer = _heeding_signals(lambda: train(sample, vocab_size, lowercase))
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL_TOKENS.values()}
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing

    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ids])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    config: dict[str, object] = {
        "tokenizer_class": "BertTokenizer" if kind == "wordpiece" else "PreTrainedTokenizerFast",
        "model_max_length": seq_len,
        **SPECIAL_TOKENS,
    }
    if kind == "wordpiece":
        config |= {"do_lower_case": lowercase, "strip_accents": None, "tokenize_chinese_chars": True}
    with disk_errors(folder):
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _heeding_signals(work: Callable[[], Tokenizer]) -> Tokenizer:
    """Done in a thread that the end of the process does not wait for: the library hears no Ctrl-C while it works."""
    done: Future[Tokenizer] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    while True:
        with contextlib.suppress(TimeoutError):
            return done.result(timeout=0.2)


def check_vocab_size(kind: Kind, vocab_size: int) -> None:
    """Raises UserError for a vocabulary that cannot hold its alphabet."""
    if vocab_size < SMALLEST_VOCAB[kind]:
        raise UserError(
            f"--vocab-size {vocab_size} is too small for {kind}: give {SMALLEST_VOCAB[kind]} at least "
            "(8192 and more is usual)."
        )


def _train_wordpiece(paragraphs: list[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def bare(model: models.Model) -> Tokenizer:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    special = list(SPECIAL_TOKENS.values())
    learner = bare(models.WordPiece(unk_token="[UNK]"))
    alphabet = _alphabet(paragraphs, learner, limit=min(LARGEST_ALPHABET, vocab_size // 4))
    # The library's trainer numbers the continuing characters (##x) in the order of a randomly seeded hash map, and
    # breaks ties of character counts by it; both named beforehand, its result depends on the text alone.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=special + ["##" + character for character in alphabet],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner.train_from_iterator(paragraphs, trainer)
    # rebuilt, because the ##x would be special tokens in the tokenizer that was trained
    return bare(models.WordPiece(learner.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=100))


def _alphabet(paragraphs: list[str], tokenizer: Tokenizer, limit: int) -> list[str]:
    """The most frequent characters after normalisation, ties by code point, in the order of code points."""
    raw: Counter[str] = Counter()
    for paragraph in paragraphs:
        raw.update(paragraph)
    counts: Counter[str] = Counter()
    for character, count in raw.items():  # BERT's normaliser works character by character, so each one is asked once
        for normal in tokenizer.normalizer.normalize_str(character):
            counts[normal] += count
    ranked = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    return sorted(ranked[:limit])


def _train_bpe(paragraphs: list[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    nfc = normalizers.NFC()
    tokenizer.normalizer = normalizers.Sequence([nfc, normalizers.Lowercase()]) if lowercase else nfc
    # a word is the same token at the start of a paragraph as within it
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(paragraphs, trainer)
    return tokenizer
