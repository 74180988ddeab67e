"""Pseudo-log-likelihood of sentences by a masked language model (Salazar et al., 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sctd.errors import UserError
from sctd.scores.encoder import Encoder

if TYPE_CHECKING:
    import torch

COPIES_TOKENS = 4096  # tokens of the masked copies that go through the network at a time; more gains nothing on a CPU


def pseudo_log_likelihoods(
    encoder: Encoder,
    network: Any,
    sentences: Sequence[str],
    within_word: str = "none",
    advance: Callable[[int], None] = lambda sentences: None,
) -> tuple[np.ndarray, int]:
    """Sum over a sentence's tokens of log P(token | the sentence with that token masked), in nats.

    With within_word `l2r`, the later tokens of the same word are masked as well (Kauf and Ivanova, 2023, section 3):
    otherwise a word of several pieces gives itself away. A word is what the tokenizer's word_ids call one; BERT's
    splits at punctuation first, so that "didn't" is three.

    Args:
        encoder: tokenizer, length, device and precision.
        network: a masked language model of transformers.
        sentences: n texts.
        within_word: none or l2r.
        advance: told of every so many sentences that are done.

    Returns:
        (n,) float64, and how many sentences were cut at the model's length.
    """
    import torch

    network.eval()
    tokenizer = encoder.tokenizer
    if tokenizer.mask_token_id is None:
        raise UserError(f"{encoder.folder}: its tokenizer has no mask token; give a masked language model.")
    encoded = encoder.encode(list(sentences), return_special_tokens_mask=True)
    cut = encoder.count_cut(list(sentences), encoded)
    # sentences of one length go together: then there is no padding at all
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, special in enumerate(encoded["special_tokens_mask"]):
        groups.setdefault(tuple(special), []).append(i)
    sums = np.zeros(len(sentences))
    for special, members in sorted(groups.items(), key=lambda group: len(group[0])):
        scored = [place for place, is_special in enumerate(special) if not is_special]
        if not scored:
            raise UserError(f"The sentence {sentences[members[0]]!r} has no token for this tokenizer: leave it out.")
        at_a_time = max(1, COPIES_TOKENS // (len(special) * len(scored)))
        for first in range(0, len(members), at_a_time):
            chosen = members[first : first + at_a_time]
            ids = torch.tensor([encoded["input_ids"][i] for i in chosen])
            words = None
            if within_word == "l2r":
                words = torch.tensor([[-1 if w is None else w for w in encoded.word_ids(i)] for i in chosen])
            sums[chosen] = _sums(encoder, network, ids, torch.tensor(scored), words)
            advance(len(chosen))
    return sums, cut


def _sums(
    encoder: Encoder, network: Any, ids: torch.Tensor, scored: torch.Tensor, words: torch.Tensor | None
) -> np.ndarray:
    """(b,) sums of sentences of one length: ids (b, S), scored places (P,), words (b, S) or null."""
    import torch

    from sctd.train.device import autocast

    masked = masked_places(scored, ids.shape[1], words).expand(len(ids), -1, -1)
    copies = torch.where(masked, encoder.tokenizer.mask_token_id, ids[:, None, :]).flatten(0, 1)
    rows, labels = scored.repeat(len(ids)), ids[:, scored].reshape(-1, 1)
    step = max(1, COPIES_TOKENS // ids.shape[1])
    found = []
    for first in range(0, len(copies), step):
        part = slice(first, first + step)
        with torch.inference_mode(), autocast(encoder.precision, encoder.device):
            logits = logits_at(network, copies[part].to(encoder.device), rows[part].to(encoder.device))
        shares = logits.float().log_softmax(-1)
        found.append(shares.gather(1, labels[part].to(shares.device)).cpu())
    true = torch.cat(found)
    sums: np.ndarray = true.view(len(ids), -1).double().sum(1).numpy()
    if not np.isfinite(sums).all():
        raise UserError(f"{encoder.folder} gives probabilities that are no numbers: its weights are damaged.")
    return sums


def masked_places(scored: torch.Tensor, length: int, words: torch.Tensor | None) -> torch.Tensor:
    """(1 or b, P, S): for each scored place the places that its copy masks."""
    import torch

    place = torch.arange(length)
    if words is None:
        return (scored[:, None] == place)[None]
    same_word = words[:, scored][:, :, None] == words[:, None, :]
    return same_word & (place >= scored[:, None])


def logits_at(network: Any, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(n, V) logits of one row of each of n sequences; of BERT's own classes the head runs at that row alone."""
    import torch

    number = torch.arange(len(input_ids), device=input_ids.device)
    if hasattr(network, "bert") and hasattr(network, "cls"):
        found: torch.Tensor = network.cls(network.bert(input_ids=input_ids).last_hidden_state[number, rows])
        return found
    every: torch.Tensor = network(input_ids=input_ids).logits
    return every[number, rows]
