"""Training that cannot work says so early, in a sentence with the likely causes."""

from __future__ import annotations

import math

from sctd.errors import UserError

SKIPPED_IN_A_ROW = 5  # steps with gradients that are not finite, after which a run ends
PLATEAU_MARGIN = 0.05  # nats below the unigram level that count as having left it
PLATEAU_AFTER_WARMUPS = 3
PLATEAU_AFTER_SHARE = 0.25
PLATEAU_AFTER_STEPS = 200  # sooner, no model has left it


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


def plateau_warning(step: int, steps: int, warmup: int, loss_at_mask: float, unigram: float) -> str | None:
    """A sentence where the model still knows no more than word frequencies long after warm-up, else null.

    Args:
        step: steps done.
        steps: of the whole run.
        warmup: warm-up steps.
        loss_at_mask: held-out loss at [MASK] inputs, nats.
        unigram: what a unigram model reaches there, nats.
    """
    long_after = step >= max(PLATEAU_AFTER_WARMUPS * warmup, PLATEAU_AFTER_SHARE * steps, PLATEAU_AFTER_STEPS)
    if not long_after or loss_at_mask < unigram - PLATEAU_MARGIN:
        return None
    return (
        f"Step {step}: held-out loss at [MASK] inputs is {loss_at_mask:.2f}, the level of word frequencies alone "
        f"({unigram:.2f}). The model has not begun to read context. Likely causes: too short a warm-up "
        "(schedule.warmup; under 50 steps small models often never leave this level), a learning rate that is too "
        "high (optimizer.lr) or, in a short run, too low, or text in random order."
    )
