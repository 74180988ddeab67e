"""From the rounds' times to what is reported: medians of paired ratios, shares of a rate, what the count allows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from operator import truediv
from typing import Any

from sctd.bench.arms import MATMUL, METHODS
from sctd.bench.rounds import Times
from sctd.method.cost import Shape
from sctd.train.budget import steps_in


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """How many times as fast the second is as the first: median and range over the rounds, each paired."""
    return summary(list(map(truediv, slower, faster)))


Shares = Mapping[Any, float]  # kind of step -> its share of the steps


def mean_step(kinds: Mapping[str, Sequence[float]], shares: Shares) -> list[float]:
    """Kind -> seconds of each round, to seconds of each round's mean step."""
    rounds = zip(*(kinds[kind] for kind in shares), strict=True)
    return [sum(share * each for share, each in zip(shares.values(), one, strict=True)) for one in rounds]


def operations(arm: str, shape: Shape, shares: Shares) -> float:
    """Multiply-adds of a sequence in training, the mean over the kinds of step."""
    if arm not in METHODS:
        return shape.plain_training()
    return sum(share * shape.training(kind) for kind, share in shares.items())


def figures(
    times: Times,
    parts: Mapping[str, Mapping[str, Mapping[str, float]]],
    memory: Mapping[str, int],
    shape: Shape,
    sequences: int,
    shares: Mapping[str, Shares],
    against: Sequence[str],
    minutes: float | None = None,
) -> dict[str, Any]:
    """What the report shows of each arm, see the names below; `against` are arms that ratios are taken to.

    `shares`: of each arm, how many of its steps are of each kind.

    With `minutes`, also the number of steps that this time gives each arm.
    """
    bare = times[MATMUL][MATMUL]
    seconds = {arm: mean_step(kinds, shares[arm]) for arm, kinds in times.items() if arm != MATMUL}
    fixed = _fixed(parts)
    found: dict[str, Any] = {}
    for arm, each in seconds.items():
        work = sequences * operations(arm, shape, shares[arm])
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
            fewer = operations(arm, shape, shares[arm]) / operations("dense", shape, {"dense": 1.0})
            allowed = _allowed(statistics.median(seconds["dense"]), fixed, fewer)
            found[arm]["allowed_times_dense"] = allowed
            found[arm]["share_of_allowed"] = found[arm]["times_as_fast_as"]["dense"]["median"] / allowed
    return found


def _fixed(parts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """Seconds of a dense step that no token's work is in: its batch and its optimizer."""
    dense = parts.get("dense", {}).get("dense", {})
    return dense.get("data", 0.0) + dense.get("optimizer", 0.0)


def _allowed(step: float, fixed: float, fewer: float) -> float:
    """How many times as fast as dense an arm is whose every operation takes as long as dense's.

    Args:
        step: seconds of dense's.
        fixed: of these, those that no operation is in.
        fewer: the arm's operations, dense's being 1.
    """
    return step / (fixed + (step - fixed) * fewer)
