"""A wall-clock budget turned into steps, by measuring the step time first: after that the run is repeatable."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from sctd.method.step_plan import StepKind

WARM_UP_STEPS = 2
TIMED_STEPS = 6
LONGEST = 20.0  # seconds to time a kind of step for


def seconds_a_step(
    run_step: Callable[[StepKind], None], shares: Mapping[StepKind, float], longest: float = LONGEST
) -> float:
    """Mean seconds of a run's steps.

    Args:
        run_step: carries out one step of a kind on a copy of the model.
        shares: of the kinds of step among all steps.
        longest: seconds after which a kind is timed no more; infinite where processes must do the same steps.
    """
    mean = 0.0
    for kind, share in shares.items():
        times: list[float] = []
        for number in range(WARM_UP_STEPS + TIMED_STEPS):
            start = time.perf_counter()
            run_step(kind)
            if number >= WARM_UP_STEPS:
                times.append(time.perf_counter() - start)
            if sum(times) > longest:
                break
        mean += share * statistics.median(times)
    return mean


def steps_in(minutes: float, seconds: float) -> int:
    """Steps that fit into the budget, 1 at least."""
    return max(1, int(minutes * 60 / seconds))
