"""Time to quality: the share of the first arm's time that an arm needs for the loss that the first arm ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

Share = float | Literal["sooner", "not reached"]


def share_of_time(target: float, whole: float, seconds: Sequence[float], losses: Sequence[float]) -> Share:
    """Share of `whole` at which runs of growing length, each decayed to its end, reach the target loss.

    Between two runs the loss is taken as linear in the logarithm of time, and the first time that reaches the target
    counts. Outside of what was measured nothing is guessed: `sooner` where the shortest run is better than the target,
    `not reached` where none is as good.

    Args:
        target: loss to reach.
        whole: seconds that the target took.
        seconds: of each run.
        losses: of each run.
    """
    points = sorted(zip(seconds, losses, strict=True))
    if points and points[0][1] < target:
        return "sooner"
    if points and points[0][1] == target:
        return points[0][0] / whole
    for (early, high), (late, low) in pairwise(points):
        if high > target >= low:
            part = (high - target) / (high - low)
            return math.exp(math.log(early) + part * (math.log(late) - math.log(early))) / whole
    return "not reached"


def in_words(share: Mapping[str, Any]) -> str:
    """Mean and range over the seeds, or why there is none; `share` as in results.json."""
    if share["mean"] is not None:
        reach = f" ({share['low']:.2f} to {share['high']:.2f})" if len(share["by_seed"]) > 1 else ""
        return f"{share['mean']:.2f}{reach}"
    found = {each if isinstance(each, str) else "reached" for each in share["by_seed"].values()}
    if found == {"sooner"}:
        return "less than its shortest run"
    return "not reached" if found == {"not reached"} else "not in every seed"
