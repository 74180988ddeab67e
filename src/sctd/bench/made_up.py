"""A data folder of made-up words, for measuring where no corpus is at hand: a step costs the same whatever it reads."""

from __future__ import annotations

from pathlib import Path

SEED = 1
NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_made_up(folder: Path, vocab_size: int, seq_len: int, sequences: int) -> None:
    """Write a data folder, as `sctd prepare` does, whose tokens are drawn with Zipf's frequencies."""
    import numpy as np

    from sctd import __version__
    from sctd.tokens.manifest import (
        FORMAT,
        TOKENIZER,
        UNIGRAM,
        Manifest,
        SpecialIds,
        SplitInfo,
        TokenizerInfo,
        dtype_for,
        folder_sha256,
    )
    from sctd.tokens.shards import ShardWriter, count_ids, entropy

    special = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
    _write_tokenizer(folder / TOKENIZER, vocab_size)
    random = np.random.default_rng(SEED)
    share = 1 / np.arange(1, vocab_size - len(NAMES) + 1)
    splits, unigram = {}, np.zeros(vocab_size, dtype=np.int64)
    for name, number in (("train", sequences), ("validation", 8)):
        rows = random.choice(vocab_size - len(NAMES), size=(number, seq_len), p=share / share.sum()) + len(NAMES)
        rows[:, 0], rows[:, -1] = special.cls, special.sep
        writer = ShardWriter(folder, name, seq_len, dtype_for(vocab_size))
        writer.add(rows)
        counts = count_ids(rows, vocab_size, special.all())
        unigram = counts if name == "train" else unigram
        tokens = int(counts.sum())
        splits[name] = SplitInfo(number, tokens, number, 5 * tokens, writer.close())
    np.save(folder / UNIGRAM, unigram)
    Manifest(
        format=FORMAT,
        sctd_version=__version__,
        seq_len=seq_len,
        dtype=dtype_for(vocab_size),
        tokenizer=TokenizerInfo(folder_sha256(folder / TOKENIZER), "WordPiece", vocab_size, special),
        splits=splits,
        duplicates_removed=0,
        unigram_entropy=entropy(unigram),
        provenance={"inputs": [], "settings": {"made_up": True}},
    ).write(folder)


def _write_tokenizer(folder: Path, vocab_size: int) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    vocabulary = {name: number for number, name in enumerate(NAMES)}
    vocabulary |= {f"w{number}": number for number in range(len(NAMES), vocab_size)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), NAMES, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
