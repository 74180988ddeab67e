"""How sure a difference is: seeds and examples as two levels, and what a number of seeds cannot show.

Arms are paired by their seeds (the same seed gives two arms the same batches and masks) and by their examples (every
model is scored on the same ones). The interval comes from a hierarchical bootstrap, the decision from a test over the
seeds: exact sign flips where the number of seeds lets them reach the level that is asked, Student's paired t otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 4_000  # of the bootstrap
ALPHA = 0.05
FEWEST = 2  # seeds for a test


@dataclass(frozen=True)
class Difference:
    """An arm minus the arm that it is compared with, in one score.

    Args:
        mean: over the seeds.
        low, high: 95 % interval of the mean: seeds and, where their results are known, examples drawn anew; null for
            a single figure.
        effect: Cohen's d of the paired differences, mean over standard deviation; null with one seed.
        p: two-sided; null with one seed, which shows nothing of another one.
        test: `sign flips`, `paired t` or `none`.
        smallest_p: that sign flips could reach with so many seeds.
        seeds: how many.
        significant: p, corrected for the number of comparisons, is below the level; see `decide`.
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
    """The least two-sided p of sign flips over so many pairs: 2 of 2**n."""
    return min(1.0, 2.0 / 2**seeds)


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
    each = np.array([np.asarray(arm[seed], dtype=float) - np.asarray(base[seed], dtype=float) for seed in seeds])
    matrix = each.reshape(len(seeds), -1)  # (n, E), E = 1 where only scores are known
    by_seed = matrix.mean(axis=1)
    low, high = bootstrap(matrix) if matrix.size > 1 else (None, None)
    least = smallest_p(len(seeds))
    effect = p = None
    test = "none"
    if len(seeds) >= FEWEST:
        spread = float(by_seed.std(ddof=1))
        effect = float(by_seed.mean()) / spread if spread else None
        if spread == 0:
            test, p = "none", 1.0 if by_seed.mean() == 0 else None  # no scatter to hold the difference against
        elif least <= alpha / comparisons:
            test, p = "sign flips", sign_flips(by_seed)
        else:
            test, p = "paired t", float(stats.ttest_1samp(by_seed, 0.0).pvalue)
    return Difference(float(by_seed.mean()), low, high, effect, p, test, least, len(seeds))


def sign_flips(differences: Floats) -> float:
    """Two-sided p of the mean of paired differences (n,), over all 2**n signs (a sample of them from 14 pairs on)."""
    from scipy import stats

    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**14,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def bootstrap(matrix: Floats, draws: int = DRAWS) -> tuple[float, float]:
    """95 % interval of the mean of (n, E): rows drawn with replacement, and columns, the same ones for all rows."""
    rng = np.random.default_rng(0)
    rows, columns = matrix.shape
    row_weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=draws) / rows  # (draws, n)
    if columns == 1:
        means = row_weights @ matrix[:, 0]
    else:
        means = np.empty(draws)
        for first in range(0, draws, 500):
            part = slice(first, min(first + 500, draws))
            weights = rng.multinomial(columns, np.full(columns, 1 / columns), size=part.stop - first) / columns
            means[part] = np.einsum("dn,nd->d", row_weights[part], matrix @ weights.T)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) corrected p of each, in order; null stays null, and counts as a comparison."""
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(ps) - rank) * p))
        corrected[i] = largest
    return corrected


def decide(differences: Sequence[Difference], alpha: float = ALPHA) -> list[Difference]:
    """The same with p corrected for their number, and whether it is below the level."""
    from dataclasses import replace

    return [
        replace(each, corrected_p=p, significant=p is not None and p <= alpha)
        for each, p in zip(differences, holm([each.p for each in differences]), strict=True)
    ]


def in_words(difference: Difference, better: str = "higher", alpha: float = ALPHA) -> str:
    """`better`, `worse`, or `no difference shown`, with the reason where seeds are too few."""
    if difference.seeds < FEWEST:
        return "one seed: nothing shown of another"
    if not difference.significant:
        return "no difference shown"
    up = difference.mean > 0
    return "better" if up == (better == "higher") else "worse"
