"""From settings and a data folder to the model, the method and the batches: nothing is trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sctd.batches.masking import Vocabulary
from sctd.config import PretrainConfig, resolve_middle, resolve_shape
from sctd.errors import UserError
from sctd.method.objectives import Objective
from sctd.method.selection import token_tiers
from sctd.model.attention import choose_attention
from sctd.model.bert import BertConfig
from sctd.model.hf import build_bert, from_hf_config, load_hf_state, read_hf_config, read_hf_weights
from sctd.model.starting_values import set_starting_values
from sctd.tokens.prepared import PreparedData
from sctd.tokens.tokenizer import load_tokenizer

ORIGIN = "origin"  # folder of a run that keeps where its model comes from; sctd.hf.origin writes it


def read_vocabulary(data: PreparedData) -> Vocabulary:
    """What masking must know of the data's tokenizer; ids come from it, never from constants."""
    tokenizer = load_tokenizer(data.tokenizer_dir)
    special_ids = data.manifest.special
    size = data.manifest.vocab_size
    special = np.zeros(size, dtype=bool)
    special[[i for i in [*special_ids.all(), *tokenizer.all_special_ids] if i < size]] = True
    continues = np.zeros(size, dtype=bool)
    pieces = tokenizer.get_vocab()
    wordpiece = any(piece.startswith("##") for piece in pieces)
    for piece, number in pieces.items():
        if number < size and not special[number]:
            # WordPiece marks what continues a word, byte-level BPE (and SentencePiece) what starts one
            continues[number] = piece.startswith("##") if wordpiece else not piece.startswith(("Ġ", "Ċ", "▁"))
    return Vocabulary(size, special_ids.mask, special_ids.pad, special, continues)


def _check_same_tokenizer(data: PreparedData, folder: Path) -> None:
    """The model that is continued must read the shards' ids as its own tokenizer would have written them."""
    try:
        theirs = load_tokenizer(folder).get_vocab()
    except UserError as error:
        raise UserError(
            f"{folder} has no tokenizer that transformers can load; --init-from needs the model's own tokenizer."
        ) from error
    if theirs != load_tokenizer(data.tokenizer_dir).get_vocab():
        raise UserError(
            f"{data.path} was prepared with another tokenizer than {folder} has: prepare it again with "
            f"`sctd prepare --tokenizer {folder}`."
        )


def bert_config(
    config: PretrainConfig, data: PreparedData, device: torch.device, start: Path | None = None
) -> BertConfig:
    """The model's shape: from the config.json of `start`, the folder to begin from, else from the settings."""
    length = data.manifest.seq_len
    settings = config.model
    attention = choose_attention(settings.attention, device.type, length)
    if start is not None:
        shape = from_hf_config(
            read_hf_config(start),
            attention=attention,
            dropout=settings.dropout,
            attention_dropout=settings.attention_dropout,
            gradient_checkpointing=settings.gradient_checkpointing,
        )
        if shape.vocab_size < data.manifest.vocab_size:
            raise UserError(
                f"{start} has {shape.vocab_size} token embeddings and {data.path} uses "
                f"{data.manifest.vocab_size} ids: prepare the data with the model's own tokenizer."
            )
    else:
        layers, hidden, heads, intermediate = resolve_shape(settings)
        shape = BertConfig(
            vocab_size=data.manifest.vocab_size,
            num_layers=layers,
            hidden_size=hidden,
            num_heads=heads,
            intermediate_size=intermediate,
            max_position_embeddings=settings.max_position_embeddings or length,
            dropout=settings.dropout,
            attention_dropout=settings.attention_dropout,
            pad_token_id=data.manifest.special.pad,
            attention=attention,
            gradient_checkpointing=settings.gradient_checkpointing,
        )
    if shape.max_position_embeddings < length:
        way_out = "" if start is not None else ", or raise model.max_position_embeddings"
        raise UserError(
            f"The data's sequences have {length} tokens and the model reads {shape.max_position_embeddings} at "
            f"most: prepare the data with a smaller --seq-len{way_out}."
        )
    return shape


def build_objective(
    config: PretrainConfig,
    data: PreparedData,
    vocabulary: Vocabulary,
    device: torch.device,
    start: Path | None = None,
    resumed: bool = False,
) -> Objective:
    """The model with its starting weights (a function of the seed, or those in `start`) and the method, on the device.

    Args:
        config: every setting.
        data: what the model is to read.
        vocabulary: of the data's tokenizer.
        device: where to put the model.
        start: the Hugging Face folder that init_from means; of a run that is resumed, RUN/origin, which has its shape.
        resumed: the weights are about to be loaded from a checkpoint.
    """
    torch.manual_seed(config.seed)
    shape = bert_config(config, data, device, start)
    if start is not None and not resumed:
        if config.method != "dense":
            resolve_middle(config.dropping, shape.num_layers)
        _check_same_tokenizer(data, start)
    model = build_bert(shape)
    special = data.manifest.special
    pinned = [number for number in (special.sep, special.mask, special.unk) if number is not None]
    tiers = token_tiers(shape.vocab_size, cls_id=special.cls, pad_id=special.pad, pinned_ids=pinned)
    unigram = torch.zeros(shape.vocab_size, dtype=torch.int64)
    unigram[: len(data.unigram)] = torch.from_numpy(data.unigram.copy())
    if start is None:
        set_starting_values(model, config.model.starting_values, unigram)
    elif not resumed:
        load_hf_state(model, read_hf_weights(start), str(start))
    objective = Objective(model, config.method, config.dropping, config.consistency, tiers, unigram)
    return objective.to(device)
