"""A data folder of made-up words, for measuring where no corpus is at hand: a step costs the same whatever it reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
from sctd.tokens.shards import SHARD_BYTES, ShardWriter, count_ids, entropy

if TYPE_CHECKING:
    import numpy as np

SEED = 1
NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_made_up(folder: Path, vocab_size: int, seq_len: int, sequences: int) -> None:
    """Write a data folder, as `sctd prepare` does, whose tokens are drawn with Zipf's frequencies."""
    import numpy as np

    special = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
    _write_tokenizer(folder / TOKENIZER, vocab_size)
    random = np.random.default_rng(SEED)
    share = 1 / np.arange(1, vocab_size - len(NAMES) + 1)
    splits = {}
    for name, number in (("train", sequences), ("validation", 8)):
        rows = random.choice(vocab_size - len(NAMES), size=(number, seq_len), p=share / share.sum()) + len(NAMES)
        rows[:, 0], rows[:, -1] = special.cls, special.sep
        splits[name] = rows
    write_rows(folder, splits, vocab_size, special, "made-up tokens")


def write_rows(
    folder: Path,
    rows: Mapping[str, np.ndarray],
    vocab_size: int,
    special: SpecialIds,
    source: str,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Add shards, unigram counts and manifest to a folder that holds a WordPiece tokenizer.

    Args:
        folder: a data folder in the making, with tokenizer/.
        rows: split -> (n, S) token ids, each row [CLS] t ... t [SEP], documents joined by [SEP].
        vocab_size: V.
        special: ids of the special tokens.
        source: where the rows come from, for the manifest.
        shard_bytes: the most bytes of a shard.
    """
    import numpy as np

    splits = {}
    for name, of in rows.items():
        writer = ShardWriter(folder, name, of.shape[1], dtype_for(vocab_size), shard_bytes)
        writer.add(of)
        counts = count_ids(of, vocab_size, special.all())
        if name == "train":
            np.save(folder / UNIGRAM, counts)
            unigram_entropy, seq_len = entropy(counts), of.shape[1]
        tokens, documents = int(counts.sum()), int((of[:, :-1] == special.sep).sum()) + 1
        splits[name] = SplitInfo(documents, tokens, len(of), 5 * tokens, writer.close())
    Manifest(
        format=FORMAT,
        sctd_version=__version__,
        seq_len=seq_len,
        dtype=dtype_for(vocab_size),
        tokenizer=TokenizerInfo(folder_sha256(folder / TOKENIZER), "WordPiece", vocab_size, special),
        splits=splits,
        duplicates_removed=0,
        unigram_entropy=unigram_entropy,
        provenance={"inputs": [{"path": source, "bytes": 0}], "settings": {}},
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
