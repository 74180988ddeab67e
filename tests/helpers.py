"""Small real things for the tests of every room."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sctd.bench.made_up import write_rows
from sctd.tokens.manifest import TOKENIZER, SpecialIds

if TYPE_CHECKING:
    from sctd.scores.encoder import Encoder

SPECIAL = SpecialIds(cls=2, sep=3, mask=4, pad=0, unk=1)
NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_prepared(
    tmp_path: Path,
    *,
    vocab_size: int = 200,
    seq_len: int = 32,
    sequences: int = 64,
    validation_sequences: int = 16,
    seed: int = 1,
    shard_bytes: int = 16 * 1024,
) -> Path:
    """Write a valid tiny data folder `tmp_path/data` and return it; the same arguments give the same bytes.

    The tokens are Zipfian, and half of them follow from the token before (a fixed permutation), so that a
    model has something to learn. Documents of 3 to 60 tokens are joined by [SEP]; the last row of a split has
    [PAD]. The tokenizer is a real WordPiece whose words are `baba`, `babe`, ..., many ids being `##` pieces.
    """
    folder = tmp_path / "data"
    write_tokenizer(folder / TOKENIZER, vocab_size)
    random = np.random.default_rng(seed)
    words = np.arange(len(NAMES), vocab_size)
    follower = random.permutation(words)
    share = 1 / np.arange(1, len(words) + 1)
    splits = {}
    for name, number in (("train", sequences), ("validation", validation_sequences)):
        inner = seq_len - 2
        stream = random.choice(words, size=number * inner - inner // 2, p=share / share.sum())
        linked = random.random(len(stream)) < 0.5
        for i in range(1, len(stream)):
            if linked[i]:
                stream[i] = follower[stream[i - 1] - len(NAMES)]
        ends = np.cumsum(random.integers(3, 60, size=len(stream)))
        stream[ends[ends < len(stream) - 1]] = SPECIAL.sep
        rows = np.full((number, seq_len), SPECIAL.pad, dtype=np.int64)
        rows[:, 0], rows[:, -1] = SPECIAL.cls, SPECIAL.sep
        inside = np.full(number * inner, SPECIAL.pad, dtype=np.int64)
        inside[: len(stream)] = stream
        rows[:, 1:-1] = inside.reshape(number, inner)
        last = len(stream) - (number - 1) * inner
        rows[-1, 1 + last] = SPECIAL.sep
        rows[-1, 2 + last :] = SPECIAL.pad
        splits[name] = rows
    write_rows(folder, splits, vocab_size, SPECIAL, "made by tests", shard_bytes)
    return folder


def vocabulary(vocab_size: int) -> list[str]:
    """[PAD] [UNK] [CLS] [SEP] [MASK], then two thirds whole words and one third `##` pieces."""
    syllables = [a + b for a, b in product("bdfgklmnprst", "aeiou")]
    words = ("".join(parts) for length in (2, 3, 4) for parts in product(syllables, repeat=length))
    pieces = ["##" + s for s in syllables]
    out = list(NAMES)
    while len(out) < vocab_size:
        out.append(pieces.pop(0) if pieces and len(out) % 3 == 0 else next(words))
    return out


def words(count: int, vocab_size: int = 200) -> list[str]:
    """Whole words of the tiny vocabulary, each one token."""
    return [word for word in vocabulary(vocab_size)[len(NAMES) :] if not word.startswith("##")][:count]


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    """A BERT WordPiece tokenizer folder that AutoTokenizer loads, written without importing transformers."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import WordPiece as WordPieceDecoder
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    vocab = {token: i for i, token in enumerate(vocabulary(vocab_size))}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in NAMES])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL.cls), ("[SEP]", SPECIAL.sep)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), NAMES, strict=True))
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def tiny_encoder(folder: Path, *, max_length: int = 32, token_types: int = 2, vocab_size: int = 200) -> Encoder:
    """A random BERT of 2 layers of 32 in `folder`, a Hugging Face folder with the tiny tokenizer, as an Encoder."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from sctd.hf.load import TRAINED_ON
    from sctd.scores.encoder import load_encoder

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_length,
    )
    setattr(config, TRAINED_ON, {"seq_len": max_length, "token_types": token_types})
    model = BertForMaskedLM(config)
    with torch.no_grad():  # larger weights than the usual, so that differences show
        for parameter in model.parameters():
            parameter.mul_(5)
    write_tokenizer(folder, vocab_size)
    model.save_pretrained(folder)
    return load_encoder(folder, device="cpu", precision="fp32")
