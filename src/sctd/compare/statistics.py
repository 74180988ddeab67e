"""How sure a difference is: seeds and examples as two levels, and what a number of seeds cannot show.

Arms are paired by their seeds (the same seed gives two arms the same batches and masks) and by their examples (every
model is scored on the same ones). The interval has the variance of both levels; the decision is a test over the seeds:
sign flips where the number of seeds lets them reach the level that is asked, Student's paired t otherwise.

No bootstrap: over two or three seeds its percentile interval is little more than their range, and covers the truth in
half to three quarters of cases (tests/test_compare_statistics.py holds this interval to 95 %).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALPHA = 0.05
FEWEST = 2  # seeds for a test
EXACT_UP_TO = 14  # pairs, of which all sign patterns are tried
ROUNDING = 1e-12  # of the scores: a scatter below it is none


@dataclass(frozen=True)
class Difference:
    """An arm minus the arm that it is compared with, in one score.

    Args:
        mean: over the seeds.
        low, high: 95 % interval, see `interval`; null for a single figure.
        effect: Cohen's d of the paired differences, mean over standard deviation; null with one seed or no scatter.
        p: two-sided; null with one seed, which shows nothing of another one, and where there is no scatter.
        test: `sign flips`, `paired t` or `none`.
        smallest_p: that sign flips could reach with so many seeds.
        seeds: how many.
        significant: p, corrected for the number of comparisons, is at or below the level; see `decide`.
        corrected_p: Holm's.
    """

    mean: float
    low: float | None
    high: float | None
    effect: float | None
    p: float | None
    test: str
    smallest_p: float
    seeds: int
    significant: bool = False
    corrected_p: float | None = None


def smallest_p(seeds: int) -> float:
    """The least two-sided p of sign flips over so many pairs: 2 of 2**n; of a sample, 2 of one more than it has."""
    return min(1.0, 2.0 / (2**seeds if seeds <= EXACT_UP_TO else 2**EXACT_UP_TO + 1))


def shown_from(seeds: int, comparisons: int, alpha: float = ALPHA) -> float | None:
    """The effect size d from which a difference is significant whatever the other comparisons give; null with one seed.

    Holm's method asks less of it where others are significant: with 1 comparison, the least that can be.

    By the test that `compare_scores` takes; sign flips can reach the level from about the d at which Student's t does.
    """
    from scipy import stats

    if seeds < FEWEST or not comparisons:
        return None
    return float(stats.t.ppf(1 - alpha / comparisons / 2, seeds - 1) / np.sqrt(seeds))


def compare_scores(
    arm: Mapping[int, Floats | float], base: Mapping[int, Floats | float], comparisons: int = 1, alpha: float = ALPHA
) -> Difference:
    """Compare two arms by their scores: seed -> a score, or (E,) the results of the same E examples.

    Args:
        arm: the arm.
        base: what it is compared with; seeds that only one of them has are left out.
        comparisons: how many there are in all: sign flips are taken where they can reach alpha divided by that.
        alpha: the level.
    """
    from scipy import stats

    seeds = sorted(set(arm) & set(base))
    assert seeds, "no seed in common"
    scores = [(np.asarray(arm[seed], dtype=float), np.asarray(base[seed], dtype=float)) for seed in seeds]
    matrix = np.array([mine - theirs for mine, theirs in scores]).reshape(len(seeds), -1)  # (n, E); E = 1: scores alone
    by_seed = matrix.mean(axis=1)
    mean = float(by_seed.mean())
    low, high = interval(matrix)
    least = smallest_p(len(seeds))
    effect = p = None
    test = "none"
    spread = float(by_seed.std(ddof=1)) if len(seeds) >= FEWEST else 0.0
    largest = max(float(np.abs(value).max()) for pair in scores for value in pair)
    if spread > ROUNDING * largest:
        effect = mean / spread
        if least <= alpha / comparisons:
            test, p = "sign flips", sign_flips(by_seed)
        else:
            test, p = "paired t", float(stats.ttest_1samp(by_seed, 0.0).pvalue)
    return Difference(mean, low, high, effect, p, test, least, len(seeds))


def sign_flips(differences: Floats) -> float:
    """Two-sided p of the mean of paired differences (n,), over all 2**n signs, a sample of them above EXACT_UP_TO."""
    from scipy import stats

    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_UP_TO,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def interval(matrix: Floats, level: float = 0.95) -> tuple[float | None, float | None]:
    """Interval of the mean of differences (n seeds, E examples), whose seeds and examples both might have been others.

    The variance of the mean is that of the seeds' means over n plus that of the examples' means over E, less what is
    in both (crossed random effects); its quantile is Student's with n - 1 degrees of freedom, E - 1 with one seed.
    Null for a single figure.
    """
    from scipy import stats

    seeds, examples = matrix.shape
    if matrix.size == 1:
        return None, None
    mean, by_seed, by_example = matrix.mean(), matrix.mean(axis=1), matrix.mean(axis=0)
    of_seeds = by_seed.var(ddof=1) / seeds if seeds > 1 else 0.0
    of_examples = by_example.var(ddof=1) / examples if examples > 1 else 0.0
    rest = 0.0
    if seeds > 1 and examples > 1:
        residuals = matrix - by_seed[:, None] - by_example[None, :] + mean
        rest = (residuals**2).sum() / ((seeds - 1) * (examples - 1)) / matrix.size
    variance = max(of_seeds + of_examples - rest, of_seeds, of_examples)
    quantile = stats.t.ppf((1 + level) / 2, (seeds if seeds > 1 else examples) - 1)
    reach = float(quantile * np.sqrt(variance))
    return float(mean) - reach, float(mean) + reach


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) corrected p of each, in order; null stays null, and counts as a comparison."""
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(ps) - rank) * p))
        corrected[i] = largest
    return corrected


def decide(differences: Sequence[Difference], comparisons: int = 0, alpha: float = ALPHA) -> list[Difference]:
    """The same with p corrected for their number, or for one that is larger, and whether it reaches the level.

    Args:
        differences: those that were made.
        comparisons: how many were planned; those that were not made count too.
        alpha: the level.
    """
    unmade = [None] * max(0, comparisons - len(differences))
    corrected = holm([*(each.p for each in differences), *unmade])
    return [
        replace(each, corrected_p=p, significant=p is not None and p <= alpha)
        for each, p in zip(differences, corrected, strict=False)
    ]


def in_words(difference: Difference, better: str = "higher") -> str:
    """`better`, `worse`, or why neither is shown."""
    if difference.seeds < FEWEST:
        return "one seed: nothing shown of another"
    if difference.p is None:
        return "no difference" if difference.mean == 0 else "alike in every seed: not testable"
    if not difference.significant:
        return "no difference shown"
    if difference.low is not None and difference.high is not None and difference.low <= 0 <= difference.high:
        return "no difference shown beyond these examples"  # over the seeds there is one; other examples may have none
    return "better" if (difference.mean > 0) == (better == "higher") else "worse"
