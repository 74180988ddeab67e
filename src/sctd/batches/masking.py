"""Masked language modelling (Devlin et al., 2019, section 3.1): what is predicted, and what is shown instead of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sctd.batches.draws import MASK_KIND, MASK_ORDER, RANDOM_TOKEN, draw, to_unit
from sctd.config import MaskingConfig

Ints = NDArray[np.int64]
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer.

    Args:
        size: V.
        mask_id: id of [MASK].
        pad_id: id of [PAD].
        special: (V,) bool: ids that are never predicted nor drawn as random tokens.
        continues: (V,) bool: ids of pieces that continue a word (for whole-word masking).
    """

    size: int
    mask_id: int
    pad_id: int
    special: NDArray[np.bool_]
    continues: NDArray[np.bool_]


@dataclass(frozen=True)
class Masked:
    """Masked rows: input_ids (B, S), and P prediction slots a row: positions, labels (B, P), weights (B, P) 1 or 0."""

    input_ids: Ints
    positions: Ints
    labels: Ints
    weights: NDArray[np.float32]


def prediction_slots(mlm_probability: float, length: int) -> int:
    """P = floor(mlm_probability * S), one at least: 19 at S=128, 76 at S=512."""
    return max(1, int(mlm_probability * length + 1e-9))


def mask_rows(
    rows: Ints, samples: Ints, *, seed: int, step: int, config: MaskingConfig, vocabulary: Vocabulary
) -> Masked:
    """Mask rows (B, S) of token ids; every draw is a function of (seed, step, sample number, position).

    Exactly floor(p S) tokens of a full row are predicted (with `whole_word`, at most that many: whole words in
    random order while they fit); a row with padding has floor(p * its tokens) and fills its other slots with
    weight 0 and position 0.
    """
    length = rows.shape[1]
    slots = prediction_slots(config.mlm_probability, length)
    candidate = ~vocabulary.special[rows]
    real = (rows != vocabulary.pad_id).sum(axis=1)
    wanted = np.maximum(1, (config.mlm_probability * real + 1e-9).astype(np.int64))
    wanted = np.minimum(wanted, candidate.sum(axis=1))

    keys = draw(seed, MASK_ORDER, step, samples, length)
    if config.whole_word:
        chosen = _choose_words(rows, keys, candidate, wanted, vocabulary.continues)
    else:
        keys = np.where(candidate, keys >> np.uint64(1), _LAST)
        order = np.argsort(keys, axis=1, kind="stable")
        chosen = np.zeros_like(candidate)
        np.put_along_axis(chosen, order[:, :slots], np.arange(slots)[None, :] < wanted[:, None], axis=1)

    # a stable sort on "not chosen" brings the chosen positions to the front, in their own order
    positions = np.argsort(~chosen, axis=1, kind="stable")[:, :slots]
    used = np.take_along_axis(chosen, positions, axis=1)
    positions = np.where(used, positions, 0)
    labels = np.take_along_axis(rows, positions, axis=1)

    kind = to_unit(draw(seed, MASK_KIND, step, samples, length))
    ordinary = np.flatnonzero(~vocabulary.special)
    random_ids = ordinary[(draw(seed, RANDOM_TOKEN, step, samples, length) % np.uint64(len(ordinary))).astype(np.int64)]
    input_ids = np.where(chosen & (kind < config.mask_share), vocabulary.mask_id, rows)
    randomised = chosen & (kind >= config.mask_share) & (kind < config.mask_share + config.random_share)
    input_ids = np.where(randomised, random_ids, input_ids)
    return Masked(input_ids, positions, labels, used.astype(np.float32))


def _choose_words(
    rows: Ints,
    keys: NDArray[np.uint64],
    candidate: NDArray[np.bool_],
    wanted: Ints,
    continues: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """(B, S) bool: whole words in random order, while their tokens fit into `wanted` (B,).

    A word is a candidate token and the continuing pieces after it. Where not even the first word fits, its first
    pieces are taken, so that no row is without a prediction.
    """
    length = rows.shape[1]
    starts = candidate & ~(continues[rows] & np.roll(candidate, 1, axis=1))
    starts[:, 0] = candidate[:, 0]
    start_at = np.maximum.accumulate(np.where(starts, np.arange(length), 0), axis=1)
    word_keys = np.where(candidate, np.take_along_axis(keys, start_at, axis=1) >> np.uint64(1), _LAST)
    order = np.argsort(word_keys, axis=1, kind="stable")  # pieces of one word stay together
    word = np.take_along_axis(start_at, order, axis=1)
    last_of_word = np.ones_like(candidate)
    last_of_word[:, :-1] = word[:, :-1] != word[:, 1:]
    rank = np.arange(1, length + 1)[None, :]
    end_of_word = np.minimum.accumulate(np.where(last_of_word, rank, length)[:, ::-1], axis=1)[:, ::-1]
    fits = end_of_word <= wanted[:, None]
    fits |= ~fits[:, :1] & (rank <= wanted[:, None])
    chosen = np.zeros_like(candidate)
    np.put_along_axis(chosen, order, fits, axis=1)
    return chosen & candidate
