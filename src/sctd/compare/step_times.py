"""Seconds of a step of every arm, all of them taking turns, so that equal time means equal for all."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sctd.bench.rounds import measure
from sctd.bench.worker import Job


def measure_step_times(
    settings: Sequence[tuple[str, Mapping[str, Any]]],
    data: Path,
    rounds: int,
    advance: Callable[[str], None],
    on_gpu: bool,
) -> dict[str, float]:
    """Arm -> median seconds of a step; with consistency steps, the mean over an interval.

    Args:
        settings: (arm, its settings by dotted name).
        data: the data folder.
        rounds: turns of each arm.
        advance: hears of every turn.
        on_gpu: see `sctd.bench.rounds.measure`.
    """
    with tempfile.TemporaryDirectory(prefix="sctd-compare-") as scratch:
        jobs = [
            Job(f"arm {number}", str(data), dict(each), str(Path(scratch) / str(number)), kinds_of(each))
            for number, (_, each) in enumerate(settings)
        ]
        times, _ = measure(jobs, rounds, advance, on_gpu)
    return {
        arm: statistics.median(seconds_a_step(times[job.arm], each["consistency.interval"]))
        for (arm, each), job in zip(settings, jobs, strict=True)
    }


def kinds_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of step that a run of these settings has."""
    interval = settings["consistency.interval"]
    if settings["method"] != "sctd" or interval is None:
        return ("plain",)
    return ("consistency",) if interval == 1 else ("plain", "consistency")


def seconds_a_step(kinds: Mapping[str, Sequence[float]], interval: int | None) -> list[float]:
    """Kind -> seconds of each round, to seconds of each round's mean step."""
    if len(kinds) == 1:
        return list(*kinds.values())
    assert interval is not None
    return [
        ((interval - 1) * plain + both) / interval
        for plain, both in zip(kinds["plain"], kinds["consistency"], strict=True)
    ]
