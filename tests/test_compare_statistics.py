"""Statistics by hand, and against simulated comparisons."""

import numpy as np
import pytest

from sctd.compare.statistics import compare_scores, decide, holm, in_words, interval, shown_from, sign_flips, smallest_p


def test_sign_flips_by_hand():
    # of the 8 sign patterns of (1, 2, 3), those with a mean at least as far from 0 as 2: + + + and - - -
    assert sign_flips(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    # (1, -2, 3): sums 6, 4, 2, 0 and their negatives; |2| or more: 6 of 8
    assert sign_flips(np.array([1.0, -2.0, 3.0])) == pytest.approx(6 / 8)


def test_the_least_effect_that_can_be_shown_is_where_the_test_turns():
    for seeds, comparisons in ((3, 1), (3, 4), (6, 2)):
        least = shown_from(seeds, comparisons)
        scatter = np.arange(seeds) - (seeds - 1) / 2
        scatter /= scatter.std(ddof=1)
        for d, significant in ((1.01 * least, True), (0.99 * least, False)):
            one = compare_scores(dict(enumerate(scatter + d)), dict.fromkeys(range(seeds), 0.0), comparisons)
            assert (one.p * comparisons <= 0.05) == significant
    assert shown_from(1, 2) is None


def test_where_others_are_shown_less_is_asked_of_a_difference():
    scatter = np.array([-1.0, 0.0, 1.0])
    small, large = (dict(enumerate(scatter + d)) for d in (0.9 * shown_from(3, 2), 30.0))
    none = dict.fromkeys(range(3), 0.0)
    assert small[0] > -1 + 1.01 * shown_from(3, 1)
    alone, beside = compare_scores(small, none, 2), compare_scores(large, none, 2)
    assert not decide([alone], 2)[0].significant
    assert decide([alone, beside], 2)[0].significant


def test_the_smallest_p_of_a_number_of_seeds():
    assert [smallest_p(n) for n in (1, 2, 3, 5, 6)] == [1.0, 0.5, 0.25, 0.0625, 0.03125]
    for n in (14, 15):  # all patterns, and a sample of them
        assert sign_flips(np.full(n, 1.0)) == pytest.approx(smallest_p(n), rel=1e-6)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.01]) == pytest.approx([0.6, 0.02])
    assert holm([None, 0.01]) == [None, pytest.approx(0.02)]  # what could not be tested was still compared


def test_a_paired_difference_by_hand():
    arm, base = {1: 5.0, 2: 7.0, 3: 9.0, 9: 100.0}, {1: 4.0, 2: 5.0, 3: 6.0}
    found = compare_scores(arm, base)
    assert (found.mean, found.seeds) == (2.0, 3)  # seed 9 has no partner
    assert found.effect == pytest.approx(2.0 / 1.0)
    assert found.test == "paired t"  # three seeds cannot reach 0.05 by sign flips
    assert found.p == pytest.approx(0.0742, abs=1e-3)  # t = 2 / (1 / sqrt 3) = 3.46 with 2 degrees of freedom
    assert (found.low, found.high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)  # the same t, turned round


def test_one_seed_shows_nothing_of_another():
    found = compare_scores({1: np.array([1.0, 0.0, 1.0, 1.0])}, {1: np.array([0.0, 0.0, 1.0, 1.0])})
    assert found.mean == 0.25
    assert found.p is None
    assert found.effect is None
    assert in_words(decide([found])[0]) == "one seed: nothing shown of another"


