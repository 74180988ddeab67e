"""Seconds of a step of every arm, all of them taking turns, so that equal time means equal for all."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sctd.bench.figures import mean_step
from sctd.bench.rounds import measure
from sctd.bench.worker import Job
from sctd.method.step_plan import StepKind, StepPlan
from sctd.recipe import build_config

LARGEST_DOUBT = 0.05  # of a ratio of step times, above which it is said


def measure_step_times(
    settings: Sequence[tuple[str, Mapping[str, Any]]],
    data: Path,
    rounds: int,
    advance: Callable[[str], None],
    on_gpu: bool,
) -> tuple[dict[str, float], dict[str, float]]:
    """(arm -> seconds of a step, see `paired`; the mean over its kinds of step, arm -> how well, see `uncertain`).

    Args:
        settings: (arm, its settings by dotted name).
        data: the data folder.
        rounds: turns of each arm.
        advance: hears of every turn.
        on_gpu: see `sctd.bench.rounds.measure`.
    """
    with tempfile.TemporaryDirectory(prefix="sctd-compare-") as scratch:
        jobs = [
            Job(arm, str(data), dict(each), str(Path(scratch) / str(number)), tuple(shares_of(each)))
            for number, (arm, each) in enumerate(settings)
        ]
        times, _ = measure(jobs, rounds, advance, on_gpu)
    rounds_of = [mean_step(times[job.arm], shares_of(each)) for (_, each), job in zip(settings, jobs, strict=True)]
    named = [(arm, each) for (arm, _), each in zip(settings, rounds_of, strict=True)]
    return (
        {arm: paired(rounds_of[0], each) for arm, each in named},
        {arm: uncertain(rounds_of[0], each) for arm, each in named[1:]},
    )


def doubtful(base: str, doubts: Mapping[str, float]) -> str | None:
    """A sentence on the arms whose step times are not known well enough; null where all are."""
    known = [f"{arm} to {doubt:.0%}" for arm, doubt in doubts.items() if doubt > LARGEST_DOUBT]
    if not known:
        return None
    return (
        f"Step times beside {base}'s are known only so well: {', '.join(known)}; and with them what equal time means."
    )


def paired(first: Sequence[float], other: Sequence[float]) -> float:
    """Seconds of an arm's step: the first arm's median times the median of their ratios, each of one round.

    A busy moment of the machine meets both arms of a round; the medians of each alone may come from different moments.
    """
    return statistics.median(first) * statistics.median(b / a for a, b in zip(first, other, strict=True))


def uncertain(first: Sequence[float], other: Sequence[float]) -> float:
    """Half of the 95 % interval of their ratios' median, as a share of it, by order statistics."""
    ratios = sorted(b / a for a, b in zip(first, other, strict=True))
    count = len(ratios)
    reach = 0.98 * math.sqrt(count)  # 1.96 standard deviations of a binomial count with p = 1/2
    low, high = max(0, math.floor(count / 2 - reach)), min(count - 1, math.ceil(count / 2 + reach) - 1)
    return (ratios[max(high, low)] - ratios[low]) / 2 / statistics.median(ratios)


def shares_of(settings: Mapping[str, Any]) -> dict[StepKind, float]:
    """The kinds of step that a run of these settings has, each with its share of the steps."""
    return StepPlan.of(build_config(settings)).shares()
