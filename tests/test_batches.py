"""Order and masking: functions of (seed, step, sample), with the published shares."""

import numpy as np
import pytest

from helpers import make_prepared
from sctd.batches.batch import make_batch
from sctd.batches.draws import draw, to_unit
from sctd.batches.loader import TrainingBatches, evaluation_batches
from sctd.batches.masking import Vocabulary, mask_rows, prediction_slots
from sctd.batches.order import BatchOrder
from sctd.config import MaskingConfig
from sctd.tokens.prepared import load_prepared
from sctd.train.setup import read_vocabulary

V, MASK, PAD = 1000, 4, 0


def vocabulary():
    special, continues = np.zeros(V, dtype=bool), np.zeros(V, dtype=bool)
    special[:5] = True
    continues[500:] = True
    return Vocabulary(V, MASK, PAD, special, continues)


def rows(count=64, length=128, seed=0):
    ids = np.random.default_rng(seed).integers(5, V, (count, length))
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


def mask(ids, step=1, seed=1, samples=None, **config):
    samples = np.arange(len(ids)) if samples is None else samples
    return mask_rows(ids, samples, seed=seed, step=step, config=MaskingConfig(**config), vocabulary=vocabulary())


@pytest.mark.parametrize(("length", "slots"), [(128, 19), (512, 76), (20, 3), (4, 1)])
def test_exactly_15_percent_rounded_down_of_a_full_row_is_predicted(length, slots):
    assert prediction_slots(0.15, length) == slots
    masked = mask(rows(length=length))
    assert masked.weights.sum(axis=1).tolist() == [slots] * 64


def test_predicted_positions_are_distinct_ascending_and_never_special():
    ids = rows()
    masked = mask(ids)
    assert (np.diff(masked.positions, axis=1) > 0).all()
    assert (masked.labels >= 5).all()
    assert (np.take_along_axis(ids, masked.positions, 1) == masked.labels).all()


