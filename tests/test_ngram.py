"""The baselines at [MASK] inputs, against sums done by hand and by brute force."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers import make_prepared
from sctd.tokens.manifest import SpecialIds
from sctd.tokens.prepared import TokenSplit, load_prepared
from sctd.train import ngram
from sctd.train.ngram import Neighbours, count_pairs, ngram_baselines

PAD, UNK, CLS, SEP, MASK, A, B, C = range(8)
V = 8
TRAIN = [
    [CLS, A, B, A, B, SEP],
    [CLS, A, C, SEP, B, SEP],
]


def corpus(rows: list[list[int]]) -> Any:
    ids = np.array(rows)
    unigram = np.bincount(ids.ravel(), minlength=V)
    unigram[:A] = 0
    special = SpecialIds(cls=CLS, sep=SEP, mask=MASK, pad=PAD, unk=UNK)
    manifest = SimpleNamespace(vocab_size=V, special=special)
    return SimpleNamespace(train=TokenSplit([ids], ids.shape[1]), unigram=unigram, manifest=manifest)


def batch(original: list[int], shown: list[int]) -> tuple[np.ndarray, Any]:
    return np.array([original]), SimpleNamespace(input_ids=np.array([shown]))


def score(original: list[int], shown: list[int]) -> ngram.NgramBaselines:
    return ngram_baselines(corpus(TRAIN), [batch(original, shown)], mask_id=MASK)


# A 3 times, B 3, C 1; add-one over the three ids that are not special
UNIGRAM = {A: 4 / 10, B: 4 / 10, C: 2 / 10}
# to the right of A stood B twice and C once: c(A) = 3, T(A) = 2
AFTER_A = {w: (count + 2 * UNIGRAM[w]) / (3 + 2) for w, count in {A: 0, B: 2, C: 1}.items()}
# to the left of B stood A twice: c = 2, T = 1
BEFORE_B = {w: (count + 1 * UNIGRAM[w]) / (2 + 1) for w, count in {A: 2, B: 0, C: 0}.items()}


def test_the_unigram_model_is_add_one_smoothed_over_the_ids_that_are_not_special() -> None:
    assert score([CLS, C, A, SEP], [CLS, MASK, A, SEP]).unigram == pytest.approx(-math.log(UNIGRAM[C]))


def test_the_bigram_model_is_witten_bells() -> None:
    found = score([CLS, A, C, SEP], [CLS, A, MASK, SEP])
    assert found.bigram == pytest.approx(-math.log(AFTER_A[C]))


def test_without_a_visible_word_to_the_left_the_bigram_model_is_the_unigram_model() -> None:
    for left in (CLS, SEP, C):  # C was never followed by a word
        found = score([CLS, left, B, SEP], [CLS, left, MASK, SEP])
        assert found.bigram == pytest.approx(found.unigram) == pytest.approx(-math.log(UNIGRAM[B]))
    both_hidden = score([CLS, A, B, SEP], [CLS, MASK, MASK, SEP])
    assert both_hidden.bigram == pytest.approx(both_hidden.unigram)


def test_both_sides_are_multiplied_and_sum_to_one() -> None:
    product = {w: AFTER_A[w] * BEFORE_B[w] / UNIGRAM[w] for w in (A, B, C)}
    for word in (A, B, C):
        found = score([CLS, A, word, B, SEP], [CLS, A, MASK, B, SEP])
        assert found.bigram_both_sides == pytest.approx(-math.log(product[word] / sum(product.values())))


def test_with_one_visible_side_both_sides_means_that_side() -> None:
    left_only = score([CLS, A, B, SEP], [CLS, A, MASK, SEP])
    assert left_only.bigram_both_sides == pytest.approx(left_only.bigram)
    right_only = score([CLS, A, B, SEP], [CLS, MASK, B, SEP])
    assert right_only.bigram_both_sides == pytest.approx(-math.log(BEFORE_B[A]))


def test_only_mask_inputs_count_and_the_mean_is_over_all_batches() -> None:
    pairs = [
        batch([CLS, A, B, SEP], [CLS, A, MASK, SEP]),
        batch([CLS, C, B, SEP], [CLS, MASK, A, SEP]),  # B was replaced by A: shown, so not scored
    ]
    found = ngram_baselines(corpus(TRAIN), pairs, mask_id=MASK)
    assert found.positions == 2
    assert found.unigram == pytest.approx(-(math.log(UNIGRAM[B]) + math.log(UNIGRAM[C])) / 2)


def test_pairs_are_those_of_neighbouring_words_in_a_row() -> None:
    special = np.arange(V) < A
    codes, counts, tokens = count_pairs(corpus(TRAIN).train, special, 1000)
    pairs = {(code // V, code % V): count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}
    assert pairs == {(A, B): 2, (B, A): 1, (A, C): 1}
    assert tokens == 12


def test_counting_in_chunks_gives_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(A, V, size=(50, 16)).tolist()
    special = np.arange(V) < A
    whole = count_pairs(corpus(rows).train, special, 10_000)
    monkeypatch.setattr(ngram, "CHUNK_TOKENS", 48)
    for one, other in zip(whole, count_pairs(corpus(rows).train, special, 10_000), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_limit_reads_rows_from_all_over_the_split() -> None:
    rows = [[CLS, A, A, SEP]] * 5 + [[CLS, B, B, SEP]] * 5
    codes, counts, tokens = count_pairs(corpus(rows).train, np.arange(V) < A, 16)
    assert (codes.tolist(), counts.tolist(), tokens) == ([A * V + A, B * V + B], [2, 2], 16)


def test_every_context_has_a_probability_distribution() -> None:
    rows = np.random.default_rng(1).integers(A, V, size=(9, 5)).tolist()
    special = np.arange(V) < A
    codes, counts, _ = count_pairs(corpus(rows).train, special, 1000)
    unigram = np.where(special, 0, 1 / 3)
    model = Neighbours(codes, counts, unigram)
    for context in range(V):
        total = sum(model.probability(np.array([context]), np.array([word]))[0] for word in range(V))
        assert total == pytest.approx(1)


def test_on_prepared_data_what_follows_from_the_word_before_is_found(tmp_path: Path) -> None:
    from sctd.batches.loader import evaluation_batches
    from sctd.batches.masking import Vocabulary

    data = load_prepared(make_prepared(tmp_path, sequences=600))
    special = np.zeros(200, dtype=bool)
    special[data.manifest.special.all()] = True
    mask_id = data.manifest.special.mask
    words = Vocabulary(200, mask_id, data.manifest.special.pad, special, np.zeros(200, dtype=bool))
    pairs = list(evaluation_batches(data.validation, words, 16, 8))
    found = ngram_baselines(data, pairs, mask_id=mask_id)
    assert found.positions == sum(int((batch.input_ids == mask_id).sum()) for _, batch in pairs)
    assert found.train_tokens == 600 * 32
    assert found.bigram_both_sides < found.bigram - 0.1 < found.unigram - 0.3
    assert all(math.isfinite(value) for value in asdict(found).values())
