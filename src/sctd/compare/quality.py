"""Time to quality: the share of the first arm's time that an arm needs for the loss that the first arm ends with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Share = float | Literal["sooner", "not reached"]


def share_of_time(target: float, whole: float, seconds: Sequence[float], losses: Sequence[float]) -> Share:
    """Share of `whole` at which runs of growing length, each decayed to its end, reach the target loss.

    Between two runs the loss is taken as linear in the logarithm of time. Outside of what was measured nothing is
    guessed: `sooner` where the shortest run is better than the target, `not reached` where none is as good.

    Args:
        target: loss to reach.
        whole: seconds that the target took.
        seconds: of each run.
        losses: of each run.
    """
    points = sorted(zip(seconds, losses, strict=True))
    for (early, high), (late, low) in pairwise(points):
        if high >= target >= low and high > low:
            part = (high - target) / (high - low)
            return math.exp(math.log(early) + part * (math.log(late) - math.log(early))) / whole
    return "sooner" if losses and min(points)[1] < target else "not reached"
