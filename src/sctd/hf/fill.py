"""The verb `fill`: what a model puts in the place of [MASK]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sctd.errors import UserError, printable
from sctd.hf.load import load_network, model_folder
from sctd.tokens.tokenizer import load_tokenizer


def fill(model: str, text: str, top_k: int = 5) -> None:
    """Print the likeliest fillings of every mask in a text, each with its probability.

    Args:
        model: a Hugging Face folder with a masked language model, or a run of `sctd pretrain` that is finished.
        text: a text in which the tokenizer's mask token (most often [MASK]) stands where a word is missing.
        top_k: fillings to print for each mask.

    Raises:
        UserError: MODEL is no such folder, or the text has no mask token or is too long.
    """
    if top_k < 1:
        raise UserError(f"--top-k is {top_k}; it must be 1 or more.")
    tokenizer, network = load_masked_lm(model)
    found = fillings(tokenizer, network, text, top_k)
    for number, words in enumerate(found, start=1):
        if len(found) > 1:
            print(f"{printable(tokenizer.mask_token)} {number} of {len(found)}:")
        for word, share in words:
            print(f"{share:7.2%}  {printable(word)}")


def fillings(tokenizer: Any, network: Any, text: str, top_k: int) -> list[list[tuple[str, float]]]:
    """For each mask of a text, in order, its top_k likeliest fillings and their probabilities.

    Raises:
        UserError: the text has no mask token or is too long.
    """
    import torch

    encoded = tokenizer(text, return_tensors="pt")
    input_ids = encoded["input_ids"][0]
    places = (input_ids == tokenizer.mask_token_id).nonzero().flatten().tolist()
    if not places:
        raise UserError(
            f"The text has no {tokenizer.mask_token}: write {tokenizer.mask_token} where a word is missing."
        )
    longest = network.config.max_position_embeddings
    if len(input_ids) > longest:
        raise UserError(f"The text has {len(input_ids):,} tokens and the model reads {longest:,}: give a shorter one.")
    with torch.no_grad():
        probabilities = network(**encoded).logits[0, places].float().softmax(-1)
    found = probabilities.topk(min(top_k, probabilities.shape[-1]))
    return [
        [(tokenizer.decode([token]).strip(), share) for share, token in zip(shares, ids, strict=True)]
        for shares, ids in zip(found.values.tolist(), found.indices.tolist(), strict=True)
    ]


def load_masked_lm(model: str | Path) -> tuple[Any, Any]:
    """(tokenizer, model) of a Hugging Face folder, of a run's RUN/model, or of `hf:NAME`."""
    folder = model_folder(model)
    tokenizer = load_tokenizer(folder)
    network = load_network(folder, "AutoModelForMaskedLM")
    if tokenizer.mask_token_id is None:
        raise UserError(f"{folder}: its tokenizer has no mask token; give a masked language model.")
    return tokenizer, network
