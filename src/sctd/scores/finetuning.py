"""Fine-tuning settings: published values by default, and the budgets that make a run short."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sctd.scores.tasks.task import Example, Task, TextExample

BudgetName = Literal["full", "quick"]

LR_AT_768 = 3e-5  # Devlin et al. (2019) choose from 5e-5, 3e-5 and 2e-5 for H = 768


@dataclass(frozen=True)
class FineTuning:
    """How a task is fine-tuned.

    Args:
        lr: peak learning rate.
        epochs: passes over the training examples.
        batch_size: examples a step.
        max_length: longest sequence in tokens.
        warmup: share of the steps in which the rate rises; it then falls linearly to 0.
        weight_decay: on matrices.
    """

    lr: float
    epochs: int
    batch_size: int
    max_length: int
    warmup: float = 0.1
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Budget:
    """How much of a task is used; null: all of it. The subsets are fixed: the same in every run on the same data."""

    train: int | None = None
    scored: int | None = None
    epochs: int | None = None


# 10 epochs, as for all small training sets (Liu et al., 2019): with 3 small encoders stay at the majority label
# (docs/results/6x256-scores.md)
BUDGETS: dict[str, Budget] = {
    "full": Budget(),
    "quick": Budget(train=2000, scored=1000, epochs=10),
    "signal": Budget(train=500, scored=500, epochs=3),  # while a model trains
}


def default_lr(hidden_size: int) -> float:
    """3e-5 at H = 768, as 1 / H elsewhere (a rule of ours): 9e-5 at 256, 2.3e-5 at 1024.

    Turc et al. (2019) choose from a fixed list up to 3e-4 and find larger rates better for smaller encoders.
    """
    return LR_AT_768 * 768 / hidden_size


def subset(task: Task, split: str, examples: Sequence[Example], most: int | None) -> list[Example]:
    """At most `most` examples, chosen by a hash of their ids; what is scored together stays together."""
    if most is None or len(examples) <= most:
        return list(examples)

    def group(example: Example) -> str:
        together = example.group if isinstance(example, TextExample) else None
        return together or example.id

    def order(name: str) -> bytes:
        return hashlib.sha256(f"{task.name}/{split}/{name}".encode()).digest()

    sizes: dict[str, int] = {}
    for example in examples:
        sizes[group(example)] = sizes.get(group(example), 0) + 1
    chosen: set[str] = set()
    count = 0
    for name in sorted(sizes, key=order):
        if count + sizes[name] <= most:
            chosen.add(name)
            count += sizes[name]
    return [example for example in examples if group(example) in chosen]
