"""The importance table and the choice of kept tokens, by hand-computed cases."""

import pytest
import torch

from sctd.config import DroppingConfig
from sctd.method.importance import TokenImportance
from sctd.method.keep_rules import KEEP_RULES
from sctd.method.selection import CLS_TIER, ORDINARY_TIER, PAD_TIER, PINNED_TIER, select_kept, token_tiers


def test_an_id_masked_several_times_counts_once_with_the_mean_of_its_losses():
    table = TokenImportance(5, beta=0.9, initial=10.0)
    table.observe(torch.tensor([[2, 2, 3]]), torch.tensor([[1.0, 4.0, 6.0]]), torch.ones(1, 3))
    table.update()
    assert torch.allclose(table.values, torch.tensor([10, 10, 0.9 * 10 + 0.1 * 2.5, 0.9 * 10 + 0.1 * 6, 10]))


def test_ids_that_were_not_masked_keep_their_value():
    table = TokenImportance(4, beta=0.5, initial=10.0)
    table.update()
    assert table.values.tolist() == [10, 10, 10, 10]


def test_unused_slots_count_for_nothing():
    table = TokenImportance(4, beta=0.5, initial=10.0)
    table.observe(torch.tensor([[1, 0]]), torch.tensor([[2.0, 99.0]]), torch.tensor([[1.0, 0.0]]))
    table.update()
    assert table.values.tolist() == [10, 6, 10, 10]


def test_micro_batches_make_one_update_of_their_joint_mean():
    table = TokenImportance(4, beta=0.5, initial=10.0)
    table.observe(torch.tensor([[1, 1]]), torch.tensor([[2.0, 2.0]]), torch.ones(1, 2))
    table.observe(torch.tensor([[1, 2]]), torch.tensor([[8.0, 4.0]]), torch.ones(1, 2))
    table.update()
    assert table.values.tolist() == [10, 0.5 * 10 + 0.5 * 4, 0.5 * 10 + 0.5 * 4, 10]
    table.update()
    assert table.values.tolist() == [10, 7, 7, 10]  # nothing is counted twice


def test_a_step_that_is_not_carried_out_leaves_no_trace():
    table = TokenImportance(4, beta=0.5, initial=10.0)
    table.observe(torch.tensor([[1]]), torch.tensor([[2.0]]), torch.ones(1, 1))
    table.forget()
    table.update()
    assert table.values.tolist() == [10, 10, 10, 10]


def test_the_table_stays_float32_whatever_the_losses_are():
    table = TokenImportance(4, beta=0.995, initial=10.0)
    table.observe(torch.tensor([[1]]), torch.tensor([[2.0]], dtype=torch.bfloat16), torch.ones(1, 1))
    table.update()
    assert table.values.dtype == torch.float32
    assert table.values[1].item() == pytest.approx(0.995 * 10 + 0.005 * 2)


def kept(scores, tiers=None, tie_break=None, keep=2):
    scores = torch.tensor([scores], dtype=torch.float32)
    tiers = torch.full_like(scores, ORDINARY_TIER, dtype=torch.int64) if tiers is None else torch.tensor([tiers])
    ties = torch.zeros_like(tiers) if tie_break is None else torch.tensor([tie_break])
    return select_kept(scores, tiers, ties, keep)[0].tolist()


def test_the_highest_scores_are_kept_in_their_original_order():
    assert kept([1.0, 5.0, 3.0, 4.0]) == [1, 3]


def test_negative_zero_and_positive_scores_are_in_order():
    assert kept([-3.0, -1.0, 0.0, -2.0]) == [1, 2]
    assert kept([-1e30, -1e-30, 1e-30, 1e30], keep=3) == [1, 2, 3]
    assert kept([-0.0, 0.0, -0.0, 0.0], tie_break=[9, 1, 8, 0]) == [0, 2]


def test_ties_are_broken_by_the_second_key_and_not_by_position():
    assert kept([10.0, 10.0, 10.0, 10.0], tie_break=[1, 7, 3, 9]) == [1, 3]


def test_the_second_key_never_outweighs_the_first():
    assert kept([1e4, 1e4 + 0.001, 1e4 + 0.002], tie_break=[2**29 - 1, 0, 0]) == [1, 2]


def test_cls_then_pins_then_scores_then_padding():
    tiers = [PAD_TIER, ORDINARY_TIER, PINNED_TIER, CLS_TIER, ORDINARY_TIER]
    scores = [1e4, 50.0, -5.0, -9.0, 60.0]
    assert kept(scores, tiers, keep=1) == [3]
    assert kept(scores, tiers, keep=2) == [2, 3]
    assert kept(scores, tiers, keep=3) == [2, 3, 4]
    assert kept(scores, tiers, keep=4) == [1, 2, 3, 4]


def test_each_id_has_the_tier_of_its_role():
    tiers = token_tiers(10, cls_id=7, pad_id=9, pinned_ids=(1, 2))
    assert tiers.tolist() == [1, 2, 2, 1, 1, 1, 1, 3, 1, 0]


def test_pins_hold_after_any_number_of_updates():
    rule = KEEP_RULES["importance"](DroppingConfig(beta=0.0), torch.ones(6))
    tiers = token_tiers(6, cls_id=0, pad_id=5, pinned_ids=(1,))
    ids = torch.tensor([[0, 3, 4, 1, 5]])
    for _ in range(3):
        rule.observe(torch.tensor([[0, 1, 3, 4, 5]]), torch.tensor([[0.0, 0.0, 7.0, 8.0, 1e6]]), torch.ones(1, 5))
        rule.update()
    for keep, wanted in ((1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])):
        assert select_kept(rule.scores(ids), tiers[ids], torch.zeros_like(ids), keep)[0].tolist() == wanted


def test_the_random_rule_leaves_all_to_the_second_key():
    rule = KEEP_RULES["random"](DroppingConfig(), torch.ones(6))
    ids = torch.tensor([[1, 2, 3, 4]])
    ties = torch.tensor([[5, 1, 9, 2]])
    assert select_kept(rule.scores(ids), torch.ones_like(ids), ties, 2)[0].tolist() == [0, 2]


def test_the_frequency_rule_keeps_rare_tokens():
    rule = KEEP_RULES["frequency"](DroppingConfig(), torch.tensor([0, 1000, 10, 100, 1]))
    ids = torch.tensor([[1, 2, 3, 4]])
    assert select_kept(rule.scores(ids), torch.ones_like(ids), torch.zeros_like(ids), 2)[0].tolist() == [1, 3]