def test_the_interval_by_hand():
    # three seeds, scores alone: mean 2, standard error 1 / sqrt 3, t of 2 degrees of freedom 4.303
    assert interval(np.array([[1.0], [2.0], [3.0]])) == pytest.approx(
        (2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3
    )
    # one seed, four examples: mean 0.25, standard error 0.5 / 2, t of 3 degrees of freedom 3.182
    assert interval(np.array([[1.0, 0.0, 0.0, 0.0]])) == pytest.approx((0.25 - 0.7956, 0.25 + 0.7956), abs=1e-3)
    assert interval(np.array([[1.0]])) == (None, None)


@pytest.mark.parametrize("seeds", [2, 3, 6])
@pytest.mark.parametrize("examples", [1, 30])
def test_the_interval_covers_the_truth_in_at_least_95_of_100_cases(seeds, examples):
    rng = np.random.default_rng(100 * seeds + examples)
    covered = []
    for _ in range(500):
        matrix = 0.3 + rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, examples))
        if examples > 1:
            matrix = matrix + 3 * rng.normal(size=(1, examples))  # examples that are alike in every seed
        low, high = interval(matrix)
        covered.append(low <= 0.3 <= high)
    assert np.mean(covered) > 0.92  # three standard errors of 500 draws below 0.95


@pytest.mark.parametrize(("seeds", "test"), [(3, "paired t"), (6, "sign flips")])
def test_under_no_difference_about_one_in_twenty_comparisons_is_significant_and_not_more(seeds, test):
    rng = np.random.default_rng(seeds)
    hits = []
    for _ in range(600):
        arm, base = rng.normal(size=(2, seeds))
        [found] = decide([compare_scores(dict(enumerate(arm)), dict(enumerate(base)))])
        assert found.test == test
        hits.append(found.significant)
    # 0.05 and, with six seeds, 2/64 = 0.031; three standard errors of 600 draws are 0.027
    assert 0.005 < np.mean(hits) < 0.077


def test_of_many_comparisons_without_difference_seldom_is_any_significant():
    rng = np.random.default_rng(5)
    families = []
    for _ in range(200):
        base = dict(enumerate(rng.normal(size=4)))
        arms = [dict(enumerate(rng.normal(size=4))) for _ in range(5)]
        families.append(any(each.significant for each in decide([compare_scores(a, base, 5) for a in arms])))
    assert np.mean(families) < 0.1


def test_a_planted_difference_is_found_and_named():
    rng = np.random.default_rng(7)
    base = dict(enumerate(rng.normal(3.5, 0.01, size=6)))
    lower = {seed: value - 0.05 + rng.normal(0, 0.01) for seed, value in base.items()}
    same = {seed: value + rng.normal(0, 0.01) for seed, value in base.items()}
    _, alike = decide([compare_scores(lower, base), compare_scores(same, base)])
    [alone] = decide([compare_scores(lower, base)])
    assert alone.significant
    assert alone.test == "sign flips"
    assert alone.p == pytest.approx(2 / 64)
    assert in_words(alone, better="lower") == "better"
    assert in_words(alone, better="higher") == "worse"
    assert in_words(alike) == "no difference shown"


def test_without_scatter_there_is_no_test():
    [same] = decide([compare_scores({1: 2.0, 2: 3.0}, {1: 2.0, 2: 3.0})])
    assert (same.mean, same.p, in_words(same)) == (0.0, None, "no difference")
    # one percentage point in every seed; in floating point the three differences are not quite alike
    arm, base = {1: 0.62, 2: 0.57, 3: 0.70}, {1: 0.61, 2: 0.56, 3: 0.69}
    [alike] = decide([compare_scores(arm, base)])
    assert (alike.p, alike.effect, alike.significant) == (None, None, False)
    assert in_words(alike) == "alike in every seed: not testable"


def test_seeds_alike_and_examples_that_differ_show_nothing_beyond_these_examples():
    draw = np.random.default_rng(0)
    sets = draw.normal(0, 0.06, 67)
    sets += 0.009 - sets.mean()
    arm = {seed: sets + 0.001 * seed for seed in range(5)}
    [one] = decide([compare_scores(arm, dict.fromkeys(range(5), np.zeros(67)))])
    assert one.significant
    assert one.low < 0 < one.high
    assert in_words(one) == "no difference shown beyond these examples"
