"""A wall-clock budget turned into steps, by measuring the step time first: after that the run is repeatable."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

WARM_UP_STEPS = 2
TIMED_STEPS = 6
LONGEST = 20.0  # seconds to time a kind of step for


def seconds_a_step(run_step: Callable[[bool], None], interval: int | None) -> float:
    """Mean seconds of a step over one interval of `interval` steps, the last of them a consistency step.

    Args:
        run_step: carries out one step on a copy of the model; its argument says whether it is a consistency step.
        interval: Fi, or null where there are no consistency steps.
    """
    kinds = [False] if interval is None else [True] if interval == 1 else [False, True]
    medians = {}
    for kind in kinds:
        times: list[float] = []
        for number in range(WARM_UP_STEPS + TIMED_STEPS):
            start = time.perf_counter()
            run_step(kind)
            if number >= WARM_UP_STEPS:
                times.append(time.perf_counter() - start)
            if sum(times) > LONGEST:
                break
        medians[kind] = statistics.median(times)
    if interval is None or interval == 1:
        return medians[kinds[0]]
    return ((interval - 1) * medians[False] + medians[True]) / interval


def steps_in(minutes: float, seconds: float) -> int:
    """Steps that fit into the budget, 1 at least."""
    return max(1, int(minutes * 60 / seconds))
