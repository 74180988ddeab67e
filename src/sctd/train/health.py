"""Training that cannot work, or has left its course, says so early, in a sentence with the likely causes."""

from __future__ import annotations

import math
import statistics
from collections import deque
from itertools import pairwise

from sctd.errors import UserError

SKIPPED_IN_A_ROW = 5  # steps with gradients that are not finite, after which a run ends
PLATEAU_MARGIN = 0.05  # nats below the unigram level that count as having left it
PLATEAU_AFTER_WARMUPS = 3
PLATEAU_AFTER_SHARE = 0.25
PLATEAU_AFTER_STEPS = 200  # sooner, no model has left it
DIVERGED = 5.0  # nats above the unigram level: no model begins there
SPIKE_FEWEST = 10  # lines of the log, whose median is the course
SPIKE_LINES = 30  # whose scatter is the usual one
SPIKE_NATS = 0.5  # above the course, and
SPIKE_SPREADS = 8.0  # times the usual distance from it
SPIKE_STAYS = 5  # lines after which what was a spike is the new course


def not_finite(step: int, loss: float, grad_norm: float, lr: float, precision: str, last: str) -> UserError:
    """What to raise where the loss or the gradient of a step is not finite.

    Args:
        step: the step.
        loss: its loss_total.
        grad_norm: its gradient's norm.
        lr: its learning rate.
        precision: fp32, bf16 or fp16.
        last: where the last whole checkpoint is, in words.
    """
    what = f"the gradient's norm is {grad_norm}" if math.isfinite(loss) else f"the loss is {loss}"
    return UserError(
        f"Step {step}: {what}, so training stopped ({last}). Likely causes: a learning rate that is too high "
        f"(optimizer.lr, {lr:g} at this step), too short a warm-up (schedule.warmup), no clipping "
        f"(optimizer.grad_clip), or {precision} (try precision fp32)."
    )


class Health:
    """Looks at a run's lines; each method gives a sentence where something is wrong, else null.

    Args:
        steps: of the whole run.
        warmup: warm-up steps.
        unigram: held-out loss in nats at [MASK] inputs that a unigram model reaches.
    """

    def __init__(self, steps: int, warmup: int, unigram: float) -> None:
        self.steps = steps
        self.warmup = warmup
        self.unigram = unigram
        self._course: deque[float] = deque(maxlen=SPIKE_LINES)
        self._above: list[float] = []
        self._said: set[str] = set()

    def plateau(self, step: int, loss_at_mask: float) -> str | None:
        """The model still knows no more than word frequencies long after warm-up, or has left its course; said once."""
        if loss_at_mask > self.unigram + DIVERGED and self._first("diverged"):
            return (
                f"Step {step}: held-out loss at [MASK] inputs is {loss_at_mask:.2f}, far above what word frequencies "
                f"alone reach ({self.unigram:.2f}): the run has left its course. Begin anew with a lower optimizer.lr, "
                "a longer schedule.warmup or clipping (optimizer.grad_clip)."
            )
        long_after = step >= max(
            PLATEAU_AFTER_WARMUPS * self.warmup, PLATEAU_AFTER_SHARE * self.steps, PLATEAU_AFTER_STEPS
        )
        if not long_after or loss_at_mask < self.unigram - PLATEAU_MARGIN or "diverged" in self._said:
            return None
        if not self._first("plateau"):
            return None
        return (
            f"Step {step}: held-out loss at [MASK] inputs is {loss_at_mask:.2f}, no better than word frequencies "
            f"alone ({self.unigram:.2f}). The model has not begun to read context. Likely causes: too few steps in all "
            "(some hundred at least), too short a warm-up (schedule.warmup; under 50 steps small models often never "
            "leave this level), a learning rate that is too high (optimizer.lr) or, in a short run, too low, too "
            "narrow a model, or text in random order."
        )

    def spike(self, step: int, loss: float, lr: float) -> str | None:
        """The training loss (mean since the last line) has left its course upwards; said once a spike."""
        if not math.isfinite(loss):
            return None
        lines = list(self._course)
        course = statistics.median(lines[-SPIKE_FEWEST:]) if len(lines) >= SPIKE_FEWEST else math.inf
        # from line to line, as a loss that falls has no wide scatter; of noise, its median distance from its middle
        steps = [abs(after - before) for before, after in pairwise(lines)]
        usual = statistics.median(steps) / math.sqrt(2) if steps else 0.0
        if not loss > course + max(SPIKE_NATS, SPIKE_SPREADS * usual):
            self._above = []
            self._course.append(loss)
            return None
        self._above.append(loss)
        first = len(self._above) == 1
        if len(self._above) == SPIKE_STAYS:
            self._course.clear()
            self._course.extend(self._above)
            self._above = []
        if not first:
            return None
        return (
            f"Step {step}: the training loss rose to {loss:.2f} from {course:.2f}. Likely causes: a learning rate that "
            f"is too high (optimizer.lr, {lr:g} at this step), no clipping (optimizer.grad_clip), or a stretch of "
            "other text. If it does not come back, begin anew with a lower optimizer.lr."
        )

    def masks_dropped(self, step: int, kept: float, keep_ratio: float) -> str | None:
        """Of the held-out [MASK] inputs the share `kept` passes the middle layers, and it is not all; said once."""
        if kept >= 1 or not self._first("masks"):
            return None
        return (
            f"Step {step}: {1 - kept:.0%} of the [MASK] inputs are dropped, though they are kept before all other "
            f"words: dropping.keep_ratio {keep_ratio:g} has no room for them. Raise it above masking.mlm_probability."
        )

    def _first(self, kind: str) -> bool:
        new = kind not in self._said
        self._said.add(kind)
        return new
