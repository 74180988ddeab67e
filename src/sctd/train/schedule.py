"""Learning-rate schedules: a linear warm-up, then one of these. A new one is a function and a table entry."""

from __future__ import annotations

import math
from collections.abc import Callable

from sctd.config import ScheduleConfig
from sctd.errors import UserError

# (share of the steps after warm-up that are behind, 0 .. 1; decay share of these steps) -> factor on the peak rate
Decay = Callable[[float, float], float]


def linear(progress: float, decay: float) -> float:
    """Straight down to 0 (the published schedule)."""
    return 1 - progress


def cosine(progress: float, decay: float) -> float:
    """Half a cosine, down to 0."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def wsd(progress: float, decay: float) -> float:
    """Warm-up, stable, decay: the peak rate, then straight down to 0 in the last share `decay`."""
    return 1.0 if decay == 0 or progress < 1 - decay else (1 - progress) / decay


SCHEDULES: dict[str, Decay] = {"linear": linear, "cosine": cosine, "wsd": wsd}


def warmup_steps(schedule: ScheduleConfig, steps: int) -> int:
    """Steps of warm-up: a number of 1 or more as it is, below 1 a share of all steps."""
    wanted = schedule.warmup if schedule.warmup >= 1 else schedule.warmup * steps
    return min(round(wanted), steps)


def lr_factor(step: int, steps: int, schedule: ScheduleConfig) -> float:
    """Factor on the peak learning rate at step 1, 2, ..., steps; the last step still moves the weights."""
    if schedule.name not in SCHEDULES:
        raise UserError(f"schedule.name: there is no {schedule.name!r}; choose one of {', '.join(SCHEDULES)}.")
    warmup = warmup_steps(schedule, steps)
    if step <= warmup:
        return step / warmup
    after = steps - warmup
    return SCHEDULES[schedule.name]((step - warmup - 1) / after, min(1.0, schedule.decay * steps / after))
