"""What a model must beat: the loss of n-gram models of the training split at the evaluation's [MASK] inputs.

The bigram models are interpolated with the unigram model after Witten and Bell (1991):
P(w | h) = (c(h w) + T(h) P(w)) / (c(h) + T(h)), where T(h) is the number of different ids seen beside h.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sctd.tokens.prepared import PreparedData, TokenSplit

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK_TOKENS = 4_000_000  # tokens counted at a time: about 100 MB


@dataclass
class NgramBaselines:
    """Mean negative log-likelihood, in nats, of the original ids at the inputs that are [MASK].

    Args:
        unigram: how frequent the id is (add-one smoothing).
        bigram: given the input to the left; the unigram model where that is a special token or [MASK].
        bigram_both_sides: given both neighbours, P(w | l) P(w | r) / P(w) made to sum to one, as if they were
            independent given w; where one is a special token or [MASK], given the other.
        positions: number of [MASK] inputs.
        train_tokens: tokens, special ones included, that the bigram models were counted on.
    """

    unigram: float
    bigram: float
    bigram_both_sides: float
    positions: int
    train_tokens: int


class Neighbours:
    """How often each id w stood beside each id h, on one side, in rows sorted by h and then w.

    Args:
        codes: (n,) h * V + w, ascending, each once.
        counts: (n,) how often.
        unigram: (V,) P(w), which a context's followers are interpolated with.
    """

    def __init__(self, codes: Ints, counts: Ints, unigram: Floats) -> None:
        self.codes, self.counts, self.unigram = codes, counts, unigram
        self.starts = np.searchsorted(codes, np.arange(len(unigram) + 1) * len(unigram))
        different = np.diff(self.starts)
        seen = np.diff(np.concatenate([[0], np.cumsum(counts)])[self.starts])
        self.weight = 1.0 / np.maximum(seen + different, 1)
        self.backoff = np.where(seen > 0, different * self.weight, 1.0)

    def probability(self, context: Ints, word: Ints) -> Floats:
        """P(word | context), both (n,)."""
        wanted = context * len(self.unigram) + word
        place = np.searchsorted(self.codes, wanted)
        count = np.zeros(len(wanted), dtype=np.int64)
        inside = place < len(self.codes)
        found = np.flatnonzero(inside)[self.codes[place[inside]] == wanted[inside]]
        count[found] = self.counts[place[found]]
        return count * self.weight[context] + self.backoff[context] * self.unigram[word]

    def seen_beside(self, context: int) -> tuple[Ints, Floats]:
        """The ids seen beside a context, ascending, and the part of their probability that the counts give."""
        rows = slice(self.starts[context], self.starts[context + 1])
        return self.codes[rows] - context * len(self.unigram), self.counts[rows] * self.weight[context]


def ngram_baselines(
    data: PreparedData, pairs: Iterable[tuple[Ints, Any]], *, mask_id: int, max_tokens: int = 20_000_000
) -> NgramBaselines:
    """Count the training split and score the evaluation's [MASK] inputs.

    Args:
        data: the data folder; its unigram counts are of the whole training split.
        pairs: (original rows (B, S), batch with `input_ids` (B, S)), as `evaluation_batches` gives them.
        mask_id: id of [MASK].
        max_tokens: count the bigrams on so many tokens, in rows spread evenly over the split.
    """
    special = np.zeros(data.manifest.vocab_size, dtype=bool)
    special[[*data.manifest.special.all(), mask_id]] = True
    unigram = np.where(special, 0.0, data.unigram + 1.0)
    unigram /= unigram.sum()
    codes, counts, train_tokens = count_pairs(data.train, special, max_tokens)
    followers = Neighbours(codes, counts, unigram)
    left, right = np.divmod(codes, len(unigram))
    order = np.lexsort((left, right))
    leaders = Neighbours((right * len(unigram) + left)[order], counts[order], unigram)

    word, before, after = masked_positions(pairs, mask_id)
    assert len(word), "the evaluation masks at least one token"
    left_seen, right_seen = ~special[before], ~special[after]
    alone = unigram[word]
    given_left = np.where(left_seen, followers.probability(before, word), alone)
    given_right = np.where(right_seen, leaders.probability(after, word), alone)
    scale = np.ones(len(word))
    both = left_seen & right_seen
    scale[both] = _sums_to(followers, leaders, before[both], after[both])
    return NgramBaselines(
        unigram=_nats(alone),
        bigram=_nats(given_left),
        bigram_both_sides=_nats(given_left * given_right / alone / scale),
        positions=len(word),
        train_tokens=train_tokens,
    )


def count_pairs(split: TokenSplit, special: NDArray[np.bool_], max_tokens: int) -> tuple[Ints, Ints, int]:
    """Neighbouring ids in a split's rows, both not special.

    Returns:
        codes (n,) left * V + right, ascending; counts (n,); the number of tokens that were read.
    """
    size = len(special)
    rows = min(len(split), max(1, max_tokens // split.seq_len))
    chosen = np.linspace(0, len(split) - 1, rows).astype(np.int64)
    codes, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    step = max(1, CHUNK_TOKENS // split.seq_len)
    for first in range(0, rows, step):
        ids = split.rows(chosen[first : first + step])
        visible = ~special[ids]
        new, number = np.unique((ids[:, :-1] * size + ids[:, 1:])[visible[:, :-1] & visible[:, 1:]], return_counts=True)
        codes, place = np.unique(np.concatenate([codes, new]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, number])).astype(np.int64)
    return codes, counts, rows * split.seq_len


def masked_positions(pairs: Iterable[tuple[Ints, Any]], mask_id: int) -> tuple[Ints, Ints, Ints]:
    """(N,) each: the original id at every [MASK] input, and the inputs left and right of it ([MASK] beyond the row)."""
    words, before, after = [], [], []
    for original, batch in pairs:
        inputs = np.pad(np.asarray(batch.input_ids), ((0, 0), (1, 1)), constant_values=mask_id)
        row, column = np.nonzero(inputs[:, 1:-1] == mask_id)
        words.append(np.asarray(original)[row, column])
        before.append(inputs[row, column])
        after.append(inputs[row, column + 2])
    return np.concatenate(words), np.concatenate(before), np.concatenate(after)


def _sums_to(followers: Neighbours, leaders: Neighbours, before: Ints, after: Ints) -> Floats:
    """(N,) sum over all w of P(w | l) P(w | r) / P(w), from the ids that were seen on both sides.

    With P(w | l) = a P(w) + f(w), P(w | r) = b P(w) + g(w), where f and g are what the counts give, it is
    a b + b sum f + a sum g + sum f g / P; and sum f = 1 - a, sum g = 1 - b.
    """
    neither = (1 - followers.backoff[before]) * (1 - leaders.backoff[after])
    overlap = np.zeros(len(before))
    dense = np.zeros(len(followers.unigram))
    for i, (left, right) in enumerate(zip(before.tolist(), after.tolist(), strict=True)):
        ids, share = followers.seen_beside(left)
        dense[ids] = share / followers.unigram[ids]
        others, other_share = leaders.seen_beside(right)
        overlap[i] = dense[others] @ other_share
        dense[ids] = 0.0
    return 1.0 - neither + overlap


def _nats(probabilities: Floats) -> float:
    return float(-np.log(probabilities).mean())
