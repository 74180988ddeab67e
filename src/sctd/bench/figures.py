"""From the rounds' times to what is reported: medians of paired ratios, shares of a rate, what the count allows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from operator import truediv
from typing import Any

from sctd.bench.arms import MATMUL
from sctd.bench.rounds import Times
from sctd.method.cost import Shape
from sctd.train.budget import steps_in


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """How many times as fast the second is as the first: median and range over the rounds, each paired."""
    return summary(list(map(truediv, slower, faster)))


def seconds_a_step(times: Times, interval: int | None) -> dict[str, list[float]]:
    """Seconds of each arm's step, a figure a round; of sctd, the mean over an interval."""
    return {arm: mean_step(kinds, interval) for arm, kinds in times.items()}


def mean_step(kinds: Mapping[str, Sequence[float]], interval: int | None) -> list[float]:
    """Kind -> seconds of each round, to seconds of each round's mean step over an interval."""
    if len(kinds) == 1:
        return list(*kinds.values())
    share = _consistency_share(interval)
    [plain] = (name for name in kinds if name != "consistency")
    return [(1 - share) * p + share * both for p, both in zip(kinds[plain], kinds["consistency"], strict=True)]


def _consistency_share(interval: int | None) -> float:
    """How many of sctd's steps are consistency steps."""
    return 0.0 if interval is None else 1 / interval


def operations(arm: str, shape: Shape, interval: int | None) -> float:
    """Multiply-adds of a sequence in training; of sctd, the mean over an interval."""
    if arm == "sctd":
        share = _consistency_share(interval)
        return (1 - share) * shape.training("drop") + share * shape.training("consistency")
    if arm in ("dense", "drop"):
        return shape.training(arm)  # type: ignore[arg-type]
    return shape.plain_training()


def figures(
    times: Times,
    parts: Mapping[str, Mapping[str, Mapping[str, float]]],
    memory: Mapping[str, int],
    shape: Shape,
    sequences: int,
    interval: int | None,
    against: Sequence[str],
    minutes: float | None = None,
) -> dict[str, Any]:
    """What the report shows of each arm, see the names below; `against` are arms that ratios are taken to.

    With `minutes`, also the number of steps that this time gives each arm.
    """
    bare = times[MATMUL][MATMUL]
    seconds = seconds_a_step({arm: kinds for arm, kinds in times.items() if arm != MATMUL}, interval)
    fixed = _fixed(parts)
    found: dict[str, Any] = {}
    for arm, each in seconds.items():
        work = sequences * operations(arm, shape, interval)
        found[arm] = {
            "seconds": summary(each),
            "tokens_per_second": sequences * shape.length / statistics.median(each),
            "operations": work,
            # the rate of a round's step over that round's rate of the bare product
            "share_of_matmul": summary([work * bare_one / one for bare_one, one in zip(bare, each, strict=True)]),
            "peak_bytes": memory[arm],
        }
        if minutes is not None:
            found[arm]["steps"] = steps_in(minutes, statistics.median(each))
        others = [*against, *(["dense"] if "dense" in seconds else [])]
        found[arm]["times_as_fast_as"] = {other: ratio(seconds[other], each) for other in others}
        if "dense" in seconds and arm in ("drop", "sctd"):
            allowed = _allowed(arm, seconds["dense"], fixed, shape, interval)
            found[arm]["allowed_times_dense"] = allowed
            found[arm]["share_of_allowed"] = found[arm]["times_as_fast_as"]["dense"]["median"] / allowed
    return found


def _fixed(parts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """Seconds of a dense step that no token's work is in: its batch and its optimizer."""
    dense = parts.get("dense", {}).get("dense", {})
    return dense.get("data", 0.0) + dense.get("optimizer", 0.0)


def _allowed(arm: str, dense: Sequence[float], fixed: float, shape: Shape, interval: int | None) -> float:
    """How many times as fast as dense an arm is whose every operation takes as long as dense's."""
    step = statistics.median(dense)
    fewer = operations(arm, shape, interval) / operations("dense", shape, interval)
    return step / (fixed + (step - fixed) * fewer)