def test_80_percent_become_mask_10_a_random_token_and_10_stay():
    ids = rows(count=2000)
    masked = mask(ids)
    shown = np.take_along_axis(masked.input_ids, masked.positions, 1)
    assert (shown == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert (shown == masked.labels).mean() == pytest.approx(0.1, abs=0.01)
    random = shown[(shown != MASK) & (shown != masked.labels)]
    assert random.min() >= 5
    assert len(np.unique(random)) > 900  # over the whole ordinary vocabulary
    untouched = np.ones_like(ids, dtype=bool)
    np.put_along_axis(untouched, masked.positions, False, axis=1)
    assert (masked.input_ids[untouched] == ids[untouched]).all()


def test_a_padded_row_predicts_15_percent_of_its_own_tokens_and_its_other_slots_weigh_nothing():
    ids = rows(count=2)
    ids[1, 40:] = PAD
    masked = mask(ids)
    assert masked.weights.sum(axis=1).tolist() == [19, 6]
    used = masked.weights[1] == 1
    assert (masked.positions[1][used] < 40).all()
    assert (masked.positions[1][~used] == 0).all()


def test_a_row_with_a_single_ordinary_token_predicts_it():
    ids = np.array([[2, 77, 3, PAD, PAD, PAD, PAD, PAD]])
    masked = mask(ids)
    assert masked.positions[0, 0] == 1
    assert masked.weights.sum() == 1


def test_masks_are_drawn_anew_at_every_step_and_depend_on_seed_step_and_sample_only():
    ids = rows()
    once, again = mask(ids), mask(ids)
    assert (once.input_ids == again.input_ids).all()
    assert (once.positions != mask(ids, step=2).positions).any()
    assert (once.positions != mask(ids, seed=2).positions).any()
    part = mask(ids[10:12], samples=np.array([10, 11]))
    assert (part.input_ids == once.input_ids[10:12]).all()


def test_whole_words_are_masked_together():
    ids = rows(count=500)
    masked = mask(ids, whole_word=True, mask_share=1.0, random_share=0.0)
    is_masked = masked.input_ids == MASK
    piece = ids >= 500
    inside = piece[:, 2:-1] & ~np.isin(ids[:, 1:-2], [2, 3])  # a piece and the token before it belong together
    assert (is_masked[:, 2:-1][inside] == is_masked[:, 1:-2][inside]).all()
    counts = masked.weights.sum(axis=1)
    assert counts.max() <= 19
    assert counts.mean() > 16


def test_draws_are_uniform_and_differ_by_every_coordinate():
    numbers = draw(1, 0, 1, np.arange(1000), 50)
    assert len(np.unique(numbers)) == numbers.size
    unit = to_unit(numbers)
    assert unit.mean() == pytest.approx(0.5, abs=0.01)
    assert np.histogram(unit, bins=10, range=(0, 1))[0] == pytest.approx(5000, rel=0.1)
    for other in (
        draw(2, 0, 1, np.arange(1000), 50),
        draw(1, 1, 1, np.arange(1000), 50),
        draw(1, 0, 2, np.arange(9), 5),
    ):
        assert not np.isin(other, numbers).any()


def test_an_epoch_reads_every_sequence_once_and_the_next_one_in_another_order():
    order = BatchOrder(sequences=10, batch_size=4, seed=3)
    seen = np.concatenate([order.at(step) for step in range(1, 6)])
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_the_order_can_be_read_from_any_step():
    forward = BatchOrder(sequences=10, batch_size=4, seed=3)
    all_steps = [forward.at(step).tolist() for step in range(1, 9)]
    assert [BatchOrder(10, 4, 3).at(step).tolist() for step in (8, 2, 5)] == [all_steps[7], all_steps[1], all_steps[4]]


def test_a_corpus_smaller_than_a_batch_is_read_more_than_once_a_step():
    assert sorted(np.bincount(BatchOrder(sequences=3, batch_size=7, seed=1).at(1))) == [2, 2, 3]


def test_batches_ahead_are_the_same_as_batches_one_by_one(tmp_path):
    data = load_prepared(make_prepared(tmp_path))
    made = TrainingBatches(data.train, read_vocabulary(data), MaskingConfig(), 8, seed=1)
    for step, batch in enumerate(made.stream(3, 12), 3):
        assert (batch.input_ids == made.at(step).input_ids).all()


def test_evaluation_is_the_same_whatever_the_batch_size(tmp_path):
    data = load_prepared(make_prepared(tmp_path))
    words = read_vocabulary(data)
    one = [batch.input_ids for _, batch in evaluation_batches(data.validation, words, 12, 12)]
    four = [batch.input_ids for _, batch in evaluation_batches(data.validation, words, 12, 4)]
    assert (one[0].numpy() == np.concatenate(four)).all()


def test_only_a_batch_with_padding_carries_an_attention_mask():
    ids = rows(count=2)
    made = [make_batch(ids, np.arange(2), seed=1, step=1, masking=MaskingConfig(), vocabulary=vocabulary())]
    ids[1, 100:] = PAD
    made.append(make_batch(ids, np.arange(2), seed=1, step=1, masking=MaskingConfig(), vocabulary=vocabulary()))
    assert made[0].attention_mask is None
    assert made[1].attention_mask.sum(dim=1).tolist() == [128, 100]
    assert made[1].predictions == 19 + 15


def test_pieces_are_told_from_words_by_the_tokenizer(tmp_path):
    data = load_prepared(make_prepared(tmp_path))
    from sctd.tokens.tokenizer import load_tokenizer

    words, tokens = read_vocabulary(data), load_tokenizer(data.tokenizer_dir)
    for name, number in tokens.get_vocab().items():
        assert words.continues[number] == name.startswith("##")
    assert np.flatnonzero(words.special).tolist() == [0, 1, 2, 3, 4]
