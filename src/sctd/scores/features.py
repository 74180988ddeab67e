"""Sentence vectors of every layer of a frozen encoder, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sctd.errors import UserError
from sctd.scores.encoder import Encoder
from sctd.scores.fit import batches_by_length
from sctd.scores.heads.head import collate

TOKENS_AT_A_TIME = 16_384  # padding included
POOLINGS = ("mean", "cls")


def sentence_vectors(
    encoder: Encoder,
    network: Any,
    sentences: Sequence[str],
    advance: Callable[[int], None] = lambda sentences: None,
    poolings: Sequence[str] = POOLINGS,
) -> tuple[dict[str, np.ndarray], int]:
    """Vectors of n sentences at every layer.

    Args:
        encoder: tokenizer, length, device and precision.
        network: an encoder of transformers that returns hidden states; it is put in evaluation mode.
        sentences: n texts; what is over the model's length is cut.
        advance: told of every so many sentences that are done.
        poolings: which vectors are wanted.

    Returns:
        pooling -> (L + 1, n, H) float32, layer 0 being the embeddings' output: `mean` over the sentence's own tokens,
        without [CLS] and [SEP], which `cls` is alone; and how many sentences were cut.
    """
    import torch

    from sctd.train.device import autocast

    network.eval()
    encoded = encoder.encode(list(sentences), return_special_tokens_mask=True)
    cut = encoder.count_cut(list(sentences), encoded)
    names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
    vectors = {p: np.zeros((encoder.num_layers + 1, len(sentences), encoder.hidden_size), np.float32) for p in poolings}
    lengths = [len(ids) for ids in encoded["input_ids"]]
    for numbers in batches_by_length(lengths, TOKENS_AT_A_TIME):
        inputs = [{name: encoded[name][i] for name in names} for i in numbers]
        batch = collate(inputs, encoder.tokenizer.pad_token_id)
        own = [{"own": [1 - special for special in encoded["special_tokens_mask"][i]]} for i in numbers]
        weights = collate(own, 0)["own"].float().to(encoder.device)
        # a sentence of which nothing is left but special tokens is read at these
        weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, batch["attention_mask"].to(weights))
        weights = weights / weights.sum(1, keepdim=True)
        with torch.inference_mode(), autocast(encoder.precision, encoder.device):
            found = network(**{k: v.to(encoder.device) for k, v in batch.items()}, output_hidden_states=True)
        for layer, hidden in enumerate(found.hidden_states):
            hidden = hidden.float()
            if not hidden.isfinite().all():
                raise UserError(f"{encoder.folder}: layer {layer} gives no finite numbers: its weights are damaged.")
            if "mean" in vectors:
                vectors["mean"][layer, numbers] = torch.einsum("bs,bsh->bh", weights, hidden).cpu().numpy()
            if "cls" in vectors:
                vectors["cls"][layer, numbers] = hidden[:, 0].cpu().numpy()
        advance(len(numbers))
    return vectors, cut
